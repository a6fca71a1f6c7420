#!/usr/bin/env bash
# What the browser check needs beyond Python: the page's packages, the built page, and Debian's
# Chromium. CI runs it; --no-browser leaves Chromium to you. Does nothing if everything is there.
set -euo pipefail
cd "$(dirname "$0")"

command -v npm >/dev/null || { echo "npm is missing: install Node.js 20 or newer."; exit 1; }
node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 20 ? 1 : 0)' || {
  echo "Node.js $(node --version) is too old: install Node.js 20 or newer."; exit 1; }
if [ ! node_modules/.package-lock.json -nt package-lock.json ]; then
  echo "Installing the page's packages (about a minute) ..."
  npm ci --no-audit --no-fund --loglevel=error
  touch node_modules/.package-lock.json
fi
if [ ! -f dist/main.js ] || [ -n "$(find src build.mjs package-lock.json -newer dist/main.js)" ]; then
  echo "Building the page ..."
  node build.mjs
fi
[ "${1:-}" = "--no-browser" ] && exit 0
if ! command -v chromium >/dev/null; then
  command -v apt-get >/dev/null || { echo "chromium is missing: install it."; exit 1; }
  [ "$(id -u)" = 0 ] || { echo "chromium is missing: sudo apt-get install chromium"; exit 1; }
  echo "Installing Chromium ..."
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    chromium fonts-dejavu-core >/dev/null
fi
