#!/usr/bin/env bash
# Make a base image of Debian's Python where Airbyte's cannot be had, and print its name.
# It keeps the rules of Airbyte's that the Dockerfile leans on, and stays in buildah's storage.
set -euo pipefail
cd "$(dirname "$0")"

name=localhost/python-connector-base:stand-in-$(sha256sum stand_in_base.sh | cut -c1-12)
engine=$(./engine.sh)

if $engine inspect --type image "$name" >/dev/null 2>&1; then
    echo "$name"
    exit
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "The stand-in base is made as root on Debian. Elsewhere set BASE_IMAGE." >&2
    exit 1
fi
./need.sh debootstrap

suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
mirror=$(apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
    awk -v suite="$suite" '$1 == suite && $2 == "main" { print $3; exit }')
container=$($engine from scratch)
trap '$engine rm "$container" >/dev/null' EXIT
root=$($engine mount "$container")
{
    echo "Making a base of Debian $suite"
    debootstrap --variant=minbase \
        --include=adduser,ca-certificates,python3,python3-pip,python-is-python3 \
        "$suite" "$root" "$mirror" | sed '/^I: /d'
    # Debian keeps pip to virtual environments; Airbyte's base has none.
    rm "$root"/usr/lib/python3*/EXTERNALLY-MANAGED
    # The machine's own mirror and name servers are nobody else's.
    rm -rf "$root"/var/cache/apt "$root"/var/lib/apt/lists/* \
        "$root"/etc/apt/sources.list "$root"/etc/resolv.conf "$root"/etc/hostname
    chroot "$root" adduser --quiet --uid 1000 --system --group --no-create-home airbyte
    chroot "$root" install --directory --owner=airbyte --group=airbyte /airbyte
    $engine umount "$container"
    $engine config --cmd python3 "$container"
    $engine commit --quiet "$container" "$name"
} >&2
echo "$name"
