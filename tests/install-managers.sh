#!/usr/bin/env bash
# Install Poetry, PDM, pipenv, pip-audit and an old pip from PyPI, with hashes, in .tools; all but the last in virtual environments. If this fails, the script
# fails with a message, and the tests that need them are skipped. Update of the lock files:
# uv pip compile --universal --generate-hashes --no-header tests/managers/NAME.in -o tests/managers/NAME.lock
set -euo pipefail
cd "$(dirname "$0")/.."
TOOLS=.tools
failed=()
# Use only the index of the lock files.
export PIP_CONFIG_FILE=/dev/null PIP_DISABLE_PIP_VERSION_CHECK=1
unset PIP_FIND_LINKS PIP_EXTRA_INDEX_URL
PIP_FLAGS=(--quiet --no-deps --only-binary :all: --require-hashes)

managers() {
  cmp -s tests/managers/managers.lock $TOOLS/managers.lock && return
  rm -rf $TOOLS/managers
  "${PYTHON:-python3}" -m venv $TOOLS/managers
  $TOOLS/managers/bin/python -m pip install "${PIP_FLAGS[@]}" -r tests/managers/managers.lock
  cp tests/managers/managers.lock $TOOLS/managers.lock
}

old_pip() {
  cmp -s tests/managers/old-pip.lock $TOOLS/old-pip.lock && return
  rm -rf $TOOLS/old-pip
  $TOOLS/managers/bin/python -m pip install "${PIP_FLAGS[@]}" --target $TOOLS/old-pip -r tests/managers/old-pip.lock
  cp tests/managers/old-pip.lock $TOOLS/old-pip.lock
}

auditors() {
  cmp -s tests/managers/auditors.lock $TOOLS/auditors.lock && return
  rm -rf $TOOLS/auditors
  "${PYTHON:-python3}" -m venv $TOOLS/auditors
  $TOOLS/auditors/bin/python -m pip install "${PIP_FLAGS[@]}" -r tests/managers/auditors.lock
  cp tests/managers/auditors.lock $TOOLS/auditors.lock
}

mkdir -p $TOOLS
# In subshells: `set -e` has no effect in a condition, and an incomplete installation must not count as complete.
(set -e; managers) & wait $! || failed+=("the packages of tests/managers/managers.lock")
(set -e; old_pip) & wait $! || failed+=("the packages of tests/managers/old-pip.lock")
(set -e; auditors) & wait $! || failed+=("the packages of tests/managers/auditors.lock")
if [ "${#failed[@]}" -ne 0 ]; then
  echo "install-managers: cannot be installed on this machine: ${failed[*]}" >&2
  exit 1
fi
