"""Whether both gave the same windows: python compare.py FOLDER"""
import sys

import duckdb

folder = sys.argv[1]
for name, key, value in [("users", "uid", "spent"), ("countries", "country", "mean")]:
    columns = f"columns = {{window_start: 'TIMESTAMP', {key}: 'VARCHAR', visits: 'BIGINT', {value}: 'DOUBLE'}}"
    (groups, different) = duckdb.execute(f"""
        select count(*), count(*) filter (where a.visits is distinct from b.visits
            or coalesce(abs(a.{value} - b.{value}) > 1e-6 * abs(b.{value}), true))
        from read_json('{folder}/{name}.json', {columns}) a
        full join read_json('{folder}/duckdb-{name}.json', {columns}) b using (window_start, {key})
    """).fetchone()
    print(f"{name}: {groups} windows, {different} different")
    if different or not groups:
        sys.exit(1)
