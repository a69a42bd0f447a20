#!/usr/bin/env bash
# Real indexes beside the test index: devpi-server and pypiserver (from the Python index, with hashes, into a venv of their
# own under .tools) and nginx (Debian's package), which also stands before Assay, as HAProxy does. Says loudly what is missing;
# the tests that need it skip.
set -euo pipefail
cd "$(dirname "$0")/.."
TOOLS=.tools
failed=()

python_servers() {
  # Only the index that the lock was made from.
  export PIP_CONFIG_FILE=/dev/null PIP_DISABLE_PIP_VERSION_CHECK=1
  unset PIP_FIND_LINKS PIP_EXTRA_INDEX_URL
  cmp -s tests/upstreams/upstreams.lock $TOOLS/upstreams.lock && return
  rm -rf $TOOLS/upstreams
  "${PYTHON:-python3}" -m venv $TOOLS/upstreams
  $TOOLS/upstreams/bin/python -m pip install --quiet --no-deps --only-binary :all: --require-hashes -r tests/upstreams/upstreams.lock
  cp tests/upstreams/upstreams.lock $TOOLS/upstreams.lock
}

haproxy() {
  [ -x /usr/sbin/haproxy ] && return
  [ "$(id -u)" -eq 0 ] && apt-get update -qq && apt-get install -y -qq --no-install-recommends haproxy >/dev/null
}

nginx() {
  [ -x /usr/sbin/nginx ] && return
  [ "$(id -u)" -eq 0 ] && apt-get update -qq && apt-get install -y -qq --no-install-recommends nginx-light >/dev/null
}

mkdir -p $TOOLS
# Shells of their own: `set -e` is off inside a condition, and a half-made venv must not count as made.
(set -e; python_servers) & wait $! || failed+=("what tests/upstreams/upstreams.lock names")
(set -e; nginx) & wait $! || failed+=(nginx-light)
(set -e; haproxy) & wait $! || failed+=(haproxy)
if [ "${#failed[@]}" -ne 0 ]; then
  echo "install-upstreams: missing and not installable here: ${failed[*]}" >&2
  exit 1
fi
