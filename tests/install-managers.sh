#!/usr/bin/env bash
# Poetry and PDM, from the Python index, with hashes, into a venv of their own under .tools. Says loudly when they can't be
# had; the tests that need them skip. The lock: uv pip compile --universal --generate-hashes tests/managers/managers.in
set -euo pipefail
cd "$(dirname "$0")/.."
TOOLS=.tools
# Only the index that the lock was made from.
export PIP_CONFIG_FILE=/dev/null PIP_DISABLE_PIP_VERSION_CHECK=1
unset PIP_FIND_LINKS PIP_EXTRA_INDEX_URL
mkdir -p $TOOLS
cmp -s tests/managers/managers.lock $TOOLS/managers.lock && exit 0
rm -rf $TOOLS/managers
"${PYTHON:-python3}" -m venv $TOOLS/managers
if ! $TOOLS/managers/bin/python -m pip install --quiet --no-deps --only-binary :all: --require-hashes -r tests/managers/managers.lock; then
  echo "install-managers: Poetry and PDM are not installable here" >&2
  exit 1
fi
cp tests/managers/managers.lock $TOOLS/managers.lock
