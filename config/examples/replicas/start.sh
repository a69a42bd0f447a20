#!/bin/sh
# For a trial: three replicas of Assay on one machine, with the configuration proxy.toml, behind the nginx of nginx.conf.
#
#   openssl rand -hex 32 > shared-key && chmod 600 shared-key     # beside proxy.toml
#   assay database init --config proxy.toml --url postgresql://postgres@127.0.0.1/assay   # once, as a role that may create tables
#   sh start.sh                                                   # until Ctrl-C
#   nginx -c "$PWD/nginx.conf" -g 'daemon off;'                   # in another terminal
#   pip install --index-url http://127.0.0.1:8000/simple/ ...
#
# Each replica has its own address and directory. REPLICA_DIRECTORY names the parent of the directories.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
: "${REPLICA_DIRECTORY:=${XDG_CACHE_HOME:-$HOME/.cache}/assay-replicas}"

replicas=
trap 'kill $replicas 2>/dev/null; wait' EXIT
trap 'exit 0' INT TERM
for number in 1 2 3; do
  ASSAY_SERVER__HOST=127.0.0.$number \
  ASSAY_STORAGE__DIRECTORY=$REPLICA_DIRECTORY/$number \
  ASSAY_STORAGE__SHARED__PEER_ADDRESS=127.0.0.$number:8081 \
    assay serve --config "$here/proxy.toml" --log json &
  replicas="$replicas $!"
done
wait
