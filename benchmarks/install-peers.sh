#!/usr/bin/env bash
# Install the programs for `make bench`: nginx and wrk (Debian packages), and the peers devpi-server, proxpi,
# simple-repository-server and peryx (from PyPI, with hashes, into a virtual environment in .tools). The script fails with
# a list of missing programs. Without nginx or wrk, no benchmark can run; without a peer, its rows are left out.
# With the argument `without-peers`, install only nginx and wrk.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/apt.sh
. tests/pip.sh
failed=()
for pair in nginx:nginx-light wrk:wrk; do
  PATH="$PATH:/usr/sbin" command -v "${pair%%:*}" >/dev/null && continue
  { [ "$(id -u)" -eq 0 ] && apt_get update -qq && apt_get install -y -qq --no-install-recommends "${pair##*:}" >/dev/null; } || failed+=("${pair##*:}")
done
if [ "${1-}" != without-peers ]; then
  install_environment benchmarks/peers.lock peers || failed+=("the packages in benchmarks/peers.lock")
fi
if [ "${#failed[@]}" -ne 0 ]; then
  echo "install-peers: cannot be installed on this machine: ${failed[*]}" >&2
  exit 1
fi
