"""Avro: writer schemas, the strict check, container files, decoding."""
