#!/usr/bin/env bash
# Check the workflows and the Dependabot configuration in .github with zizmor and check-jsonschema: lint-workflows.sh [REPOSITORY]
#
# tests/install-tools.sh installs both. Without them, the script prints a message and succeeds; with CI=true, it fails.
set -euo pipefail
repository=$(realpath "${1:-"$(dirname "$0")/.."}")
cd "$(dirname "$0")/.."
tools=${ASSAY_TOOLS:-.tools/venv/bin}

if ! [ -x "$tools/zizmor" ] || ! [ -x "$tools/check-jsonschema" ]; then
  echo "**** lint: zizmor or check-jsonschema is missing, so the workflows are NOT CHECKED. Run: bash tests/install-tools.sh" >&2
  [ "${CI:-}" != true ]
  exit
fi
"$tools/zizmor" --offline --quiet --no-progress --persona pedantic --strict-collection "$repository/.github"
"$tools/check-jsonschema" --builtin-schema vendor.github-workflows "$repository"/.github/workflows/*.yml
"$tools/check-jsonschema" --builtin-schema vendor.dependabot "$repository/.github/dependabot.yml"
