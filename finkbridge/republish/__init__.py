"""Puts archived messages back on a topic, byte for byte: streams are replayed for ever, not four days.

1 index    which messages, in which order: headers of archive and quarantine files, proven whole
2 resume   what an earlier process of the same job has done, from Kafka itself
3 send     in transactions, at the pace that is asked for
4 prove    read back what the target holds, and compare counts and hashes with the archive
"""
