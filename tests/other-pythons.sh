#!/usr/bin/env bash
# Run the unit tests, and the tests of code that depends on details of the interpreter (forked processes, the fast path past
# aiohttp), with every other Python 3.11+ on this machine. Each has its own virtual environment, installed from the same lock file.
set -euo pipefail
cd "$(dirname "$0")/.."
unset PYTHONDONTWRITEBYTECODE  # as the Makefile does
mine=$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
tried=""
for candidate in $(compgen -c python3. | grep -E '^python3\.[0-9]+$' | sort -uV) /root/.pyenv/versions/*/bin/python3; do
  version=$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
  case "$version" in 3.1[1-9]) ;; *) continue ;; esac
  case " $mine $tried " in *" $version "*) continue ;; esac
  tried="$tried $version"
  echo "== Python $version"
  make --no-print-directory PYTHON="$candidate" VENV=".venv-$version" install-dev
  ".venv-$version/bin/python" -m pytest -q -n 2 -m "not long and not clients" \
    tests/unit tests/service/attestation/test_fork_server.py tests/service/web/test_fast_path.py
done
[ -n "$tried" ] || echo "other-pythons: skipped, because this machine has no Python 3.11+ other than $mine"
