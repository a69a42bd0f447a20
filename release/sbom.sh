#!/usr/bin/env bash
# Write release/sbom.cdx.json: a CycloneDX list of the runtime dependencies, their licences and who needs them. The versions are
# those of requirements.lock, as installed on Linux with the Python of .venv. Needs .tools (tests/install-tools.sh).
set -euo pipefail
cd "$(dirname "$0")/.."
export PIP_CONFIG_FILE=/dev/null PIP_DISABLE_PIP_VERSION_CHECK=1
unset PIP_FIND_LINKS PIP_EXTRA_INDEX_URL
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

.venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
  --default-index https://pypi.org/simple/ -c requirements.lock pyproject.toml -o "$work/runtime.lock"
.venv/bin/python -m venv --without-pip "$work/venv"
pip=(.venv/bin/python -m pip --python "$work/venv/bin/python" install --quiet --no-input --no-deps)
"${pip[@]}" --require-hashes --only-binary :all: -r "$work/runtime.lock"
.venv/bin/python -m hatchling build -t wheel -d "$work" >/dev/null
"${pip[@]}" --no-index "$work"/*.whl
.tools/venv/bin/cyclonedx-py environment --pyproject pyproject.toml --mc-type application --output-reproducible \
  --of JSON -o release/sbom.cdx.json "$work/venv/bin/python"
