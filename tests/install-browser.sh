#!/usr/bin/env bash
# Install the tools of tests/browser: Debian's chromium, and axe-core from npm with the lock file in tests/browser. If one of
# them cannot be installed, the script fails with a message, and the tests that need it are skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/apt.sh

if ! command -v chromium >/dev/null; then
  if ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
    echo "install-browser: chromium is missing and cannot be installed on this machine" >&2
    exit 1
  fi
  apt_get update -qq
  apt_get install -y -qq --no-install-recommends chromium fonts-dejavu-core
fi

if [ ! -e .tools/axe/node_modules/axe-core/axe.min.js ]; then
  if ! command -v npm >/dev/null; then
    echo "install-browser: npm is missing, so accessibility checks are skipped" >&2
    exit 1
  fi
  mkdir -p .tools/axe
  cp tests/browser/package.json tests/browser/package-lock.json .tools/axe/
  npm ci --prefix .tools/axe --ignore-scripts --no-audit --no-fund --silent
fi
