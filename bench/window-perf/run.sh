#!/usr/bin/env bash
# Measures pipelines/window-perf.yaml beside DuckDB on the same files: time, CPU and peak memory of each process.
#   bench/window-perf/run.sh [ROWS]      (10000000; a week is 7 times the hours: HOURS=168)
# Needs a release build (cargo build --release, or RUNNER), GNU time and a Python with duckdb (pip install duckdb).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
rows=${1:-10000000} hours=${HOURS:-24} users=${USERS_COUNT:-1000000}
runner=$(realpath "${RUNNER:-target/release/runner}") python=${PYTHON:-python3}
out=out/window-perf
mkdir -p "$out"

measured() { # measured NAME COMMAND...
  local name=$1
  shift
  /usr/bin/time -f "%e %U %S %M" -o "$out/time" "$@" >"$out/$name.log" 2>&1 || { cat "$out/$name.log" >&2; exit 1; }
  read -r wall user system peak_kb < <(tail -n 1 "$out/time")
  awk -v name="$name" -v wall="$wall" -v cpu="$user" -v sys="$system" -v peak="$peak_kb" -v rows="$rows" 'BEGIN {
    printf "%-18s %7.2f s wall  %7.2f s CPU  %7.0f MiB peak  %6.1f MiB a million rows\n", name, wall, cpu + sys, peak / 1024, peak / 1024 / (rows / 1e6) }'
}

rm -rf "$out/day"
measured generate "$runner" generate --users "$users" --hours "$hours" --rate "$(awk "BEGIN { printf \"%.9f\", $rows / $hours / 3600 }")" \
  --features bench/window-perf/features.csv --out "$out/day" --files "$hours"
du -sh "$out/day"
for run in 1 2 3; do
  rm -rf "$out"/users.json* "$out"/countries.json* "$out/state"
  (mkdir -p "$out/state")
  measured "runner-$run" env -C "$out/state" "$runner" apply --fresh "$PWD/pipelines/window-perf.yaml"
  for threads in 1 2; do
    rm -f "$out"/duckdb-*.json
    measured "duckdb-$threads-$run" "$python" bench/window-perf/duckdb_same.py "$out" "$threads"
  done
done
"$python" bench/window-perf/compare.py "$out"
wc -l <"$out/users.json" | awk '{ print $1 " windows of users" }'
