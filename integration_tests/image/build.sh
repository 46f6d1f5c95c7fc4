#!/usr/bin/env bash
# Build the image with docker, or with buildah where no engine runs.
# With --test it gets a name of its own, and buildah puts it on the stand-in base.
# BASE_IMAGE replaces the base in either case. PLATFORMS=linux/amd64,linux/arm64 builds for these.
set -euo pipefail
cd "$(dirname "$0")/../.."

version=$(sed -n 's/^    version="\(.*\)",$/\1/p' setup.py)
engine=$(integration_tests/image/engine.sh)
if [ "${1:-}" = --test ]; then
    name=localhost/source-calltouch-sms:test
    if [ "$engine" != docker ]; then
        BASE_IMAGE=${BASE_IMAGE:-$(integration_tests/image/stand_in_base.sh)}
    fi
else
    name=airbyte/source-calltouch-sms:$version
fi

arguments=(--build-arg "VERSION=$version")
if [ -n "${PLATFORMS:-}" ]; then
    arguments+=(--platform "$PLATFORMS")
fi
if [ -n "${BASE_IMAGE:-}" ]; then
    arguments+=(--build-arg "BASE_IMAGE=$BASE_IMAGE")
fi
certificates=${PIP_CERT:-${SSL_CERT_FILE:-}}
if [ -n "$certificates" ]; then
    arguments+=(--secret "id=ca,src=$certificates")
    arguments+=(--build-arg PIP_CERT=/run/secrets/ca --build-arg SSL_CERT_FILE=/run/secrets/ca)
fi

if [ "$engine" = docker ]; then
    DOCKER_BUILDKIT=1 docker build "${arguments[@]}" --tag "$name" .
else
    # Images for several platforms have their name in common only as a manifest.
    case ${PLATFORMS:-} in *,*) arguments+=(--manifest "$name") ;; *) arguments+=(--tag "$name") ;; esac
    before=$($engine images --quiet "$name" 2>/dev/null || true)
    # Without layers: vfs makes a full copy for each.
    $engine build --isolation chroot "${arguments[@]}" .
    # The one replaced must not stay.
    if [ -n "$before" ] && [ "$before" != "$($engine images --quiet "$name")" ]; then
        $engine rmi "$before" >/dev/null
    fi
fi
echo "Built $name with ${engine%% *}"
