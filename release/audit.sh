#!/usr/bin/env bash
# Compare the locked dependencies with the advisories that PyPI knows. Advisories that release/openvex.json answers with
# "not_affected" are left out. Needs .tools (tests/install-tools.sh) and the network.
set -euo pipefail
cd "$(dirname "$0")/.."
answered=$(python3 - <<'EOF'
import json, pathlib
for statement in json.loads(pathlib.Path("release/openvex.json").read_text("utf-8"))["statements"]:
    if statement["status"] == "not_affected":
        print(statement["vulnerability"]["name"])
EOF
)
ignored=()
for name in $answered; do
  ignored+=(--ignore-vuln "$name")
done
locks=("$@")
if [ $# -eq 0 ]; then
  locks=(requirements.lock requirements-scale.lock)
fi
"${PIP_AUDIT:-.tools/venv/bin/pip-audit}" --strict --progress-spinner off --disable-pip --require-hashes "${ignored[@]}" "${locks[@]/#/--requirement=}"
