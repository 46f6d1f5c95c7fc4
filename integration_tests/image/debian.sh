#!/usr/bin/env bash
# Make the Debian that is named first in the folder named second, with the packages named after it.
# The Python of trixie is 3.13, as that of Airbyte's base is; that of forky is 3.14.
set -euo pipefail

suite=$1
root=$2
shift 2
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "A Debian is made as root on Debian." >&2
    exit 1
fi
"$(dirname "$0")/need.sh" debootstrap

own=$(. /etc/os-release && echo "$VERSION_CODENAME")
mirror=$(apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
    awk -v own="$own" '$1 == own && $2 == "main" { print $3; exit }')
packages=$*
echo "Making a Debian $suite with $packages"
debootstrap --variant=minbase --include="${packages// /,}" "$suite" "$root" "$mirror" \
    /usr/share/debootstrap/scripts/sid | sed '/^I: /d'
# The machine's own mirror and name servers are nobody else's.
rm -rf "$root"/var/cache/apt "$root"/var/lib/apt/lists/* \
    "$root"/etc/apt/sources.list "$root"/etc/resolv.conf "$root"/etc/hostname
