"""The Kafka side: the only package that imports confluent_kafka."""
