"""The work of pipelines/window-perf.yaml by DuckDB, on the same files: python duckdb_same.py FOLDER THREADS"""
import sys

import duckdb

folder, threads = sys.argv[1], sys.argv[2]
db = duckdb.connect(config={"threads": threads})
db.execute(f"""
create temp table visits as select * from read_json('{folder}/day/*.json', format = 'newline_delimited',
    columns = {{ts: 'BIGINT', uid: 'VARCHAR', country: 'VARCHAR', price: 'DOUBLE'}})
""")
# No order is asked for, though the pipeline's output has one.
db.execute(f"""
copy (select epoch_ms(ts // 3600000 * 3600000) as window_start, uid, count(*) as visits, sum(price) as spent, max(price) as most
      from visits group by all) to '{folder}/duckdb-users.json' (format json)
""")
db.execute(f"""
copy (select epoch_ms(ts // 60000 * 60000) as window_start, country, count(*) as visits, avg(price) as mean
      from visits group by all) to '{folder}/duckdb-countries.json' (format json)
""")
