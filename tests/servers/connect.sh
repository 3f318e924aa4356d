#!/usr/bin/env bash
# Runs a real Kafka Connect (one distributed worker with the FileStream connectors) and its broker on loopback until
# standard input is closed. Prints `BROKERS HOST:PORT` when it answers. Only what is recorded in tests/data needs it.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/common.sh"
source "$here/jars.sh"
need curl "it tells when Connect answers"

# The worker's jars, beside the broker's; the connectors in a folder of plugins, as Connect wants them.
version=$(sed -n '/kafka_2.13/{n;s:.*<version>\(.*\)</version>.*:\1:p}' "$here/pom.xml")
plugins=$work/plugins
mkdir -p "$plugins"
sed "s:</dependencies>:$(printf '<dependency><groupId>org.apache.kafka</groupId><artifactId>%s</artifactId><version>%s</version></dependency>' \
  connect-runtime "$version" connect-json "$version" connect-transforms "$version" connect-file "$version")</dependencies>:" \
  "$here/pom.xml" >"$work/pom.xml"
mvn -B -ntp -f "$work/pom.xml" dependency:build-classpath -Dmdep.outputFile="$work/classpath" >"$work/mvn.log" 2>&1 ||
  die "mvn cannot fetch Connect's jars: $(grep -m 3 ERROR "$work/mvn.log")"
IFS=: read -ra jars <"$work/classpath" || true
for jar in "${jars[@]}"; do [[ $jar != */connect-file-* ]] || cp "$jar" "$plugins/"; done

# The broker is kafka.sh's: it lives as long as its standard input is open.
coproc KAFKA { RUNNER_TEST_BROKER="auto.create.topics.enable=true" exec bash "$here/kafka.sh"; }
read -r brokers <&"${KAFKA[0]}" || die "the broker does not start"

read -ra ports < <(free_ports 1)
cat >"$work/worker.properties" <<PROPERTIES
bootstrap.servers=$brokers
group.id=recorded
key.converter=org.apache.kafka.connect.json.JsonConverter
value.converter=org.apache.kafka.connect.json.JsonConverter
config.storage.topic=recorded-configs
offset.storage.topic=recorded-offsets
status.storage.topic=recorded-status
config.storage.replication.factor=1
offset.storage.replication.factor=1
status.storage.replication.factor=1
offset.flush.interval.ms=1000
listeners=http://127.0.0.1:${ports[0]}
plugin.path=$plugins
PROPERTIES
"$java" -Dlog4j2.configurationFile="$work/log4j2.xml" -XX:TieredStopAtLevel=1 -Xmx512m -cp "$(<"$work/classpath")" \
  org.apache.kafka.connect.cli.ConnectDistributed "$work/worker.properties" </dev/null >"$work/server.log" 2>&1 &
server=$!
deadline=$((SECONDS + 120))
until curl -fsS -m 20 "http://127.0.0.1:${ports[0]}/health" 2>/dev/null | grep -q '"healthy"'; do
  kill -0 "$server" 2>/dev/null || die "Connect does not start: $(tail -n 5 "$work/server.log")"
  ((SECONDS < deadline)) || die "Connect does not answer after 120 s: $(tail -n 5 "$work/server.log")"
  sleep 0.3
done
serve "$brokers 127.0.0.1:${ports[0]}"
