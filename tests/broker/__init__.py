"""The Kafka side."""
