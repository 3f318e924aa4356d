#!/usr/bin/env bash
# Prints how far a consumer group is, as Apache's own kafka-consumer-groups shows it: its heading, and a line for each partition.
# Usage: groups.sh BROKERS GROUP
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/common.sh"
source "$here/jars.sh"

# The log would stand among the lines.
sed -i 's/level="info"/level="off"/' "$work/log4j2.xml"
"${jvm[@]}" org.apache.kafka.tools.consumer.group.ConsumerGroupCommand --bootstrap-server "$1" --describe --group "$2"
