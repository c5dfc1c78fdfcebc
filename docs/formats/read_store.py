#!/usr/bin/env python3
"""Reads the store's files without Alcedo: prints each event as a JSON object.

    python3 read_store.py STORE/events [pyarrow|duckdb|chdb|pyspark]

Fields are lists of values as text, null for null; `event.original` is in hexadecimal.
"""

import datetime
import glob
import json
import re
import sys

ENVELOPE = {
    "alcedo.partition", "alcedo.offset", "alcedo.sub", "@timestamp", "event.ingested",
    "alcedo.stream_time", "event.count", "alcedo.marks", "alcedo.source", "alcedo.identity",
    "alcedo.timestamp_ns", "alcedo.ingested_ns", "alcedo.stream_time_ns",
    "log.source.address", "alcedo.protocol", "alcedo.connection", "alcedo.path", "alcedo.pack",
    "event.original", "alcedo.template", "alcedo.residual",
}
# The envelope's times, and where files of version 3 have the nanoseconds beyond a microsecond.
RESTS = {
    "@timestamp": "alcedo.timestamp_ns",
    "event.ingested": "alcedo.ingested_ns",
    "alcedo.stream_time": "alcedo.stream_time_ns",
}
REFERENCE = re.compile("\x01([^\x02]*)\x02")


def utc(ns):
    return datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=ns // 10**9)


def rfc3339(ns, digits):
    fraction = f".{ns % 10**9:09}"[: digits + 1] if digits else ""
    return f"{utc(ns):%Y-%m-%dT%H:%M:%S}{fraction}Z"


def text_of(value, is_time):
    """A column's value as the text that was given."""
    if is_time:
        return rfc3339(value, next(d for d in (0, 3, 6, 9) if value % 10 ** (9 - d) == 0))
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def whole_times(row):
    """The envelope's times to the nanosecond."""
    for time, rest in RESTS.items():
        row[time] += row.get(rest, 0)


def fields_of(row, times):
    """All values of each field: those of its column, or those in the residual."""
    columns = ((n, v) for n, v in row.items() if n not in ENVELOPE and v is not None)
    fields = {name: [text_of(value, name in times)] for name, value in columns}
    for name, kind, text in json.loads(row["alcedo.residual"] or "[]"):
        if kind.isupper():
            text = bytes.fromhex(text).decode("utf-8", "replace")
        fields.setdefault(name, []).append(None if kind in "nN" else text)
    return fields


def original(row, fields):
    """The record's bytes: as they stand there, or made from the row's template."""
    if row["event.original"] is not None:
        return bytes(row["event.original"])

    def text(reference):
        mode, name = reference[1][0], reference[1][1:]
        if mode == "p":
            return fields[name][0]
        if mode == "j":
            return fields[name][0].replace("\\", "\\\\").replace('"', '\\"')
        at = row["@timestamp"]
        return f"{utc(at):%b %e %H:%M:%S}" if mode == "b" else rfc3339(at, int(mode))

    return REFERENCE.sub(text, row["alcedo.template"]).encode()


def by_pyarrow(folder):
    import pyarrow
    import pyarrow.parquet

    for path in sorted(glob.glob(f"{folder}/**/*.parquet", recursive=True)):
        # The folders' names are no columns of the events.
        table = pyarrow.parquet.read_table(path, partitioning=None)
        times = {f.name for f in table.schema if str(f.type).startswith("timestamp")}
        for name in times:
            place = table.schema.get_field_index(name)
            ns = table[name].cast(pyarrow.timestamp("ns", "UTC")).cast("int64")
            table = table.set_column(place, name, ns)
        for row in table.to_pylist():
            yield row, times


def by_duckdb(folder):
    import duckdb

    db = duckdb.connect()
    for path in sorted(glob.glob(f"{folder}/**/*.parquet", recursive=True)):
        table = f"read_parquet('{path}', hive_partitioning = false)"
        columns = db.execute(f"describe select * from {table}").fetchall()
        names = [name for name, *_ in columns]
        times = {name for name, kind, *_ in columns if kind.startswith("TIMESTAMP")}
        # Python's times have microseconds; numbers keep all digits.
        numbers = ", ".join(f'epoch_ns("{name}") as "{name}"' for name in times)
        db.execute(f"select * replace ({numbers}) from {table}")
        while some := db.fetchmany(1000):
            for row in some:
                yield dict(zip(names, row)), times


def by_chdb(folder):
    """ClickHouse, embedded; its answers are read with pyarrow."""
    import chdb
    import pyarrow

    def ask(query, form):
        return chdb.query(query, form).bytes()

    for path in sorted(glob.glob(f"{folder}/**/*.parquet", recursive=True)):
        table = f"file('{path}', Parquet)"
        described = json.loads(ask(f"describe {table}", "JSON"))["data"]
        times = {c["name"] for c in described if "DateTime64" in c["type"]}
        flags = {c["name"] for c in described if "Bool" in c["type"]}
        numbers = ", ".join(f"toUnixTimestamp64Nano(`{name}`) as `{name}`" for name in sorted(times))
        settings = "settings output_format_arrow_string_as_string = 0, use_hive_partitioning = 0"
        answer = ask(f"select * replace ({numbers}) from {table} {settings}", "ArrowStream")
        for row in pyarrow.ipc.open_stream(answer).read_all().to_pylist():
            for name, value in row.items():
                if isinstance(value, bytes) and name != "event.original":
                    row[name] = value.decode()
                elif name in flags and value is not None:
                    row[name] = bool(value)
            yield row, times


def by_pyspark(folder):
    import pyspark.sql

    spark = pyspark.sql.SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
    spark = spark.config("spark.sql.session.timeZone", "UTC").getOrCreate()
    for path in sorted(glob.glob(f"{folder}/**/*.parquet", recursive=True)):
        table = spark.read.parquet(path)
        times = {name for name, kind in table.dtypes if kind.startswith("timestamp")}
        # Python's times would be the machine's own.
        shown = (f"unix_micros(`{n}`) * 1000 as `{n}`" if n in times else f"`{n}`" for n in table.columns)
        for row in table.selectExpr(*shown).toLocalIterator():
            yield row.asDict(), times


def main():
    folder, engine = sys.argv[1], (sys.argv[2:] or ["pyarrow"])[0]
    engines = {"pyarrow": by_pyarrow, "duckdb": by_duckdb, "chdb": by_chdb, "pyspark": by_pyspark}
    for row, times in engines[engine](folder):
        whole_times(row)
        fields = fields_of(row, times)
        event = {
            "event.id": "-".join(str(row[f"alcedo.{n}"]) for n in ["partition", "offset", "sub"]),
            "@timestamp": row["@timestamp"],
            "event.count": row["event.count"],
            "alcedo.source": row["alcedo.source"],
            "event.original": original(row, fields).hex(),
            "fields": fields,
        }
        print(json.dumps(event))


if __name__ == "__main__":
    main()
