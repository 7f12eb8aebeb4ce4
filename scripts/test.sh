#!/usr/bin/env bash
# Every test: starts one Kafka and one PostgreSQL on free loopback ports, runs `cargo test`, stops both by pid.
#
# usage: scripts/test.sh [arguments of cargo test instead of --workspace, such as -p broker]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Outside the tree and short: socket addresses are, and PostgreSQL's user has to get in.
work=$(mktemp -d /tmp/rivermouth-test.XXXXXX)
chmod 711 "$work"
postgres_pid=

finish() {
  local status=$?
  trap - EXIT
  [ -e "$work/kafka" ] && scripts/kafka.sh stop "$work/kafka" || true
  if [ -n "$postgres_pid" ] && kill -0 "$postgres_pid" 2>/dev/null; then
    kill -INT "$postgres_pid"
    wait "$postgres_pid" 2>/dev/null || true
  fi
  if [ "$status" = 0 ]; then rm -rf "$work"; else echo "the servers' logs are in $work"; fi
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# --- PostgreSQL -----------------------------------------------------------------------------------

find_postgres() {
  local dir
  for dir in ${PG_BIN:+"$PG_BIN"} ${PATH//:/ } $(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -Vr) \
    /opt/homebrew/opt/postgresql*/bin /usr/local/opt/postgresql*/bin /usr/pgsql/bin; do
    if [ -x "$dir/initdb" ] && [ -x "$dir/postgres" ]; then
      echo "$dir"
      return
    fi
  done
  echo "test.sh: no PostgreSQL server programs found" >&2
  return 1
}

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# PostgreSQL refuses to run as root.
as=()
if [ "$(id -u)" = 0 ]; then
  user=$(getent passwd postgres >/dev/null && echo postgres || echo nobody)
  as=(setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups --)
fi

start_postgres() {
  local bin port
  bin=$(find_postgres)
  port=$(free_port)
  mkdir -m 700 "$work/postgres"
  [ ${#as[@]} = 0 ] || chown "$user" "$work/postgres"
  (cd "$work/postgres" && "${as[@]}" "$bin/initdb" -D "$work/postgres/data" -U postgres -A trust -E UTF8 \
    --locale=C --no-sync >"$work/initdb.log" 2>&1) || { cat "$work/initdb.log" >&2; return 1; }
  # Nothing here survives the test run, so nothing has to reach the disk in time.
  "${as[@]}" "$bin/postgres" -D "$work/postgres/data" -p "$port" -c listen_addresses=127.0.0.1 \
    -c unix_socket_directories="$work/postgres" -c max_connections=400 -c fsync=off -c full_page_writes=off \
    -c shared_buffers=128MB >"$work/postgres.log" 2>&1 &
  postgres_pid=$!
  local try
  for try in $(seq 600); do
    grep -q '^ready' <(sed -n 8p "$work/postgres/data/postmaster.pid" 2>/dev/null) && break
    kill -0 "$postgres_pid" 2>/dev/null || { cat "$work/postgres.log" >&2; return 1; }
    [ "$try" != 600 ] || { echo "test.sh: PostgreSQL is not ready after 60 s" >&2; return 1; }
    sleep 0.1
  done
  export RIVERMOUTH_TEST_DATABASE_URL="postgres://postgres@127.0.0.1:$port/postgres"
}

# --- Python's producers ---------------------------------------------------------------------------

start_python() {
  local venv=$PWD/target/venv wanted=testbed/python/requirements.txt
  if ! cmp -s "$wanted" "$venv/requirements.txt"; then
    echo "installing confluent-kafka into target/venv"
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$wanted"
    cp "$wanted" "$venv/requirements.txt"
  fi
  export RIVERMOUTH_TEST_PYTHON=$venv/bin/python
}

# --- now ------------------------------------------------------------------------------------------

what=("$@")
[ $# != 0 ] || what=(--workspace)
echo "building"
cargo test --locked --no-run "${what[@]}"
start_python
echo "starting PostgreSQL and Kafka"
start_postgres
RIVERMOUTH_TEST_KAFKA=$(scripts/kafka.sh start "$work/kafka" | tail -n 1)
RIVERMOUTH_TEST_KAFKA=$(cat "$work/kafka/bootstrap")
export RIVERMOUTH_TEST_KAFKA
# Thousands of sockets in one process.
ulimit -n "$(ulimit -Hn)" || true
# All failures at once: a run takes long.
cargo test --locked --no-fail-fast "${what[@]}"
