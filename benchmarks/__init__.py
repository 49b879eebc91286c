"""How fast finkbridge is, on a real Kafka, beside its peers: ``make bench``."""
