#!/usr/bin/env bash
# Prints the first records of a topic as Apache's own console consumer reads them, what is committed only: a line each, with
# key, tab and value; bytes that are no printable ASCII, and backslashes, stand as \xNN, a null as `null`.
# Usage: consume.sh BROKERS TOPIC COUNT
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/common.sh"
source "$here/jars.sh"

# The log would stand among the records.
sed -i 's/level="info"/level="off"/' "$work/log4j2.xml"
bytes=org.apache.kafka.common.serialization.BytesDeserializer
"${jvm[@]}" org.apache.kafka.tools.consumer.ConsoleConsumer --bootstrap-server "$1" --topic "$2" --from-beginning \
  --max-messages "$3" --timeout-ms 120000 --isolation-level read_committed --formatter-property print.key=true \
  --formatter-property key.deserializer=$bytes --formatter-property value.deserializer=$bytes
