"""``python -m benchmarks.read_folder``: a folder of alerts to pandas, beside fink-client.

One simulated alert a file, as a consumer saves them; each program in a fresh process, in turn, some times.
fink-client runs in an environment of its own, which `benchmarks.peers` makes. Imports count.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path

from benchmarks import results
from benchmarks.peers import FINK_CLIENT, environment
from finkbridge.avro.container import block_prefix, encode_header
from finkbridge.simulator.stream import alerts

OURS = "from finkbridge import AlertReader"
THEIRS = "from fink_client.avro_utils import AlertReader"
PROGRAMS = {
    "fink-client": (THEIRS, "to_pandas()"),
    "finkbridge": (OURS, "to_pandas()"),
    "finkbridge, Python's objects": (OURS, "to_pandas(objects=True)"),
    "finkbridge, polars": (OURS, "to_polars()"),
}
SCRIPT = """
import json, os, resource, sys, time
began = time.perf_counter()
{load}
frame = AlertReader(sys.argv[1]).{call}
seconds = time.perf_counter() - began
peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({{"rows": len(frame), "seconds": seconds, "peak_mb": peak_kb / 1000,
    "cpu_s": time.process_time(),
    "load": os.getloadavg()[0]}}))
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ztf", type=int, default=10_000, help="alerts of ZTF")
    parser.add_argument("--lsst", type=int, default=1_000, help="alerts of LSST")
    parser.add_argument("--times", type=int, default=3)
    asked = parser.parse_args()
    found = {}
    for survey, count in (("ztf", asked.ztf), ("lsst", asked.lsst)):
        with tempfile.TemporaryDirectory(prefix="finkbridge-bench-") as work:
            _fill(Path(work), survey, count)
            found[survey] = _compare(Path(work), count, asked.times)
            _tell(survey, count, found[survey])
    print(f"written: {results.save('read_folder', {'runs': found})}")
    return 0


def _fill(folder: Path, survey: str, count: int) -> None:
    for number, alert in enumerate(islice(alerts(survey, n=count), count)):
        sync = os.urandom(16)  # as each file has its own
        head = encode_header({"avro.codec": b"null", "avro.schema": alert.key}, sync)
        path = folder / f"{alert.object_id}_{alert.source_id}_{number}.avro"
        path.write_bytes(head + block_prefix(len(alert.value)) + alert.value + sync)


def _compare(folder: Path, count: int, times: int) -> dict[str, list[dict[str, float]]]:
    found: dict[str, list[dict[str, float]]] = {name: [] for name in PROGRAMS}
    theirs = environment("fink-client", f"fink-client=={FINK_CLIENT}") / "bin" / "python"
    for _ in range(times):
        for name, (load, call) in PROGRAMS.items():
            python = theirs if load == THEIRS else Path(sys.executable)
            script = SCRIPT.format(load=load, call=call)
            done = subprocess.run([python, "-c", script, folder], capture_output=True, text=True, check=True)
            run = json.loads(done.stdout.splitlines()[-1])
            if run["rows"] != count:
                raise SystemExit(f"{name} read {run['rows']} of {count} alerts")
            found[name].append(run)
    return found


def _tell(survey: str, count: int, found: dict[str, list[dict[str, float]]]) -> None:
    medians = {name: statistics.median(run["seconds"] for run in runs) for name, runs in found.items()}
    for name, seconds in medians.items():
        ratio = medians["fink-client"] / seconds
        cpu_s = statistics.median(run["cpu_s"] for run in found[name])
        peak = max(run["peak_mb"] for run in found[name])
        loads = "/".join(f"{run['load']:.1f}" for run in found[name])
        rate = f"{seconds:7.2f} s {cpu_s:7.2f} CPU s {count / seconds:8,.0f}/s {ratio:5.1f} x"
        print(f"{survey} {count:6,} {name:30} {rate} {peak:6,.0f} MB  load {loads}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
