"""finkbridge: the batch/stream bridge from Fink's Kafka topics to a lake of Parquet and Avro."""

__version__ = "0.1.0"
