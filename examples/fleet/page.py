"""Writes docs/many-dumps.md from what the programs print.

    page.py POOLSCOPE FOLDER

FOLDER holds the forty dumps that `cargo run --example machines -- FOLDER 40` wrote. Needs
the packages duckdb, pyspark (with Java) and mcp.
"""

import pathlib
import subprocess
import sys
import tempfile

import duckdb

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
RULES = """[[rule]]
name = "the filter's tag does not grow"
tag = "AcmF"
pool = "nonpaged"
max_growth_per_hour = "64 KB"

[[rule]]
driver = "acmefilt.sys"
max_bytes = "4 MB"

[[allow]]
driver = "acmefilt.sys"
reason = "known in build 1.4, fixed in 1.5"
expires = 2026-01-31
"""


def run(*command, cwd=None, statuses=(0,)):
    out = subprocess.run(command, capture_output=True, text=True, cwd=cwd)
    assert out.returncode in statuses, f"{command}: {out.stderr}"
    return out.stdout


def indented(text):
    lines = [line.rstrip() for line in text.strip("\n").splitlines()]
    return "\n".join(f"    {line}" if line else "" for line in lines)


def table(columns, rows):
    """As the shells of data bases show it."""
    cells = [["" if c is None else str(c) for c in row] for row in rows]
    number = [all(isinstance(r[i], (int, type(None))) for r in rows) for i in range(len(columns))]
    width = [max(len(r[i]) for r in [columns, *cells]) for i in range(len(columns))]

    def line(row):
        return "  ".join(c.rjust(w) if n else c.ljust(w) for c, w, n in zip(row, width, number))

    return "\n".join(line(row) for row in [columns, *cells])


def queries(folder):
    connection = duckdb.connect()
    text = (HERE / "queries.sql").read_text().replace("'set/", f"'{folder}/set/")
    for part in text.split(";"):
        # The last paragraph: its comment, and the question.
        lines = part.strip().split("\n\n")[-1].splitlines()
        title = " ".join(l.removeprefix("-- ") for l in lines if l.startswith("--"))
        if not any(l.strip() and not l.startswith("--") for l in lines):
            continue
        found = connection.execute(part)
        columns = [c[0] for c in found.description]
        rows = found.fetchall()
        # What identifies is long: its start will do.
        shown = [[str(c)[:18] if isinstance(c, str) else c for c in row] for row in rows[:8]]
        more = "" if len(rows) <= 8 else f"\n({len(rows)} rows)"
        yield title, table(columns, shown) + more


def main(program, folder):
    program = str(pathlib.Path(program).resolve())
    folder = pathlib.Path(folder).resolve()
    dumps = sorted(path.name for path in folder.glob("*.dmp"))
    assert len(dumps) == 40, f"{len(dumps)} dumps"
    quiet = ("--quiet", "--no-cache")
    run(program, "export", *dumps, "--out", "set", *quiet, cwd=folder)
    parts = [f"""# Many dumps: a dataset, a gate, an agent

This page shows what the programs print; `examples/fleet/page.py` writes it. The dumps are a synthetic fleet
(`examples/machines.rs`): twenty machines with five versions of Windows, each dumped twice in one boot. A filter driver of
the vendor Acme runs on all of them. Two of its three builds leak.

## Forty dumps to a verdict

    poolscope export *.dmp --out set
    duckdb < examples/fleet/queries.sql

The tables and their columns are in [schema.md](schema.md). `examples/fleet/check.py` asks the same in Polars and compares
the sums with those of `poolscope poolused`.
"""]
    for title, text in queries(folder):
        parts.append(f"{title}\n\n{indented(text)}\n")
    fleet = run(program, "fleet", "set", *quiet, cwd=folder)
    parts.append(f"""The same in short, without a database:

    $ poolscope fleet set

{indented(fleet)}
""")

    spark = run(sys.executable, str(HERE / "spark_queries.py"), str(folder / "set"))
    parts.append(f"""## A Spark job over the same dataset

    $ spark-submit examples/fleet/spark_queries.py set

{indented(spark)}
""")

    with tempfile.TemporaryDirectory() as desk:
        rules = pathlib.Path(desk) / "rules.toml"
        rules.write_text(RULES)
        before, after = "machine-005-0.dmp", "machine-005-1.dmp"
        gate = subprocess.run(
            [program, "check", after, "--baseline", before, "--rules", str(rules), *quiet],
            capture_output=True, text=True, cwd=folder)
        assert gate.returncode == 3, gate
        parts.append(f"""## A gate for CI

rules.toml:

{indented(RULES)}

    $ poolscope check {after} --baseline {before} --rules rules.toml; echo "status $?"

{indented(gate.stdout)}
    status {gate.returncode}

[ci.md](ci.md) has the keys of the rules, JUnit, and examples for CI systems.
""")
        sample = pathlib.Path(desk) / "MEMORY.DMP"
        run(program, "demo", "--out", str(sample))
        session = run(sys.executable, str(ROOT / "tests/oracle/mcp_client.py"), program,
                      str(sample), "--transcript")
        parts.append(f"""## An agent's session

`poolscope mcp MEMORY.DMP` with the client of the Python package `mcp` (`tests/oracle/mcp_client.py`); each call, and a part
of its answer. [agents.md](agents.md) describes the tools.

{indented(session)}
""")
    page = "\n".join(parts)
    for name in (desk, str(folder)):
        page = page.replace(f"{name}/", "")
    (ROOT / "docs/many-dumps.md").write_text(page)


if __name__ == "__main__":
    main(*sys.argv[1:])
