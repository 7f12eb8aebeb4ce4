#!/usr/bin/env bash
# Installs the servers that the benchmark compares with, where it may; else says in one line what is missing.
# Nothing of it runs afterwards: the benchmark starts what it needs with a configuration of its own.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
socketio=$here/../bench/peers/socketio

has() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ]; }

fail() { echo "peers.sh: $*" >&2; exit 1; }

# --- what is there --------------------------------------------------------------------------------

nchan() {
  has nginx || return 1
  local file
  for file in {/usr,/usr/local}/lib{,64}/nginx/modules/ngx_nchan_module.so; do
    [ -e "$file" ] && return
  done
  return 1
}

node_18() {
  has node || return 1
  local version
  version=$(node --version)
  version=${version#v}
  [ "${version%%.*}" -ge 18 ]
}

# Columns: what it is | check | Debian's packages | the services that come with them
needs() {
  cat <<'TABLE'
nginx with nchan | nchan            | nginx libnginx-mod-nchan | nginx
nats-server      | has nats-server  | nats-server              | nats-server
redis-server     | has redis-server | redis-server             | redis-server
Node.js 18       | node_18          | nodejs                   |
npm              | has npm          | npm                      |
TABLE
}

missing=() packages=() services=()
look() {
  missing=() packages=() services=()
  local what check debian units
  while IFS='|' read -r what check debian units; do
    # shellcheck disable=SC2086 # a command and its argument
    $check && continue
    # shellcheck disable=SC2206 # names have no blanks
    missing+=("$(sed 's/ *$//' <<<"$what")") packages+=($debian) services+=($units)
  done < <(needs)
}

list() { printf '%s' "$1"; shift; [ $# = 0 ] || printf ', %s' "$@"; }

# --- how to install -------------------------------------------------------------------------------

as_root=
may_install() {
  has apt-get || return 1
  [ "$(id -u)" = 0 ] && return 0
  has sudo && sudo -n true 2>/dev/null && as_root="sudo"
}

# While this file is there, packages do not start their services.
policy=/usr/sbin/policy-rc.d
install() {
  if [ ! -e "$policy" ]; then
    trap '$as_root rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
    $as_root chmod 755 "$policy"
  fi
  $as_root apt-get update -qq
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get -o Dpkg::Options::=--force-confold -o Dpkg::Use-Pty=0 \
    -qq install -y --no-install-recommends "${packages[@]}" >/dev/null
  # Those that were here before stay as they were.
  if has systemctl && [ ${#services[@]} != 0 ]; then
    $as_root systemctl disable --quiet "${services[@]}" 2>/dev/null || true
  fi
}

# --- now ------------------------------------------------------------------------------------------

look
if [ ${#missing[@]} != 0 ]; then
  echo "missing: $(list "${missing[@]}")"
  may_install || fail "please install first: $(list "${missing[@]}") (on Debian: sudo apt-get install ${packages[*]})"
  echo "installing with: ${as_root:+$as_root }apt-get install ${packages[*]}"
  install
  look
  [ ${#missing[@]} = 0 ] || fail "still missing after installing: $(list "${missing[@]}")"
fi
(cd "$socketio" && npm ci --no-audit --no-fund --omit=optional) ||
  fail "npm could not install what $socketio/package-lock.json names"
