"""Runs a study of tests in a process of its own, which tests kill.

python sweep_driver.py FUNCTION GRID SETTINGS STORE OPTIONS: three of them JSON objects.
"""

import json
import sys
from pathlib import Path

from recovery import sweeps

TRIALS = Path(__file__).with_name("sweep_trials.py")


def study(function, grid, settings, **options):
    return sweeps.Study(f"{TRIALS}:{function}", grid, settings, how="loop", **options)


def main():
    function, grid, settings, store, options = sys.argv[1:]
    described = study(function, json.loads(grid), json.loads(settings), batch_size=2)
    options = json.loads(options)
    local = options.pop("local_cluster", None)
    if local is None:
        sweeps.run(described, store, **options)
        return
    from distributed import Client, LocalCluster

    with LocalCluster(**local) as cluster, Client(cluster) as client:
        sweeps.run(described, store, executor=client.get_executor(pure=False), **options)


if __name__ == "__main__":
    main()
