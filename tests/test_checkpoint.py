import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checkpointed import KEY, OPTIONS, PROBLEM, SOLVER, START

from recovery import RESULTS, Problem, SolveError, metrics, solve, solvers, starts
from recovery.checkpoint import load, save, solve_with_checkpoints

SHORT = OPTIONS | {"max_steps": 600}


def tree():
    return {
        "numbers": jnp.arange(3.0),
        "flag": jnp.asarray(True),
        "key": jax.random.split(jax.random.key(5), 2),
        "result": RESULTS.converged,
        "start": START,
        "nothing": None,
    }


def without_trace(solution):
    return eqx.tree_at(lambda x: x.trace, solution, {})


def assert_identical(found, expected):
    assert eqx.tree_equal(without_trace(found), without_trace(expected))
    assert set(found.trace) == set(expected.trace)
    for name, column in expected.trace.items():  # NaN after the stop is no difference
        assert found.trace[name].dtype == column.dtype
        np.testing.assert_array_equal(found.trace[name], column)


@pytest.fixture(scope="module")
def uninterrupted():
    return solve(PROBLEM, SOLVER, START, **SHORT)


def test_a_tree_comes_back_as_it_was(tmp_path):
    save(tmp_path / "tree.npz", tree())
    for like in (tree(), jax.eval_shape(tree)):
        assert eqx.tree_equal(load(tmp_path / "tree.npz", like), tree())


def test_the_state_of_a_solver_comes_back(tmp_path):
    state = solve(PROBLEM, SOLVER, START, max_steps=3).state
    save(tmp_path / "state.npz", state)
    like = jax.eval_shape(lambda: SOLVER.init(PROBLEM, START, None))
    again = solve(PROBLEM, SOLVER, load(tmp_path / "state.npz", like), max_steps=3)
    assert jnp.array_equal(again.value.left, solve(PROBLEM, SOLVER, START, max_steps=6).value.left)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"more": jnp.ones(1)}, "1 arrays are missing, the first of them"),
        ({"nothing": jnp.ones(1)}, "1 arrays are missing"),
        ({"flag": None}, "1 are not expected"),
        ({"numbers": jnp.arange(4.0)}, r"float64\[3\], but float64\[4\] is needed"),
        ({"numbers": jnp.arange(3)}, r"float64\[3\], but int64\[3\] is needed"),
        ({"key": jax.random.split(jax.random.key(5, impl="rbg"), 2)}, "holds another tree"),
    ],
)
def test_a_file_of_another_tree_is_refused(tmp_path, change, message):
    save(tmp_path / "tree.npz", tree())
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "tree.npz", tree() | change)


@pytest.mark.parametrize("length", [0, 10, -40])
def test_a_truncated_file_is_refused(tmp_path, length):
    path = tmp_path / "tree.npz"
    save(path, tree())
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match="no whole checkpoint"):
        load(path, tree())


def test_a_file_of_something_else_is_refused(tmp_path):
    path = tmp_path / "array.npz"
    with path.open("wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(ValueError, match="no whole checkpoint"):
        load(path, tree())
    save(path, tree())
    with pytest.raises(ValueError, match="was not written by solve_with_checkpoints"):
        solve_with_checkpoints(PROBLEM, SOLVER, START, path=path, save_every=200, **SHORT)


def test_what_is_no_array_is_not_saved(tmp_path):
    with pytest.raises(TypeError, match=r"tree\['f'\] is a function, but only arrays"):
        save(tmp_path / "tree.npz", {"f": assert_identical})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("save_every", [100, 200, 400, 10_000])
def test_checkpoints_do_not_change_a_run(tmp_path, uninterrupted, save_every):
    options = {"path": tmp_path / "run.npz", "save_every": save_every}
    found = solve_with_checkpoints(PROBLEM, SOLVER, START, **options, **SHORT)
    assert_identical(found, uninterrupted)
    assert os.listdir(tmp_path) == ["run.npz"]


def test_a_killed_run_continues_to_the_same_numbers(tmp_path):
    path = tmp_path / "run.npz"
    script = Path(__file__).with_name("checkpointed.py")
    worker = subprocess.Popen([sys.executable, script, path])
    try:
        first = wait_for_another_file(path, None, worker)
        wait_for_another_file(path, first, worker)
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    taken = int(np.load(path)["tree.num_steps"])
    assert 0 < taken < OPTIONS["max_steps"]
    options = OPTIONS | {"max_steps": taken + 300}
    found = solve_with_checkpoints(PROBLEM, SOLVER, START, path=path, save_every=200, **options)
    assert_identical(found, solve(PROBLEM, SOLVER, START, **options))


def wait_for_another_file(path: Path, old: int | None, worker: subprocess.Popen) -> int:
    """Its number in the file system changes with every checkpoint."""
    for _ in range(6000):
        assert worker.poll() is None
        if path.exists() and path.stat().st_ino != old:
            return path.stat().st_ino
        time.sleep(0.01)
    raise TimeoutError("no checkpoint was written")


def test_a_finished_run_is_returned_without_a_step(tmp_path):
    solver = solvers.SymmetricGradientDescent(0.5, tolerance=1e-2)
    options = {"path": tmp_path / "run.npz", "save_every": 100} | SHORT
    first = solve_with_checkpoints(PROBLEM, solver, START, **options)
    assert first.result == RESULTS.converged
    written = options["path"].stat().st_mtime_ns
    assert_identical(solve_with_checkpoints(PROBLEM, solver, START, **options), first)
    assert options["path"].stat().st_mtime_ns == written
    expected = solve(PROBLEM, solver, START, **SHORT)
    assert_identical(first, expected)


def test_more_steps_may_be_asked_for_later(tmp_path, uninterrupted):
    options = {"path": tmp_path / "run.npz", "save_every": 200} | SHORT
    solve_with_checkpoints(PROBLEM, SOLVER, START, **options | {"max_steps": 300})
    found = solve_with_checkpoints(PROBLEM, SOLVER, START, **options)
    assert_identical(found, uninterrupted)
    with pytest.raises(ValueError, match="a run of 600 steps, more than max_steps 300"):
        solve_with_checkpoints(PROBLEM, SOLVER, START, **options | {"max_steps": 300})


def test_a_failed_run_is_saved_and_raises_again(tmp_path):
    diverging = solvers.SymmetricGradientDescent(20.0)
    for _ in range(2):
        with pytest.raises(SolveError, match="Lower the step size") as caught:
            solve_with_checkpoints(
                PROBLEM, diverging, START, path=tmp_path / "run.npz", save_every=100, **SHORT
            )
    assert caught.value.solution.result == RESULTS.nonfinite


def test_a_solver_that_draws_numbers_continues_its_own(tmp_path):
    problem = Problem(PROBLEM.operator, PROBLEM.measurements)
    solver = solvers.ModifiedStep(solvers.AsymmetricGradientDescent(0.2), 4, 0.8)
    start = starts.random_factors(KEY, (8, 8), 2, 0.5)
    options = {"key": KEY, "max_steps": 60}
    found = solve_with_checkpoints(
        problem, solver, start, path=tmp_path / "run.npz", save_every=20, **options
    )
    assert_identical(found, solve(problem, solver, start, **options))


CHANGES = {
    "measurements": {
        "problem": Problem(PROBLEM.operator, 1.001 * PROBLEM.measurements, PROBLEM.truth)
    },
    "operator": {"problem": Problem(1.001 * PROBLEM.operator, PROBLEM.measurements, PROBLEM.truth)},
    "solver": {"solver": solvers.SymmetricGradientDescent(0.02 + 1e-12)},
    "record": {"record": {"error": metrics.relative_error}},
    "record_every": {"record_every": 200},
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_file_of_another_run_is_refused(tmp_path, name):
    options = {"problem": PROBLEM, "solver": SOLVER, "start": START} | SHORT
    options |= {"path": tmp_path / "run.npz", "save_every": 200, "max_steps": 200}
    solve_with_checkpoints(**options)
    with pytest.raises(ValueError, match=f"another run, of which the {name} differed"):
        solve_with_checkpoints(**options | CHANGES[name])


def test_an_order_of_measurements_is_no_other_problem(tmp_path):
    order = jax.random.permutation(KEY, 200)
    operator = eqx.tree_at(lambda x: x.matrices, PROBLEM.operator, PROBLEM.operator.matrices[order])
    other = Problem(operator, PROBLEM.measurements[order], PROBLEM.truth)
    options = {"path": tmp_path / "run.npz", "save_every": 200} | SHORT
    solve_with_checkpoints(PROBLEM, SOLVER, START, **options | {"max_steps": 200})
    assert solve_with_checkpoints(other, SOLVER, START, **options).num_steps == 600


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"save_every": 150}, "take save_every=200"),
        ({"max_steps": 250}, "take max_steps=300"),
        ({"save_every": 0}, "save_every must be a whole number of at least 1"),
        ({"path": "missing/run.npz"}, "the folder missing of missing/run.npz is missing"),
        ({"path": "."}, "is a folder"),
    ],
)
def test_wrong_use_is_refused_before_a_step(tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    options = SHORT | {"path": "run.npz", "save_every": 200} | options
    with pytest.raises(ValueError, match=message):
        solve_with_checkpoints(PROBLEM, SOLVER, START, **options)
    assert not list(tmp_path.iterdir())
