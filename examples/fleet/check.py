"""Compares a dataset of many machines with `poolused`, in DuckDB and in Polars.

    check.py POOLSCOPE FOLDER

FOLDER contains dumps. Exports them, runs queries.sql and equivalent queries in Polars, and
compares the sums of both engines with those of `poolscope poolused`.
"""

import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys

import duckdb
import polars as pl

HERE = pathlib.Path(__file__).parent


def run(*command):
    out = subprocess.run(command, check=True, capture_output=True, text=True)
    return out.stdout


def poolused(program, dumps):
    """Outstanding bytes and allocations of all dumps, by pool."""
    sums = {"nonpaged": [0, 0], "paged": [0, 0]}

    def ask(dump):
        return json.loads(run(program, "poolused", dump, "--format", "json", "--no-cache"))

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as workers:
        answers = list(workers.map(ask, dumps))
    for answer in answers:
        for pool, sum_ in sums.items():
            sum_[0] += answer["total"][pool]["bytes"]
            sum_[1] += answer["total"][pool]["outstanding"]
    return {pool: tuple(sum_) for pool, sum_ in sums.items()}


def in_duckdb(folder):
    connection = duckdb.connect()
    files = f"{folder}/set/tags/**/*.parquet"
    rows = connection.execute(
        "SELECT pool, sum(bytes)::BIGINT, sum(outstanding)::BIGINT FROM read_parquet(?,"
        " hive_partitioning = false) WHERE scope = 'system' GROUP BY pool",
        [files],
    ).fetchall()
    # Check that the example queries run.
    text = (HERE / "queries.sql").read_text().replace("'set/", f"'{folder}/set/")
    for statement in duckdb.extract_statements(text):
        connection.execute(statement).fetchall()
    # Partition columns can be read from the folder names too.
    hive = connection.execute(
        "SELECT count(*) FROM read_parquet(?, hive_partitioning = true)"
        " WHERE machine IS NULL OR boot IS NULL",
        [files],
    ).fetchone()
    assert hive == (0,), hive
    return {pool: (bytes_, count) for pool, bytes_, count in rows}


def in_polars(folder):
    def table(name):
        return pl.scan_parquet(f"{folder}/set/{name}/**/*.parquet", hive_partitioning=False)

    tags = table("tags").filter(pl.col("scope") == "system")
    sums = tags.group_by("pool").agg(pl.col("bytes").sum(), pl.col("outstanding").sum())
    top = tags.group_by("tag", "pool").agg(
        pl.col("bytes").sum(), pl.col("machine").n_unique().alias("hosts")
    )
    assert top.sort("bytes", descending=True).head(20).collect().height > 0
    findings = table("findings").filter(pl.col("verdict") == "leak")
    version = pl.coalesce("owner_file_version", "owner_identity").alias("driver_version")
    findings.group_by("owner", version, "tag", "pool").agg(
        pl.col("machine").n_unique().alias("hosts"), pl.col("bytes").sum()
    ).collect()
    table("findings").group_by("owner", "tag").agg(pl.col("owner_timestamp").min()).collect()
    written = table("dumps").select("dump", "written")
    grown = tags.join(written, on="dump").sort("written")
    grown.group_by("machine", "boot", "tag", "pool").agg(
        (pl.col("bytes").last() - pl.col("bytes").first()).alias("growth"), pl.len()
    ).collect()
    return {pool: (bytes_, count) for pool, bytes_, count in sums.collect().iter_rows()}


def main(program, folder):
    dumps = sorted(str(path) for path in pathlib.Path(folder).glob("*.dmp"))
    assert len(dumps) >= 100, f"{len(dumps)} dumps"
    run(program, "export", *dumps, "--out", f"{folder}/set", "--quiet", "--no-cache")
    expected = poolused(program, dumps)
    for name, sums in (("DuckDB", in_duckdb(folder)), ("Polars", in_polars(folder))):
        assert sums == expected, f"{name}: {sums}, poolused: {expected}"
        print(f"{name}: the sums of {len(dumps)} dumps are those of poolused: {sums}")


if __name__ == "__main__":
    main(*sys.argv[1:])
