"""The rules of the house that a reader relies on."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# A module may import those of an earlier layer, or of its own.
LAYERS = [
    {"_arrays", "_batched", "_cgls", "_cores", "_hadamard", "_lanes", "_lazy", "_tall_qr"}
    | {"factors", "files", "gain_box", "losses", "plotting", "program_cache", "progress"}
    | {"results", "theory", "tree_files"},
    {"operators"},
    {"problem"},
    {"constraint_rows", "gain_model", "linear_system", "schur"},
    {"gain_uncertainty"},
    {"calibration", "diagnosis", "metrics", "problems", "row_solvers", "schedules", "starts"},
    {"solvers", "prediction"},
    {"recorded"},
    {"solve"},
    {"checkpoint", "distributed", "sweeps"},
]
FILES = sorted(
    path
    for suffix in ("py", "pyi")
    for path in (ROOT / "recovery").rglob(f"*.{suffix}")
    if path.parent.name + path.stem != "recovery__init__"
)


def layer_of(name: str) -> int:
    return next(i for i, layer in enumerate(LAYERS) if name in layer)


def imported(path: Path) -> set[str]:
    """First names below `recovery` that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("recovery"):
            parts = node.module.split(".")[1:]
            names |= {parts[0]} if parts else {alias.name for alias in node.names}
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_one_way(path):
    own = path.relative_to(ROOT / "recovery").parts[0].removesuffix(".py")
    assert all(layer_of(name) <= layer_of(own) for name in imported(path))


def test_plotting_knows_nothing_of_the_library():
    assert imported(ROOT / "recovery" / "plotting.py") == set()


def files_that_call(function: str) -> set[str]:
    return {
        path.name
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(function)
    }


def test_library_never_touches_the_configuration_of_jax():
    assert files_that_call("config.update") == {"program_cache.py"}
    # Only a command line, and a worker on behalf of a script.
    assert files_that_call("program_cache.enable") == {"command_line.py", "work.py"}


def test_the_only_loop_over_steps_is_in_solve():
    for path in (ROOT / "recovery" / "solvers").glob("*.py"):
        text = path.read_text()
        assert "while_loop" not in text, path
        assert "fori_loop" not in text, path
        assert ".truth" not in text, path
