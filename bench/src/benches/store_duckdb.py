"""What DuckDB needs for the same searches: over a table of its own and over Alcedo's files.

store_duckdb.py NDJSON DATABASE FILES < queries; a query a line: name, from, until, SQL with {t}.
Out, between tabs: engine, name, CPU ms, wall ms, rows. Mean of warm runs.
"""

import resource
import sys
import time

import duckdb

CPU_S_MIN = 0.6
RUNS_MAX = 50


def cpu_s():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def say(*parts):
    print("\t".join(str(part) for part in parts), flush=True)


def main():
    ndjson, database, files = sys.argv[1:4]
    db = duckdb.connect(database)
    cpu, begun = cpu_s(), time.time()
    db.execute(
        f"create table t as select * from read_json('{ndjson}', format='newline_delimited',"
        " sample_size=200000, union_by_name=true)"
    )
    db.execute("checkpoint")
    rows = db.execute("select count(*) from t").fetchall()[0][0]
    say("table", "import", (cpu_s() - cpu) * 1e3, (time.time() - begun) * 1e3, rows)
    engines = {"table": "t", "files": f"read_parquet('{files}/**/*.parquet', union_by_name=true)"}
    for line in sys.stdin:
        name, _, _, sql = line.rstrip("\n").split("\t")
        for engine, table in engines.items():
            text = sql.replace("{t}", table)
            rows = len(db.execute(text).fetchall())
            cpu, begun, runs = cpu_s(), time.time(), 0
            while runs < RUNS_MAX and (runs < 2 or cpu_s() - cpu < CPU_S_MIN):
                db.execute(text).fetchall()
                runs += 1
            say(engine, name, (cpu_s() - cpu) * 1e3 / runs, (time.time() - begun) * 1e3 / runs, rows)


main()
