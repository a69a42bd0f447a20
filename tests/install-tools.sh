#!/usr/bin/env bash
# Tools of other makers that some tests drive: curl and wget as download clients. Debian's packages, by name, where they
# are missing and apt-get is at hand.
set -euo pipefail
missing=()
for tool in curl wget; do
  command -v "$tool" >/dev/null || missing+=("$tool")
done
[ "${#missing[@]}" -eq 0 ] && exit 0
if ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
  echo "install-tools: missing and not installable here: ${missing[*]}" >&2
  exit 1
fi
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}"
