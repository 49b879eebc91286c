"""fink-client's own consumer, polling and writing: runs in an environment of its own."""

import json
import sys
import time

from fink_client.consumer import AlertConsumer

server, topic, survey, wanted, folder = sys.argv[1:]
config = {"bootstrap.servers": server, "group.id": f"theirs-{time.time_ns()}"}
consumer = AlertConsumer([topic], config, survey)
left, began = int(wanted), None
while left:
    found, _, _ = consumer.poll_and_write(folder, timeout=10, overwrite=True)
    began = began or time.monotonic()  # joining the group is not timed
    left -= found is not None
print(json.dumps({"seconds": time.monotonic() - began}))
consumer.close()
