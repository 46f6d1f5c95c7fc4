#!/usr/bin/env bash
# Print what builds and runs images here: docker, or buildah with its options where no engine runs.
set -euo pipefail

if docker info >/dev/null 2>&1; then
    echo docker
else
    "$(dirname "$0")/need.sh" buildah
    # Debian's buildah does not heed the variable where it has another driver's storage already.
    echo buildah ${STORAGE_DRIVER:+--storage-driver "$STORAGE_DRIVER"}
fi
