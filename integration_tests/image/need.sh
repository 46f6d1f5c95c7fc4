#!/usr/bin/env bash
# Have these commands, each of the Debian package of its name, or say what is missing.
set -euo pipefail

missing=()
for name in "$@"; do
    command -v "$name" >/dev/null || missing+=("$name")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    {
        apt-get update
        DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${missing[@]}"
    } >&2
else
    echo "Missing: ${missing[*]}. Start a Docker engine, or install them; as root on Debian this is done for you." >&2
    exit 1
fi
