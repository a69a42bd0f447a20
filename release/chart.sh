#!/usr/bin/env bash
# Package the chart with a published image as its default: release/chart.sh REPOSITORY DIGEST DIRECTORY
#
# The packaged chart then installs exactly that image, and a value of the user still overrides it. HELM names the program
# (default: .tools/bin/helm).
set -euo pipefail
cd "$(dirname "$0")/.."
repository=$1 digest=$2 directory=$(realpath -m "$3")
helm=${HELM:-.tools/bin/helm}

[[ $repository =~ ^[a-z0-9][a-z0-9./:_-]*$ ]] || { echo "chart.sh: $repository: expected the name of an image without a tag" >&2; exit 2; }
[[ $digest =~ ^sha256:[0-9a-f]{64}$ ]] || { echo "chart.sh: $digest: expected sha256: and 64 hexadecimal digits" >&2; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -R helm/assay "$work/assay"
values=$work/assay/values.yaml
sed -i "/^image:\$/,/^[^ ]/{s|^  repository: \"\"\$|  repository: \"$repository\"|;s|^  digest: \"\"\$|  digest: \"$digest\"|}" "$values"
[ "$(grep -cxF -e "  repository: \"$repository\"" -e "  digest: \"$digest\"" "$values")" -eq 2 ] \
  || { echo "chart.sh: helm/assay/values.yaml: expected empty image.repository and image.digest" >&2; exit 1; }
mkdir -p "$directory"
"$helm" package "$work/assay" --destination "$directory"
