#!/usr/bin/env bash
# What tests/browser needs: Debian's chromium, and axe-core from npm by the lock file beside the tests. Where either cannot
# be had, those tests skip and say so.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v chromium >/dev/null; then
  if ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
    echo "install-browser: chromium is missing and not installable here" >&2
    exit 1
  fi
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core
fi

if [ ! -e .tools/axe/node_modules/axe-core/axe.min.js ]; then
  if ! command -v npm >/dev/null; then
    echo "install-browser: npm is missing: no accessibility checks" >&2
    exit 1
  fi
  mkdir -p .tools/axe
  cp tests/browser/package.json tests/browser/package-lock.json .tools/axe/
  npm ci --prefix .tools/axe --ignore-scripts --no-audit --no-fund --silent
fi
