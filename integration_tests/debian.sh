#!/usr/bin/env bash
# Run make's commands in fresh clones, on Debians that have git, make and their Python alone.
# They are made as root on Debian, and run in buildah, without a Docker engine.
set -euo pipefail
cd "$(dirname "$0")/.."

integration_tests/image/need.sh buildah
buildah=(buildah ${STORAGE_DRIVER:+--storage-driver "$STORAGE_DRIVER"})
options=(--isolation chroot --workingdir /clone --env LANG=C.UTF-8 --env CI=true)
# Where a proxy has certificates of its own.
certificates=${PIP_CERT:-${SSL_CERT_FILE:-}}
if [ -n "$certificates" ]; then
    options+=(--volume "$certificates:/etc/ssl/proxy.crt:ro" --env PIP_CERT=/etc/ssl/proxy.crt)
fi

try() (
    suite=$1
    shift
    container=$("${buildah[@]}" from scratch)
    clone=$(mktemp -d)
    trap '"${buildah[@]}" rm "$container" >/dev/null; rm -rf "$clone"' EXIT
    integration_tests/image/debian.sh "$suite" "$("${buildah[@]}" mount "$container")" \
        ca-certificates git make python3 python3-venv
    git clone --quiet . "$clone"
    "${buildah[@]}" run "${options[@]}" --volume "$clone:/clone" "$container" -- make "$@"
)

try trixie unit demo
try forky test package-test demo
