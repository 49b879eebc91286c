"""A Spark job that does the same: Structured Streaming, AvailableNow, ``from_avro``, Parquet.

It runs in the Python of a virtual environment that has pyspark.
"""

import json
import sys
import time
from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql.avro.functions import from_avro
from pyspark.sql.functions import col

SETTINGS = {
    "spark.driver.memory": "4g",
    "spark.sql.session.timeZone": "UTC",
    "spark.ui.enabled": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.sql.parquet.compression.codec": "zstd",
}


def main(bootstrap: str, topic: str, schema: str, out: str, jars: str) -> None:
    builder = SparkSession.builder.master("local[*]")
    for name, value in (SETTINGS | {"spark.jars": ",".join(map(str, Path(jars).glob("*.jar")))}).items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    begin = time.monotonic()
    reader = spark.readStream.format("kafka").option("kafka.bootstrap.servers", bootstrap)
    messages = reader.option("subscribe", topic).option("startingOffsets", "earliest").load()
    # fromAvro's own names begin with alert; topic, partition and offset are Kafka's
    alert = from_avro(col("value"), Path(schema).read_text()).alias("alert")
    rows = messages.select(alert, "topic", "partition", "offset", "timestamp").select(
        "alert.*", col("partition").alias("kafka_partition"), col("offset").alias("kafka_offset")
    )
    writer = rows.writeStream.format("parquet").option("path", f"{out}/rows")
    query = writer.option("checkpointLocation", f"{out}/checkpoint").trigger(availableNow=True).start()
    query.awaitTermination()
    print(json.dumps({"drain_seconds": time.monotonic() - begin}))
    spark.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
