"""Attacks on broker, disk and machine, by the real command line on a real Kafka.

Each ends by comparing what Kafka had with archive, quarantine and tables, byte for byte, and by `verify`.

    test_server     killed, restarted, frozen, cut, slowed, cut off; a user withdrawn
    test_topics     deleted, recreated, grown, expired, transactions, compaction, a huge message
    test_disk       full at each step, read-only, the lake gone
    test_machine    few open files, a wrong clock, a locked or truncated ledger, readers during the swap
    test_takeover   two coordinators, one that is frozen and woken when another has the lake

The same at finer steps, inside one process: `tests/test_frozen_broker.py` (frozen at each question),
`tests/test_planning.py` (expiry and recreation with pending plans), `tests/broker/test_fetch.py` (holes),
`tests/test_drain_crash.py` (killed at each step), `tests/ledger` (both databases).
"""
