#!/usr/bin/env bash
# Build the container image without a daemon; the image runs as an unprivileged user: tests/deploy/image.sh [IMAGE]
#
# Needs buildah (tests/install-tools.sh image). BASE_IMAGE names the base image. If it is not set and the base image of the
# Dockerfile cannot be pulled, a base image is built from Debian packages, with the CA certificates of this machine. All images
# are stored in .tools/containers (CONTAINERS_STORAGE_CONF), so other images on this machine are not affected.
set -euo pipefail
cd "$(dirname "$0")/../.."
image=${1:-localhost/assay:test}
kept=$PWD/.tools/containers
mkdir -p "$kept"
printf '[storage]\ndriver = "overlay"\ngraphroot = "%s"\nrunroot = "%s"\n' "$kept/graph" "$kept/run" >"$kept/storage.conf"
export CONTAINERS_STORAGE_CONF=$kept/storage.conf

base_of_debian() {
  local made=localhost/python-of-debian container certificates=/etc/ssl/certs/ca-certificates.crt
  if ! buildah inspect --type image "$made" >/dev/null 2>&1; then
    mmdebstrap --quiet --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$kept/base.tar" >&2
    container=$(buildah from scratch)
    buildah add -q "$container" "$kept/base.tar" / >/dev/null
    buildah copy -q "$container" "$certificates" "$certificates" >/dev/null
    buildah run --isolation chroot "$container" -- ln -sf python3 /usr/bin/python
    buildah config --env PIP_CERT=$certificates "$container"
    buildah commit -q --rm "$container" "$made" >/dev/null
    rm "$kept/base.tar"
  fi
  echo "$made"
}

if [ -z "${BASE_IMAGE:-}" ]; then
  BASE_IMAGE=$(sed -n 's/^ARG BASE_IMAGE=//p' Dockerfile)
  if ! timeout 60 buildah pull -q "$BASE_IMAGE" >/dev/null 2>&1; then
    echo "image.sh: $BASE_IMAGE cannot be pulled; using a base image with Debian's Python instead" >&2
    BASE_IMAGE=$(base_of_debian)
  fi
fi
buildah bud --format docker --isolation chroot --network host --pull-never --build-arg BASE_IMAGE="$BASE_IMAGE" \
  --build-arg REVISION="$(git rev-parse HEAD 2>/dev/null || true)" --tag "$image" . >"$kept/build.log" 2>&1 || { tail -n 40 "$kept/build.log" >&2; exit 1; }
buildah rmi --prune --force >/dev/null 2>&1 || true  # removes the previous image with this tag
echo "$image"
