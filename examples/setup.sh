#!/usr/bin/env bash
# Installs what the examples' tests need besides Python: a Redis server (Debian and Ubuntu).
set -euo pipefail
if command -v redis-server >/dev/null; then
  exit 0
fi
if ! command -v apt-get >/dev/null; then
  echo "Install redis-server with your system's package manager; this script supports apt-get only." >&2
  exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  as_root=(sudo)
fi
"${as_root[@]}" apt-get update -qq
# The run level keeps the package from starting a service: the tests start their own server.
"${as_root[@]}" env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq redis-server
