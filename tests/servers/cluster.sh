#!/usr/bin/env bash
# Runs three real Apache Kafka brokers (KRaft, each of them a controller too) on loopback until standard input is closed.
# Prints their addresses, separated by commas, when all of them serve. Everything has three replicas, and needs two of them.
# `kill N` on standard input kills node N of 1 to 3 (SIGKILL), `start N` starts it again on its data; both answer `done`.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/common.sh"
source "$here/jars.sh"

servers=('' '' '' '') # pids, by node
finish() {
  local pid
  for pid in "${servers[@]}"; do
    [[ -z $pid ]] || kill -KILL "$pid" 2>/dev/null || true
  done
  wait 2>/dev/null || true
  rm -rf "$work"
}

prepare() { # prepare PORT... (three for clients, three for controllers)
  local node voters="1@127.0.0.1:$4,2@127.0.0.1:$5,3@127.0.0.1:$6"
  for node in 1 2 3; do
    local port=${*:node:1} controller=${*:node+3:1}
    rm -rf "$work/data$node"
    cat >"$work/node$node.properties" <<PROPERTIES
process.roles=broker,controller
node.id=$node
controller.quorum.voters=$voters
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$work/data$node
auto.create.topics.enable=false
default.replication.factor=3
min.insync.replicas=2
log.retention.ms=-1
offsets.topic.num.partitions=3
transaction.state.log.num.partitions=3
transaction.state.log.min.isr=2
group.initial.rebalance.delay.ms=0
# A node that is gone is noticed within seconds.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
replica.lag.time.max.ms=4000
PROPERTIES
    "${jvm[@]}" -Xmx128m kafka.tools.StorageTool format -t runner-tests-cluster00 -c "$work/node$node.properties" \
      >"$work/format.log" 2>&1 || die "a broker's storage cannot be made: $(tail -n 3 "$work/format.log")"
  done
}

run() { # run NODE
  "${jvm[@]}" -Xmx320m kafka.Kafka "$work/node$1.properties" </dev/null >"$work/node$1.log" 2>&1 &
  servers[$1]=$!
}

await() { # await NODE
  local deadline=$((SECONDS + 120))
  until grep -q 'Kafka Server started' "$work/node$1.log"; do
    kill -0 "${servers[$1]}" 2>/dev/null || return 1
    ((SECONDS < deadline)) || die "broker $1 is not up after 120 s: $(tail -n 5 "$work/node$1.log")"
    sleep 0.1
  done
}

on_request() { # on_request kill|start NODE
  local request node
  read -r request node <<<"$1"
  [[ $node == [123] ]] || die "there is no node \`$node\`"
  case $request in
  kill) kill -KILL "${servers[node]}" && { wait "${servers[node]}" || true; } ;;
  start) run "$node" && await "$node" || die "broker $node does not start again: $(tail -n 5 "$work/node$node.log")" ;;
  *) die "\`$request\` cannot be asked of a cluster" ;;
  esac
  echo 'done'
}

# A port may be taken between the moment it was found free and the brokers' start.
for _ in 1 2 3; do
  read -ra ports < <(free_ports 6)
  [[ $(printf '%s\n' "${ports[@]}" | sort -u | wc -l) == 6 ]] || continue
  prepare "${ports[@]}"
  for node in 1 2 3; do run "$node"; done
  if await 1 && await 2 && await 3; then
    serve "127.0.0.1:${ports[0]},127.0.0.1:${ports[1]},127.0.0.1:${ports[2]}" && exit 0
  fi
  for node in 1 2 3; do kill -KILL "${servers[node]}" 2>/dev/null || true; done
done
die "the brokers do not start: $(tail -n 5 "$work"/node*.log)"
