#!/usr/bin/env bash
# Make a base image of Debian's Python where Airbyte's cannot be had, and print its name.
# It keeps the rules of Airbyte's that the Dockerfile leans on, and stays in buildah's storage.
set -euo pipefail
cd "$(dirname "$0")"

name=localhost/python-connector-base:stand-in-$(cat debian.sh stand_in_base.sh | sha256sum | cut -c1-12)
engine=$(./engine.sh)

if $engine inspect --type image "$name" >/dev/null 2>&1; then
    echo "$name"
    exit
fi

container=$($engine from scratch)
trap '$engine rm "$container" >/dev/null' EXIT
root=$($engine mount "$container")
{
    ./debian.sh trixie "$root" adduser ca-certificates python3 python3-pip-whl python-is-python3
    # Debian keeps pip to virtual environments; in Airbyte's base it is in /usr/local.
    rm "$root"/usr/lib/python3*/EXTERNALLY-MANAGED
    chroot "$root" sh -c 'pip=$(echo /usr/share/python-wheels/pip-*.whl) &&
        python3 "$pip/pip" install --quiet --root-user-action ignore --no-index "$pip"'
    # Airbyte's base is made of Docker's slim Python, which has none of these either.
    rm -rf "$root"/usr/share/{doc,info,locale,man}/*
    chroot "$root" adduser --quiet --uid 1000 --system --group --no-create-home airbyte
    chroot "$root" install --directory --owner=airbyte --group=airbyte /airbyte
    $engine umount "$container"
    $engine config --cmd python3 "$container"
    $engine commit --quiet "$container" "$name"
} >&2
echo "$name"
