#!/usr/bin/env bash
# Install Debian's PostgreSQL, without the cluster that its package makes and starts.
set -euo pipefail

export DEBIAN_FRONTEND=noninteractive
settings=/etc/postgresql-common/createcluster.conf
{
    apt-get update
    # The package's settings come first: they say whether a cluster is made.
    apt-get install --yes --no-install-recommends postgresql-common
    cp -p "$settings" "$settings.before"
    trap 'mv "$settings.before" "$settings"' EXIT
    echo "create_main_cluster = false" >>"$settings"
    apt-get install --yes --no-install-recommends postgresql
} >&2
