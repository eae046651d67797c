-- DuckDB queries on a dataset from `poolscope export DUMP… --out set`. Run them in the directory
-- that contains `set`: duckdb < queries.sql

-- Leaking driver versions, with the number of machines. Machines with equal memory and processors
-- have the same name unless they were exported with --host; boots distinguish them.
SELECT f.owner AS driver, coalesce(f.owner_file_version, f.owner_identity) AS driver_version, f.tag, f.pool,
       count(DISTINCT f.machine) AS hosts, count(DISTINCT f.boot) AS boots, count(*) AS dumps, sum(f.bytes) AS bytes
FROM read_parquet('set/findings/**/*.parquet', hive_partitioning = false) f
WHERE f.verdict = 'leak'
GROUP BY ALL
ORDER BY hosts DESC, bytes DESC;

-- The first bad build of a driver, by the time stamp of its image.
SELECT owner AS driver, tag,
       arg_min(coalesce(owner_file_version, owner_identity), owner_timestamp) AS first_bad_build,
       make_timestamp(min(owner_timestamp) * 1000000) AS linked
FROM read_parquet('set/findings/**/*.parquet', hive_partitioning = false)
WHERE owner IS NOT NULL
GROUP BY ALL
ORDER BY driver, tag;

-- Growth per boot: bytes of a tag from the first to the last dump of each boot.
SELECT t.machine, t.boot, t.tag, t.pool,
       arg_max(t.bytes, d.written) - arg_min(t.bytes, d.written) AS growth,
       count(*) AS dumps
FROM read_parquet('set/tags/**/*.parquet', hive_partitioning = false) t
JOIN read_parquet('set/dumps/**/*.parquet', hive_partitioning = false) d USING (dump)
WHERE t.scope = 'system'
GROUP BY ALL
HAVING count(*) > 1
ORDER BY growth DESC, t.machine, t.tag, t.pool
LIMIT 20;

-- The largest tags of the fleet.
SELECT tag, pool, sum(bytes) AS bytes, sum(outstanding) AS outstanding,
       count(DISTINCT machine) AS hosts
FROM read_parquet('set/tags/**/*.parquet', hive_partitioning = false)
WHERE scope = 'system'
GROUP BY ALL
ORDER BY bytes DESC
LIMIT 20;

-- Ages of the suspects' blocks: those allocated in the last quarter of the uptime, and all.
SELECT tag, shape, count(DISTINCT dump) AS dumps,
       sum(blocks) FILTER (WHERE slice >= 18)::BIGINT AS last_quarter, sum(blocks)::BIGINT AS blocks
FROM read_parquet('set/ages/**/*.parquet', hive_partitioning = false)
GROUP BY ALL
ORDER BY blocks DESC;
