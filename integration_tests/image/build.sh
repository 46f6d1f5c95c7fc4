#!/usr/bin/env bash
# Build the image with docker, or with buildah where no engine runs.
# With --test it gets a name of its own, and buildah puts it on the stand-in base.
# BASE_IMAGE replaces the base in either case.
set -euo pipefail
cd "$(dirname "$0")/../.."

engine=$(integration_tests/image/engine.sh)
if [ "${1:-}" = --test ]; then
    name=localhost/source-calltouch-sms:test
    if [ "$engine" != docker ]; then
        BASE_IMAGE=${BASE_IMAGE:-$(integration_tests/image/stand_in_base.sh)}
    fi
else
    name=airbyte/source-calltouch-sms:$(sed -n 's/^ *dockerImageTag: *//p' metadata.yaml)
fi

arguments=(--tag "$name")
if [ -n "${BASE_IMAGE:-}" ]; then
    arguments+=(--build-arg "BASE_IMAGE=$BASE_IMAGE")
fi
certificates=${PIP_CERT:-${SSL_CERT_FILE:-}}
if [ -n "$certificates" ]; then
    arguments+=(--secret "id=ca,src=$certificates" --build-arg PIP_CERT=/run/secrets/ca)
fi

if [ "$engine" = docker ]; then
    DOCKER_BUILDKIT=1 docker build "${arguments[@]}" .
else
    before=$($engine images --quiet "$name" 2>/dev/null || true)
    $engine build --layers --isolation chroot "${arguments[@]}" .
    # With vfs every image is a full copy: the one replaced must not stay.
    if [ -n "$before" ] && [ "$before" != "$($engine images --quiet "$name")" ]; then
        $engine rmi "$before" >/dev/null
    fi
fi
echo "Built $name with ${engine%% *}"
