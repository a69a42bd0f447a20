#!/usr/bin/env bash
# What `make bench` measures Assay beside: nginx and wrk (Debian's packages), and devpi-server, proxpi and
# simple-repository-server (from the Python index, with hashes, into a venv of their own under .tools). Says loudly what is
# missing: without nginx or wrk nothing can be measured, without a peer its rows are left out.
# `without-peers`: nginx and wrk alone.
set -euo pipefail
cd "$(dirname "$0")/.."
TOOLS=.tools
failed=()
for pair in nginx:nginx-light wrk:wrk; do
  PATH="$PATH:/usr/sbin" command -v "${pair%%:*}" >/dev/null && continue
  { [ "$(id -u)" -eq 0 ] && apt-get update -qq && apt-get install -y -qq --no-install-recommends "${pair##*:}" >/dev/null; } || failed+=("${pair##*:}")
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
    failed+=("what benchmarks/peers.lock names")
  fi
fi
if [ "${#failed[@]}" -ne 0 ]; then
  echo "install-peers: missing and not installable here: ${failed[*]}" >&2
  exit 1
fi
