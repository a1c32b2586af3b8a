"""Probe of the driver's memory in the demonstration.

    python -m benchmarks.speed.memory_probe FOLDER MINUTES

The last line of output is JSON: ``peak`` and resident memory at the end of each stage, in MB.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.speed.measure import peak_resident_megabytes, resident_megabytes
from rllib_agentmixer.runs.local_ray import keep_ray_private


def main(out: Path, minutes: float) -> None:
    """Run the demonstration in this process and print its memory."""
    from rllib_agentmixer.runs import demo

    stages = {}
    importing = [demo.__name__, "rllib_agentmixer.adapters.classic.algorithms", "mlflow"]
    for module in importing:
        __import__(module)
    stages["imports"] = resident_megabytes()
    demo.start_ray(demo.NUM_WORKERS)
    stages["ray.init()"] = resident_megabytes()
    demo.run_demo(out, minutes, seed=0)
    stages["the demonstration"] = resident_megabytes()
    print(json.dumps({"peak": peak_resident_megabytes(), "stages": stages}))


if __name__ == "__main__":
    keep_ray_private()
    main(Path(sys.argv[1]), float(sys.argv[2]))
