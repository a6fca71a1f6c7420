#!/usr/bin/env bash
# Installs what the examples' tests need besides Python: the servers of Redis and PostgreSQL (Debian
# and Ubuntu).
set -euo pipefail
packages=()
command -v redis-server >/dev/null || packages+=(redis-server)
# PostgreSQL's programs are not in PATH there.
command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null ||
  packages+=(postgresql)
if [ ${#packages[@]} -eq 0 ]; then
  exit 0
fi
if ! command -v apt-get >/dev/null; then
  echo "Install ${packages[*]} with your system's package manager; this script supports apt-get only." >&2
  exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  as_root=(sudo)
fi
"${as_root[@]}" apt-get update -qq
# The run level keeps the packages from starting a service: the tests start their own servers.
"${as_root[@]}" env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${packages[@]}"
