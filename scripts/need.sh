#!/usr/bin/env bash
# Makes sure of what building, running or testing needs: installs it where it may, else says in one line what to install.
set -euo pipefail

usage="usage: scripts/need.sh run|test|instructions|lint"
purpose=${1:?$usage}
case $purpose in run | test | instructions | lint) ;; *) echo "$usage" >&2; exit 64 ;; esac

has() { command -v "$1" >/dev/null 2>&1; }

fail() { echo "need.sh: $*" >&2; exit 1; }

# --- what is there --------------------------------------------------------------------------------

header() {
  local compiler
  for compiler in cc gcc clang; do
    has "$compiler" && break
  done
  has "$compiler" || return 1
  echo "#include <$1>" | "$compiler" -E -x c - >/dev/null 2>&1
}

library() { has pkg-config && pkg-config --exists "$1"; }

postgres() {
  local dir
  for dir in ${PG_BIN:+"$PG_BIN"} ${PATH//:/ } /usr/lib/postgresql/*/bin /opt/homebrew/opt/postgresql*/bin \
    /usr/local/opt/postgresql*/bin /usr/pgsql/bin; do
    [ -x "$dir/initdb" ] && [ -x "$dir/postgres" ] && [ -x "$dir/pg_ctl" ] && return
  done
  return 1
}

# Debian's python3 has no pip of its own inside environments until python3-venv is there.
venv() { has python3 && python3 -c 'import ensurepip, venv' >/dev/null 2>&1; }

java_17() {
  has java || return 1
  local major
  major=$(java -version 2>&1 | sed -n '1s/.*version "\([0-9]*\).*/\1/p')
  [ "${major:-0}" -ge 17 ]
}

# Columns: what it is | check | apt | dnf | pacman | apk | brew
needs() {
  cat <<'TABLE'
run  | a C compiler        | has cc                     | build-essential   | gcc gcc-c++ make   | base-devel      | build-base        | -
run  | make                | has make                   | build-essential   | make               | base-devel      | make              | make
run  | pkg-config          | has pkg-config             | pkg-config        | pkgconf            | pkgconf         | pkgconf           | pkg-config
run  | perl                | has perl                   | perl              | perl               | perl            | perl              | perl
run  | OpenSSL's headers   | library openssl            | libssl-dev        | openssl-devel      | openssl         | openssl-dev       | openssl@3
run  | zlib's headers      | header zlib.h              | zlib1g-dev        | zlib-devel         | zlib            | zlib-dev          | zlib
run  | zstd's headers      | library libzstd            | libzstd-dev       | libzstd-devel      | zstd            | zstd-dev          | zstd
run  | PostgreSQL's server | postgres                   | postgresql        | postgresql-server  | postgresql      | postgresql        | postgresql@17
test | Java 17             | java_17                    | default-jre-headless | java-21-openjdk-headless | jre21-openjdk-headless | openjdk21-jre-headless | openjdk@17
test | Maven               | has mvn                    | maven             | maven              | maven           | maven             | maven
test | kcat                | has kcat                   | kcat              | kcat               | kcat            | kcat              | kcat
test | ps                  | has ps                     | procps            | procps-ng          | procps-ng       | procps            | -
test | curl                | has curl                   | curl              | curl               | curl            | curl              | curl
test | Python with venv    | venv                       | python3 python3-venv | python3         | python          | python3           | python@3.12
instructions | valgrind    | has valgrind               | valgrind          | valgrind           | valgrind        | valgrind          | -
lint | Python with venv    | venv                       | python3 python3-venv | python3         | python          | python3           | python@3.12
TABLE
}

wanted() {
  case $purpose in
    run) [ "$1" = run ] ;;
    test | instructions) [ "$1" = run ] || [ "$1" = "$purpose" ] ;;
    lint) [ "$1" = lint ] ;;
  esac
}

# --- how to install -------------------------------------------------------------------------------

manager= column=0
# The column of the table above, from 0.
for candidate in apt-get:3 dnf:4 pacman:5 apk:6 brew:7; do
  if has "${candidate%:*}"; then
    manager=${candidate%:*} column=${candidate#*:}
    break
  fi
done

# Root, or somebody who may become root without being asked; Homebrew wants neither.
as_root=
may_install() {
  [ -n "$manager" ] || return 1
  [ "$manager" = brew ] && return 0
  [ "$(id -u)" = 0 ] && return 0
  has sudo && sudo -n true 2>/dev/null && as_root="sudo"
}

command_line() {
  case $manager in
    apt-get) echo "apt-get install -y --no-install-recommends $*" ;;
    dnf) echo "dnf install -y $*" ;;
    pacman) echo "pacman -S --noconfirm --needed $*" ;;
    apk) echo "apk add $*" ;;
    brew) echo "brew install $*" ;;
    *) echo "install: $*" ;;
  esac
}

install() {
  local line
  line=$(command_line "$@")
  echo "installing with: ${as_root:+$as_root }$line"
  case $manager in
    apt-get)
      # Debian would make and start a server of its own, which nobody here asked for.
      if [[ " $* " == *" postgresql "* ]] && [ ! -e /etc/postgresql-common/createcluster.conf ]; then
        $as_root mkdir -p /etc/postgresql-common
        echo 'create_main_cluster = false' | $as_root tee /etc/postgresql-common/createcluster.conf >/dev/null
      fi
      $as_root apt-get update -qq
      $as_root env DEBIAN_FRONTEND=noninteractive apt-get -o Dpkg::Options::=--force-confold -o Dpkg::Use-Pty=0 \
        -qq install -y --no-install-recommends "$@" >/dev/null
      ;;
    *)
      # shellcheck disable=SC2086 # the line is a list of words
      $as_root $line
      ;;
  esac
}

# --- now ------------------------------------------------------------------------------------------

if [ "$purpose" != lint ] && ! has cargo; then
  fail "Rust is missing: install it from https://rustup.rs"
fi

trim() { sed 's/^ *//; s/ *$//' <<<"$1"; }

missing=() packages=()
look() {
  missing=() packages=()
  local row cells check package
  while IFS= read -r row; do
    IFS='|' read -r -a cells <<<"$row"
    wanted "$(trim "${cells[0]}")" || continue
    check=$(trim "${cells[2]}")
    $check && continue
    missing+=("$(trim "${cells[1]}")")
    [ "$column" != 0 ] || continue
    for package in ${cells[column]}; do
      [ "$package" = - ] || packages+=("$package")
    done
  done < <(needs)
}

list() { printf '%s' "$1"; shift; [ $# = 0 ] || printf ', %s' "$@"; }

look
[ ${#missing[@]} = 0 ] && exit 0
echo "missing: $(list "${missing[@]}")"
if [ ${#packages[@]} = 0 ]; then
  fail "please install first: $(list "${missing[@]}")"
fi
# shellcheck disable=SC2207 # names of packages have no blanks
packages=($(printf '%s\n' "${packages[@]}" | sort -u))
if may_install; then
  install "${packages[@]}"
  look
  [ ${#missing[@]} = 0 ] || fail "still missing after installing: $(list "${missing[@]}")"
else
  fail "please install first: sudo $(command_line "${packages[@]}")"
fi
