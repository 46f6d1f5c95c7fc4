#!/usr/bin/env bash
# Make a Debian 13 in the folder named first, with the packages named after it.
# Its Python is 3.13, as that of Airbyte's base is.
set -euo pipefail

root=$1
shift
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "A Debian is made as root on Debian." >&2
    exit 1
fi
"$(dirname "$0")/need.sh" debootstrap

suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
mirror=$(apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
    awk -v suite="$suite" '$1 == suite && $2 == "main" { print $3; exit }')
packages=$*
echo "Making a Debian 13 with $packages"
debootstrap --variant=minbase --include="${packages// /,}" trixie "$root" "$mirror" | sed '/^I: /d'
# The machine's own mirror and name servers are nobody else's.
rm -rf "$root"/var/cache/apt "$root"/var/lib/apt/lists/* \
    "$root"/etc/apt/sources.list "$root"/etc/resolv.conf "$root"/etc/hostname
