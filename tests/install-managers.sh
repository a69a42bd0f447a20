#!/usr/bin/env bash
# Install Poetry, PDM, pipenv, pip-audit and an old pip from PyPI, with hashes, in .tools; all but the last in virtual environments. If this fails, the script
# fails with a message, and the tests that need them are skipped. Update of the lock files:
# uv pip compile --universal --generate-hashes --no-header tests/managers/NAME.in -o tests/managers/NAME.lock
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/pip.sh
failed=()

old_pip() {
  .tools/managers/bin/python -m pip install "${PIP_FLAGS[@]}" --target .tools/old-pip -r tests/managers/old-pip.lock
}

install_environment tests/managers/managers.lock managers || failed+=("the packages of tests/managers/managers.lock")
install_once tests/managers/old-pip.lock old-pip old_pip || failed+=("the packages of tests/managers/old-pip.lock")
install_environment tests/managers/auditors.lock auditors || failed+=("the packages of tests/managers/auditors.lock")
if [ "${#failed[@]}" -ne 0 ]; then
  echo "install-managers: cannot be installed on this machine: ${failed[*]}" >&2
  exit 1
fi
