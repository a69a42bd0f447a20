#!/usr/bin/env bash
# Install the programs for `make bench`: nginx and wrk (Debian packages), and the peers devpi-server, proxpi and
# simple-repository-server (from PyPI, with hashes, into a virtual environment in .tools). The script fails with a list of
# missing programs. Without nginx or wrk, no benchmark can run; without a peer, its rows are left out.
# With the argument `without-peers`, install only nginx and wrk.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/apt.sh
TOOLS=.tools
failed=()
for pair in nginx:nginx-light wrk:wrk; do
  PATH="$PATH:/usr/sbin" command -v "${pair%%:*}" >/dev/null && continue
  { [ "$(id -u)" -eq 0 ] && apt_get update -qq && apt_get install -y -qq --no-install-recommends "${pair##*:}" >/dev/null; } || failed+=("${pair##*:}")
done
if [ "${1-}" != without-peers ] && ! cmp -s benchmarks/peers.lock $TOOLS/peers.lock; then
  mkdir -p $TOOLS
  rm -rf $TOOLS/peers
  export PIP_CONFIG_FILE=/dev/null PIP_DISABLE_PIP_VERSION_CHECK=1
  unset PIP_FIND_LINKS PIP_EXTRA_INDEX_URL
  if "${PYTHON:-python3}" -m venv $TOOLS/peers \
    && $TOOLS/peers/bin/python -m pip install --quiet --no-deps --only-binary :all: --require-hashes -r benchmarks/peers.lock; then
    cp benchmarks/peers.lock $TOOLS/peers.lock
  else
    rm -rf $TOOLS/peers
    failed+=("the packages in benchmarks/peers.lock")
  fi
fi
if [ "${#failed[@]}" -ne 0 ]; then
  echo "install-peers: cannot be installed on this machine: ${failed[*]}" >&2
  exit 1
fi
