"""`import recovery` is quick: what only some programs need is loaded when they first use it."""

import json
import subprocess
import sys

# With them the import takes 1.6 times as long as `import jax, equinox`, without them 1.2 times.
HEAVY = {
    *("jax.experimental.multihost_utils", "lineax", "matplotlib", "multiprocessing"),
    *("scipy.linalg", "scipy.sparse", "tomllib"),
    *("recovery.calibration", "recovery.checkpoint", "recovery.diagnosis", "recovery.distributed"),
    *("recovery.plotting", "recovery.prediction", "recovery.problems", "recovery.sweeps"),
    *("recovery.solvers.alternating_minimization", "recovery.solvers.schur_pencil"),
}
LOOK = """
import json, sys
import recovery
loaded = sorted(sys.modules)
promised = {p.__name__: (p.__all__, dir(p)) for p in (recovery, recovery.solvers)}
kinds = {
    f"{package}.{name}": type(getattr(sys.modules[package], name)).__name__
    for package, (names, _) in promised.items()
    for name in names
}
print(json.dumps([loaded, promised, kinds]))
"""


def test_what_is_heavy_waits_and_every_name_is_there():
    command = [sys.executable, "-c", LOOK]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    loaded, promised, kinds = json.loads(shown)
    assert not HEAVY & set(loaded)
    for names, listed in promised.values():
        assert set(names) <= set(listed)
    assert kinds["recovery.solve"] == "function"
    assert kinds["recovery.sweeps"] == kinds["recovery.distributed"] == "module"
    assert kinds["recovery.solvers.TwoPhase"].endswith("Meta")
