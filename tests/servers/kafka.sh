#!/usr/bin/env bash
# Runs a real Apache Kafka broker (one node, KRaft) on loopback until standard input is closed.
# Prints its address when it serves. With a folder of certificates (kafka.sh FOLDER) it also has listeners that
# demand logins and TLS, and prints the address of each, in the order of `guarded` below. Data is gone afterwards; jars come through mvn into its own cache.
# What RUNNER_TEST_BROKER has (lines of server.properties) is set too.
# `kill` on standard input kills the broker (SIGKILL), `start` starts it again on its data; both answer `done`.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/common.sh"

source "$here/jars.sh"

certificates=${1:-}
[[ -z $certificates ]] || trap 'finish; rm -rf "$certificates"' EXIT
guarded=(login tls mutual loginTls expired elsewhere)

# What the guarded listeners need; the file's names are those of tests/it/certificates.rs.
guards() { # guards PORT...
  local name listeners='' protocols=''
  for name in "${guarded[@]}"; do
    listeners+=",${name^^}://127.0.0.1:$1"
    case $name in
    login) protocols+=",LOGIN:SASL_PLAINTEXT" ;;
    loginTls) protocols+=",LOGINTLS:SASL_SSL" ;;
    *) protocols+=",${name^^}:SSL" ;;
    esac
    shift
  done
  sed -i -e "s#^\(advertised.\)\?listeners=.*#&$listeners#" \
    -e "s#^listener.security.protocol.map=.*#&$protocols#" "$work/server.properties"
  cat <<PROPERTIES
inter.broker.listener.name=PLAINTEXT
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
ssl.keystore.type=PEM
ssl.truststore.type=PEM
ssl.keystore.location=$certificates/broker.pem
ssl.truststore.location=$certificates/ca.pem
listener.name.mutual.ssl.client.auth=required
listener.name.expired.ssl.keystore.type=PEM
listener.name.expired.ssl.keystore.location=$certificates/expired.pem
listener.name.elsewhere.ssl.keystore.type=PEM
listener.name.elsewhere.ssl.keystore.location=$certificates/elsewhere.pem
PROPERTIES
  local jaas=org.apache.kafka.common.security
  for name in login logintls; do
    cat <<PROPERTIES
listener.name.$name.plain.sasl.jaas.config=$jaas.plain.PlainLoginModule required user_alice="${RUNNER_TEST_PASSWORD:?}";
listener.name.$name.scram-sha-256.sasl.jaas.config=$jaas.scram.ScramLoginModule required;
listener.name.$name.scram-sha-512.sasl.jaas.config=$jaas.scram.ScramLoginModule required;
PROPERTIES
  done
}

boot() { # boot PORT CONTROLLER_PORT GUARDED_PORT...
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
# Records of tests have fixed times, years ago: retention counts from them, and would take them at its first look.
log.retention.ms=-1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=5
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=5
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
${RUNNER_TEST_BROKER:-}
PROPERTIES
  local users=()
  if [[ -n $certificates ]]; then
    guards "${@:3}" >"$work/guards"
    cat "$work/guards" >>"$work/server.properties"
    users=(--add-scram "SCRAM-SHA-256=[name=alice,password=$RUNNER_TEST_PASSWORD]"
      --add-scram "SCRAM-SHA-512=[name=alice,password=$RUNNER_TEST_PASSWORD]")
  fi
  "${jvm[@]}" -Xmx256m kafka.tools.StorageTool format -t runner-tests-cluster00 -c "$work/server.properties" \
    "${users[@]}" >"$work/format.log" 2>&1 || die "the broker's storage cannot be made: $(tail -n 3 "$work/format.log")"
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
  count=2
  [[ -z $certificates ]] || count=$((count + ${#guarded[@]}))
  read -ra ports < <(free_ports "$count")
  if boot "${ports[@]}"; then
    unset 'ports[1]' # the controller's
    serve "$(printf '127.0.0.1:%s ' "${ports[@]}")" && exit 0
  fi
done
die "the broker does not start: $(tail -n 5 "$work/server.log")"
