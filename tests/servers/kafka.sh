#!/usr/bin/env bash
# Runs a real Apache Kafka broker (one node, KRaft) on loopback until standard input is closed.
# Prints its address when it serves. Data is gone afterwards; jars come through mvn into its own cache.
# `kill` on standard input kills the broker (SIGKILL), `start` starts it again on its data; both answer `done`.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/common.sh"

java=$(find_java 17) || die "a Java of version 17 or later is missing (JAVA_HOME, or \`java\` in PATH)"
need mvn "it fetches the broker's jars"
need flock "it keeps two test runs from fetching at once"

# The class path is kept per pom.xml: asking mvn takes two seconds each time.
classpath=$cache/kafka-$(cksum <"$here/pom.xml" | tr ' ' -).classpath
jars_are_there() {
  local jar jars
  [[ -s $classpath ]] || return 1
  IFS=: read -ra jars <"$classpath" || true
  for jar in "${jars[@]}"; do [[ -f $jar ]] || return 1; done
}
fetch() {
  jars_are_there && return
  mvn -B -ntp -f "$here/pom.xml" dependency:build-classpath -Dmdep.outputFile="$work/classpath" >"$work/mvn.log" 2>&1 ||
    die "mvn cannot fetch the broker's jars: $(grep -m 3 ERROR "$work/mvn.log")"
  mv "$work/classpath" "$classpath"
}
(flock 9 && fetch) 9>"$cache/kafka.lock"

cat >"$work/log4j2.xml" <<'XML'
<Configuration status="warn">
  <Appenders><Console name="out"><PatternLayout pattern="[%d] %p %m (%c)%n"/></Console></Appenders>
  <Loggers><Root level="info"><AppenderRef ref="out"/></Root></Loggers>
</Configuration>
XML
jvm=("$java" -Dlog4j2.configurationFile="$work/log4j2.xml" -XX:TieredStopAtLevel=1 -Xshare:auto -cp "$(<"$classpath")")

boot() { # boot PORT CONTROLLER_PORT
  rm -rf "$work/data"
  cat >"$work/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$2
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$1,CONTROLLER://127.0.0.1:$2
advertised.listeners=PLAINTEXT://127.0.0.1:$1
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$work/data
auto.create.topics.enable=false
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=5
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=5
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
PROPERTIES
  "${jvm[@]}" -Xmx256m kafka.tools.StorageTool format -t runner-tests-cluster00 -c "$work/server.properties" \
    >"$work/format.log" 2>&1 || die "the broker's storage cannot be made: $(tail -n 3 "$work/format.log")"
  launch
}

launch() {
  "${jvm[@]}" -Xmx768m kafka.Kafka "$work/server.properties" </dev/null >"$work/server.log" 2>&1 &
  server=$!
  local deadline=$((SECONDS + 90))
  until grep -q 'Kafka Server started' "$work/server.log"; do
    kill -0 "$server" 2>/dev/null || return 1
    ((SECONDS < deadline)) || die "the broker is not up after 90 s: $(tail -n 5 "$work/server.log")"
    sleep 0.1
  done
}

on_request() { # on_request kill|start
  case $1 in
  kill) kill -KILL "$server" && { wait "$server" || true; } ;;
  start) launch || die "the broker does not start again: $(tail -n 5 "$work/server.log")" ;;
  *) die "\`$1\` cannot be asked of a broker" ;;
  esac
  echo 'done'
}

# A port may be taken between the moment it was found free and the broker's start.
for _ in 1 2 3; do
  read -r port controller < <(free_ports 2)
  if boot "$port" "$controller"; then serve "127.0.0.1:$port" && exit 0; fi
done
die "the broker does not start: $(tail -n 5 "$work/server.log")"
