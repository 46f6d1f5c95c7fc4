#!/usr/bin/env bash
# Run the README's two commands in a fresh clone, on a Debian 13 that has git, make and Python alone.
# It is made as root on Debian, and runs in buildah, without a Docker engine.
set -euo pipefail
cd "$(dirname "$0")/.."

integration_tests/image/need.sh buildah
buildah=(buildah ${STORAGE_DRIVER:+--storage-driver "$STORAGE_DRIVER"})
container=$("${buildah[@]}" from scratch)
clone=$(mktemp -d)
trap '"${buildah[@]}" rm "$container" >/dev/null; rm -rf "$clone"' EXIT
integration_tests/image/debian.sh "$("${buildah[@]}" mount "$container")" \
    ca-certificates git make python3 python3-venv
git clone --quiet . "$clone"

options=(--isolation chroot --volume "$clone:/clone" --workingdir /clone --env LANG=C.UTF-8 --env CI=true)
# Where a proxy has certificates of its own.
certificates=${PIP_CERT:-${SSL_CERT_FILE:-}}
if [ -n "$certificates" ]; then
    options+=(--volume "$certificates:/etc/ssl/proxy.crt:ro" --env PIP_CERT=/etc/ssl/proxy.crt)
fi
for command in test demo; do
    "${buildah[@]}" run "${options[@]}" "$container" -- make "$command"
done
