#!/usr/bin/env bash
# Apache Kafka for tests and development, without Docker: fetched from Maven, started on free loopback ports.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: scripts/kafka.sh COMMAND

  start DIR [--brokers 1|3]   start a cluster whose data and logs live in DIR; prints the bootstrap address
        [--advertise PORTS]   DIR/bootstrap holds it too, DIR/broker-N.pid the processes (N from 1)
                              a running cluster is left alone; a stopped one comes back with its data and ports
                              PORTS (one for each broker, with commas) are those of proxies on this machine: who
                              comes through them to the addresses in DIR/behind is kept there by the metadata
  stop DIR                    stop all brokers; the data stays (remove DIR to be rid of it)
  status DIR                  one line for each broker: N PID running|stopped
  kill DIR N                  kill -9 broker N
  restart DIR N               start broker N again (stops it first when it runs), same port, same data
  pause DIR N, resume DIR N   SIGSTOP, SIGCONT
  topic DIR list
  topic DIR describe NAME
  topic DIR create NAME PARTITIONS [REPLICAS] [key=value ...]
  topic DIR delete NAME
  topic DIR grow NAME PARTITIONS
  topic DIR set NAME key=value ...
  topic DIR delete-records NAME PARTITION OFFSET
  topic DIR lead NAME PARTITIONS N          broker N becomes the leader of partitions 0 to PARTITIONS-1, which all
                                            brokers must have
  fetch                       only fetch the jars
  classpath                   print the Java class path

Needs java (17 or newer) and, the first time, mvn. The jars are kept in
${XDG_CACHE_HOME:-~/.cache}/rivermouth/kafka-4.3.1. Several clusters may run side by side, each in its own DIR.

environment: KAFKA_HEAP (256m), KAFKA_START_TIMEOUT_S (90)
TEXT
}

fail() { echo "kafka.sh: $*" >&2; exit 1; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/rivermouth/kafka-4.3.1
heap=${KAFKA_HEAP:-256m}
start_timeout_s=${KAFKA_START_TIMEOUT_S:-90}
dir=
advertise=

# --- jars -----------------------------------------------------------------------------------------

# Fetched beside the cache and moved into place, so that an interrupted or a second fetch harms nobody.
fetch() {
  cmp -s "$here/kafka-pom.xml" "$cache/pom.xml" && return
  command -v java >/dev/null || fail "java is missing (Kafka needs 17 or newer)"
  command -v mvn >/dev/null || fail "mvn is missing (it fetches Kafka's jars the first time)"
  local fresh
  mkdir -p "$(dirname "$cache")"
  fresh=$(mktemp -d "$cache.XXXXXX")
  cp "$here/kafka-pom.xml" "$fresh/pom.xml"
  if ! mvn -q -B -f "$fresh/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$fresh/jars" >"$fresh/mvn.log" 2>&1; then
    mv "$fresh/mvn.log" "$cache.mvn.log"
    rm -rf "$fresh"
    fail "maven could not fetch Kafka, see $cache.mvn.log"
  fi
  cmp -s "$here/kafka-pom.xml" "$cache/pom.xml" || { rm -rf "$cache"; mv "$fresh" "$cache" 2>/dev/null || true; }
  # When somebody else was faster in between, mv has put ours inside theirs.
  rm -rf "$fresh" "$cache/${fresh##*/}"
  cmp -s "$here/kafka-pom.xml" "$cache/pom.xml" || fail "could not put the jars into $cache"
}

jvm() { java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData -Xshare:auto -Xmx128m -cp "$cache/jars/*" "$@"; }

# --- one broker -----------------------------------------------------------------------------------

broker_pid() { # N: prints the pid when that broker, and no later owner of its pid, is alive
  local pid
  pid=$(cat "$dir/broker-$1.pid" 2>/dev/null) || return 1
  [[ $(ps -ww -p "$pid" -o args= 2>/dev/null) == *" kafka.Kafka $dir/broker-$1.properties"* ]] || return 1
  echo "$pid"
}

launch() { # N
  local log=$dir/broker-$1.log detach=
  [ ! -e "$log" ] || cat "$log" >>"$log.old"
  command -v setsid >/dev/null && detach=setsid # Ctrl-C at the tests is not meant for the broker
  $detach java -Xms"$heap" -Xmx"$heap" -XX:+UseSerialGC -XX:-UsePerfData -Xshare:auto -XX:+ExitOnOutOfMemoryError \
    -Djava.awt.headless=true -Dlog4j2.configurationFile="$dir/log4j2.properties" \
    -cp "$cache/jars/*" kafka.Kafka "$dir/broker-$1.properties" </dev/null >"$log" 2>&1 &
  echo $! >"$dir/broker-$1.pid"
  disown
}

await_started() { # N: 0 it answers, 2 its port was taken
  local log=$dir/broker-$1.log deadline=$((SECONDS + start_timeout_s))
  until grep -q 'Kafka Server started' "$log"; do
    if ! broker_pid "$1" >/dev/null; then
      sleep 0.2 # setsid may not have become java yet
      broker_pid "$1" >/dev/null || {
        grep -qE 'Address already in use|BindException' "$log" && return 2
        fail "broker $1 died while starting, see $log"
      }
    fi
    ((SECONDS < deadline)) || fail "broker $1 did not start within $start_timeout_s s, see $log"
    sleep 0.1
  done
}

await_gone() { # PID SECONDS
  local deadline=$((SECONDS + $2))
  while kill -0 "$1" 2>/dev/null; do
    [[ $(ps -p "$1" -o stat= 2>/dev/null) == Z* ]] && return
    ((SECONDS < deadline)) || return 1
    sleep 0.1
  done
}

await_stopped() { # PID: a stopped process still runs until its last thread has noticed
  local deadline=$((SECONDS + 10))
  while ps -L -p "$1" -o stat= 2>/dev/null | grep -qv '^T'; do
    ((SECONDS < deadline)) || fail "pid $1 does not stop"
    sleep 0.05
  done
}

stop_broker() { # N: politely, and after 20 s not
  local pid
  if pid=$(broker_pid "$1"); then
    kill -CONT "$pid" 2>/dev/null || true
    kill -TERM "$pid" 2>/dev/null || true
    await_gone "$pid" 20 || { kill -KILL "$pid" 2>/dev/null || true; await_gone "$pid" 10 || fail "broker $1 (pid $pid) does not die"; }
  fi
  rm -f "$dir/broker-$1.pid"
}

# --- the cluster ----------------------------------------------------------------------------------

# Below the range the system takes outgoing ports from; a port lost in between is noticed at start.
free_port() { # sets port
  while :; do
    port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
    [[ " ${taken[*]-} " == *" $port "* ]] && continue
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && continue
    taken+=("$port")
    return 0
  done
}

configure() { # BROKERS
  local n port voters='' bootstrap='' behind='' ports=() controllers=() listener=() advertised=() isr=1
  taken=()
  for ((n = 1; n <= $1; n++)); do
    free_port; ports[n]=$port
    free_port; controllers[n]=$port
    voters+=${voters:+,}$n@127.0.0.1:${controllers[n]}
    bootstrap+=${bootstrap:+,}127.0.0.1:${ports[n]}
    listener[n]='' advertised[n]=''
    [ -z "$advertise" ] && continue
    free_port
    listener[n]=,PROXIED://127.0.0.1:$port
    advertised[n]=,PROXIED://127.0.0.1:$(cut -d, -f"$n" <<<"$advertise")
    behind+=${behind:+,}127.0.0.1:$port
  done
  (($1 > 1)) && isr=2
  for ((n = 1; n <= $1; n++)); do
    cat >"$dir/broker-$n.properties" <<TEXT
node.id=$n
process.roles=broker,controller
controller.quorum.voters=$voters
listeners=PLAINTEXT://127.0.0.1:${ports[n]},CONTROLLER://127.0.0.1:${controllers[n]}${listener[n]}
advertised.listeners=PLAINTEXT://127.0.0.1:${ports[n]}${advertised[n]}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT
log.dirs=$dir/data-$n
auto.create.topics.enable=false
unclean.leader.election.enable=false
default.replication.factor=$1
min.insync.replicas=$isr
offsets.topic.replication.factor=$1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=$1
transaction.state.log.min.isr=$isr
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=$1
share.coordinator.state.topic.min.isr=$isr
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
# A dead broker is noticed soon, a busy machine is forgiven.
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=5000
# Small machine.
num.network.threads=2
num.io.threads=4
background.threads=2
log.cleaner.dedupe.buffer.size=8388608
# Retention and compaction act within seconds, so that tests can watch them.
log.initial.task.delay.ms=1000
log.retention.check.interval.ms=1000
log.cleaner.backoff.ms=1000
TEXT
  done
  cat >"$dir/log4j2.properties" <<'TEXT'
status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{ISO8601} %p %c{1}: %m%n
rootLogger.level = info
rootLogger.appenderRef.out.ref = out
TEXT
  echo "$bootstrap" >"$dir/bootstrap"
  [ -z "$behind" ] || echo "$behind" >"$dir/behind"
}

format() { # BROKERS
  local n cluster pids=()
  cluster=$(head -c 16 /dev/urandom | base64 | tr '+/' 'AB' | tr -d '=\n')
  for ((n = 1; n <= $1; n++)); do
    [ -e "$dir/data-$n/meta.properties" ] && continue
    jvm kafka.tools.StorageTool format -t "$cluster" -c "$dir/broker-$n.properties" >"$dir/format-$n.log" 2>&1 &
    pids+=($!)
  done
  for n in ${pids[@]+"${pids[@]}"}; do
    wait "$n" || fail "storage could not be formatted, see $dir/format-*.log"
  done
}

brokers() { # prints the numbers of the brokers of DIR
  local file
  for file in "$dir"/broker-*.properties; do
    [ -e "$file" ] || return 0
    file=${file##*/broker-}
    echo "${file%.properties}"
  done
}

stop_launched() { local n; for n in ${launched[@]+"${launched[@]}"}; do stop_broker "$n"; done; }

start() {
  local count n try code
  count=$(brokers | wc -l)
  ((count)) || count=1
  while (($#)); do
    case $1 in
      --brokers) count=${2-}; shift 2 || fail "--brokers wants 1 or 3" ;;
      --advertise) advertise=${2-}; shift 2 || fail "--advertise wants ports" ;;
      *) fail "start does not know '$1', see --help" ;;
    esac
  done
  [[ $count == 1 || $count == 3 ]] || fail "--brokers wants 1 or 3, not '$count'"
  [[ -z $advertise || $advertise =~ ^[0-9]+(,[0-9]+){$((count - 1))}$ ]] || fail "--advertise wants $count ports, not '$advertise'"
  fetch
  if [ -e "$dir/bootstrap" ]; then
    [ "$(brokers | wc -l)" -eq "$count" ] || fail "$dir holds a cluster of another size"
  else
    configure "$count"
  fi
  format "$count"
  for try in 1 2 3; do
    launched=()
    trap stop_launched EXIT # a start that fails or is interrupted leaves nothing behind
    for n in $(brokers); do
      broker_pid "$n" >/dev/null && continue
      launched+=("$n")
      launch "$n"
    done
    code=0
    for n in $(brokers); do await_started "$n" || { code=$?; break; }; done
    if ((code == 0)); then
      trap - EXIT
      cat "$dir/bootstrap"
      return
    fi
    for n in $(brokers); do stop_broker "$n"; done
    configure "$count" # somebody else took a port between choosing and binding
  done
  fail "no free ports after $try tries, see $dir/broker-*.log"
}

status() {
  local n pid
  for n in $(brokers); do
    if pid=$(broker_pid "$n"); then echo "$n $pid running"; else echo "$n - stopped"; fi
  done
}

need_broker() { # N
  [[ ${1-} =~ ^[0-9]+$ && -e $dir/broker-$1.properties ]] || fail "no broker '${1-}' in $dir"
}

signal() { # SIGNAL N
  local pid
  need_broker "${2-}"
  pid=$(broker_pid "$2") || fail "broker $2 of $dir is not running"
  kill "-$1" "$pid"
  [[ $1 != STOP ]] || await_stopped "$pid"
  [[ $1 != KILL ]] || { await_gone "$pid" 10 || fail "broker $2 (pid $pid) does not die"; rm -f "$dir/broker-$2.pid"; }
}

restart() { # N
  need_broker "${1-}"
  fetch
  stop_broker "$1"
  launch "$1"
  await_started "$1" || fail "the port of broker $1 is taken by somebody else"
}

# --- topics ---------------------------------------------------------------------------------------

tool() { # CLASS ARGS...: its output when it worked, one line of it when not
  local class=$1 out
  shift
  out=$(jvm "-Dlog4j2.configurationFile=$dir/log4j2-tools.properties" "$class" --bootstrap-server "$(cat "$dir/bootstrap")" "$@" 2>&1) ||
    fail "$(grep -m1 -E 'Error|Exception|ERROR' <<<"$out" || tail -n 1 <<<"$out")"
  printf '%s' "${out:+$out$'\n'}"
}

topic() {
  local command=${1-} name=${2-} pair configs=() options=()
  [ -e "$dir/bootstrap" ] || fail "no cluster in $dir"
  fetch
  sed 's/^rootLogger.level = .*/rootLogger.level = error/' "$dir/log4j2.properties" >"$dir/log4j2-tools.properties"
  [[ $command == list || -n $name ]] || fail "topic $command wants a name, see --help"
  case $command in
    list) tool org.apache.kafka.tools.TopicCommand --list ;;
    describe) tool org.apache.kafka.tools.TopicCommand --describe --topic "$name" ;;
    create)
      [[ ${3-} =~ ^[0-9]+$ ]] || fail "topic create wants a number of partitions"
      options=(--partitions "$3")
      shift 3
      [[ ${1-} =~ ^[0-9]+$ ]] && { options+=(--replication-factor "$1"); shift; }
      for pair; do configs+=(--config "$pair"); done
      tool org.apache.kafka.tools.TopicCommand --create --topic "$name" "${options[@]}" ${configs[@]+"${configs[@]}"} >/dev/null
      ;;
    delete) tool org.apache.kafka.tools.TopicCommand --delete --topic "$name" >/dev/null ;;
    grow) tool org.apache.kafka.tools.TopicCommand --alter --topic "$name" --partitions "${3-}" >/dev/null ;;
    set)
      shift 2
      (($#)) || fail "topic set wants key=value"
      for pair; do configs+=("$pair"); done
      tool kafka.admin.ConfigCommand --alter --entity-type topics --entity-name "$name" \
        --add-config "$(IFS=,; echo "${configs[*]}")" >/dev/null
      ;;
    delete-records)
      [[ ${3-} =~ ^[0-9]+$ && ${4-} =~ ^-?[0-9]+$ ]] || fail "topic delete-records wants NAME PARTITION OFFSET"
      printf '{"version":1,"partitions":[{"topic":"%s","partition":%s,"offset":%s}]}' "$name" "$3" "$4" >"$dir/delete-records.$$.json"
      tool org.apache.kafka.tools.DeleteRecordsCommand --offset-json-file "$dir/delete-records.$$.json" >/dev/null
      rm -f "$dir/delete-records.$$.json"
      ;;
    lead)
      [[ ${3-} =~ ^[0-9]+$ && ${4-} =~ ^[0-9]+$ ]] || fail "topic lead wants NAME PARTITIONS N"
      # The first replica is the one that is preferred; an election then prefers it.
      local replicas=$4 other partition order='' led=''
      for other in $(brokers); do [ "$other" = "$4" ] || replicas+=,$other; done
      for ((partition = 0; partition < $3; partition++)); do
        order+=${order:+,}$(printf '{"topic":"%s","partition":%s,"replicas":[%s]}' "$name" "$partition" "$replicas")
        led+=${led:+,}$(printf '{"topic":"%s","partition":%s}' "$name" "$partition")
      done
      echo "{\"version\":1,\"partitions\":[$order]}" >"$dir/order.$$.json"
      echo "{\"partitions\":[$led]}" >"$dir/led.$$.json"
      tool org.apache.kafka.tools.reassign.ReassignPartitionsCommand --reassignment-json-file "$dir/order.$$.json" \
        --execute >/dev/null
      tool org.apache.kafka.tools.LeaderElectionCommand --election-type preferred \
        --path-to-json-file "$dir/led.$$.json" >/dev/null
      rm -f "$dir/order.$$.json" "$dir/led.$$.json"
      ;;
    *) fail "topic does not know '$command', see --help" ;;
  esac
}

# --- main -----------------------------------------------------------------------------------------

command=${1-}
case $command in
  '' | -h | --help | help) usage; exit ;;
  fetch) fetch; exit ;;
  classpath) fetch; echo "$cache/jars/*"; exit ;;
esac
shift
dir=${1-}
[[ -n $dir ]] || fail "$command wants a directory, see --help"
shift
[[ $command == start ]] && mkdir -p "$dir"
[[ -d $dir ]] || { [[ $command == stop ]] && exit; fail "$dir does not exist"; }
dir=$(cd "$dir" && pwd -P)
case $command in
  start) start "$@" ;;
  stop) for n in $(brokers); do stop_broker "$n" & done; wait ;;
  status) status ;;
  kill) signal KILL "${1-}" ;;
  pause) signal STOP "${1-}" ;;
  resume) signal CONT "${1-}" ;;
  restart) restart "${1-}" ;;
  topic) topic "$@" ;;
  *) fail "unknown command '$command', see --help" ;;
esac
