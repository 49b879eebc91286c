"""``finkbridge broker``: says where it is, serves, and ends in order."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
from confluent_kafka import Producer


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_serves_until_it_is_told_to_end(stop: signal.Signals):
    code = "import sys; from finkbridge.cli.main import main; sys.exit(main(['broker', '--json']))"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout
        bootstrap = json.loads("".join(process.stdout.readline() for _ in range(3)))["bootstrap"]
        producer = Producer({"bootstrap.servers": bootstrap})
        producer.produce("topic", b"value")
        assert producer.flush(10) == 0
        del producer
        process.send_signal(stop)
        assert process.wait(10) == 0
        assert process.stderr
        assert process.stderr.read() == ""
