# How a broker of Apache Kafka is run from its jars (`jvm`); read by the scripts that run brokers, behind common.sh.

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
