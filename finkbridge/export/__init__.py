"""Messages into a plain folder: Parquet or Avro files, in place of a lake's archive and tables."""
