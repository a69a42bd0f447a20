#!/usr/bin/env bash
# Install real index servers: devpi-server and pypiserver (from PyPI, with hashes, into a virtual environment in .tools). Also
# install nginx and HAProxy (Debian packages); nginx is used as an index, and both are used as front proxies of Assay. The script
# fails with a list of missing programs; the tests that need them are skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/apt.sh
TOOLS=.tools
failed=()

python_servers() {
  # Use only the index of the lock file.
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
  [ "$(id -u)" -eq 0 ] && apt_get update -qq && apt_get install -y -qq --no-install-recommends haproxy >/dev/null
}

nginx() {
  [ -x /usr/sbin/nginx ] && return
  [ "$(id -u)" -eq 0 ] && apt_get update -qq && apt_get install -y -qq --no-install-recommends nginx-light >/dev/null
}

mkdir -p $TOOLS
# Subshells, because `set -e` has no effect inside a condition, and a partly installed environment must count as missing.
(set -e; python_servers) & wait $! || failed+=("the packages in tests/upstreams/upstreams.lock")
(set -e; nginx) & wait $! || failed+=(nginx-light)
(set -e; haproxy) & wait $! || failed+=(haproxy)
if [ "${#failed[@]}" -ne 0 ]; then
  echo "install-upstreams: cannot be installed on this machine: ${failed[*]}" >&2
  exit 1
fi
