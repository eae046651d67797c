"""The queries of queries.sql in Spark: spark-submit spark_queries.py SET

SET is the folder written by `poolscope export DUMP... --out SET`.
"""

import sys

from pyspark.sql import SparkSession
from pyspark.sql import functions as F


def table(spark, folder, name):
    """Reads a table; the files also contain the partition columns of the folder names."""
    reader = spark.read.option("recursiveFileLookup", "true")
    return reader.parquet(f"{folder}/{name}")


def main(folder):
    utc = ("spark.sql.session.timeZone", "UTC")
    spark = SparkSession.builder.appName("poolscope").config(*utc).getOrCreate()
    findings = table(spark, folder, "findings")
    tags = table(spark, folder, "tags").where("scope = 'system'")
    dumps = table(spark, folder, "dumps")

    print("Driver versions that leak")
    leaks = findings.where("verdict = 'leak'")
    version = F.coalesce("owner_file_version", "owner_identity").alias("driver_version")
    by_version = leaks.groupBy("owner", version, "tag", "pool").agg(
        F.countDistinct("machine").alias("hosts"),
        F.countDistinct("boot").alias("boots"),
        F.count("*").alias("dumps"),
        F.sum("bytes").alias("bytes"),
    )
    by_version.orderBy(F.desc("hosts"), F.desc("bytes")).show(20, False)

    print("First bad build")
    build = F.coalesce("owner_file_version", "owner_identity")
    findings.where("owner is not null").groupBy("owner", "tag").agg(
        F.min_by(build, "owner_timestamp").alias("first_bad_build"),
        F.timestamp_seconds(F.min("owner_timestamp")).alias("linked"),
    ).orderBy("owner", "tag").show(20, False)

    print("Growth per boot")
    joined = tags.join(dumps.select("dump", "written"), "dump")
    joined.groupBy("machine", "boot", "tag", "pool").agg(
        (F.max_by("bytes", "written") - F.min_by("bytes", "written")).alias("growth"),
        F.count("*").alias("dumps"),
    ).where("dumps > 1").orderBy(F.desc("growth"), "machine", "tag", "pool").show(20, False)

    print("Top tags")
    tags.groupBy("tag", "pool").agg(
        F.sum("bytes").alias("bytes"),
        F.countDistinct("machine").alias("hosts"),
    ).orderBy(F.desc("bytes")).show(20, False)

    total = tags.agg(F.sum("bytes")).first()[0]
    print(f"total bytes: {total}")


if __name__ == "__main__":
    main(sys.argv[1])
