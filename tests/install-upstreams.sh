#!/usr/bin/env bash
# Install real index servers: devpi-server and pypiserver (from PyPI, with hashes, into a virtual environment in .tools). Also
# install nginx and HAProxy (Debian packages); nginx is used as an index, and both are used as front proxies of Assay. The script
# fails with a list of missing programs; the tests that need them are skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/apt.sh
. tests/pip.sh
failed=()

haproxy() {
  [ -x /usr/sbin/haproxy ] && return
  [ "$(id -u)" -eq 0 ] && apt_get update -qq && apt_get install -y -qq --no-install-recommends haproxy >/dev/null
}

nginx() {
  [ -x /usr/sbin/nginx ] && return
  [ "$(id -u)" -eq 0 ] && apt_get update -qq && apt_get install -y -qq --no-install-recommends nginx-light >/dev/null
}

install_environment tests/upstreams/upstreams.lock upstreams || failed+=("the packages in tests/upstreams/upstreams.lock")
# Subshells, because `set -e` has no effect inside a condition.
(set -e; nginx) & wait $! || failed+=(nginx-light)
(set -e; haproxy) & wait $! || failed+=(haproxy)
if [ "${#failed[@]}" -ne 0 ]; then
  echo "install-upstreams: cannot be installed on this machine: ${failed[*]}" >&2
  exit 1
fi
