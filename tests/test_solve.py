import pickle

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import KEY, sensing_problem

from recovery import RESULTS, SolveError, metrics, solve, solvers, starts
from recovery import progress as progress_module

PROBLEM = sensing_problem()
START = starts.random_symmetric(KEY, 8, 3, 0.5)
SOLVER = solvers.SymmetricGradientDescent(0.2)
RECORD = {"error": metrics.squared_error, "imbalance": metrics.imbalance}


def numpy_descent(step_size: float, num_steps: int) -> list[np.ndarray]:
    """The loop written out, one iterate after the other."""
    rows = np.asarray(PROBLEM.operator.matrices).reshape(400, -1)
    y, u = np.asarray(PROBLEM.measurements), np.asarray(START.left)
    iterates = [u]
    with np.errstate(all="ignore"):
        for _ in range(num_steps):
            d = ((rows @ (u @ u.T).ravel() - y) @ rows / 400).reshape(8, 8)
            u = u - step_size * (d + d.T) / 2 @ u
            iterates.append(u)
    return iterates


def test_trace_rows_hold_every_recorded_iterate():
    solution = solve(PROBLEM, SOLVER, START, max_steps=12, record_every=3, record=RECORD)
    truth = PROBLEM.truth.matrix
    expected = [np.sum((u @ u.T - truth) ** 2) for u in numpy_descent(0.2, 12)[::3]]
    np.testing.assert_array_equal(solution.trace["step"], [0, 3, 6, 9, 12])
    np.testing.assert_allclose(solution.trace["error"], expected, rtol=1e-10)
    np.testing.assert_allclose(solution.trace["imbalance"], np.zeros(5), atol=1e-15)
    assert solution.num_steps == 12
    assert solution.result == RESULTS.max_steps_reached


def test_solve_without_steps_returns_the_start():
    solution = solve(PROBLEM, SOLVER, START, max_steps=0, record=RECORD)
    assert eqx.tree_equal(solution.value, START)
    assert solution.trace["error"].shape == (1,)


def test_no_record_leaves_only_the_steps():
    assert set(solve(PROBLEM, SOLVER, START, max_steps=2).trace) == {"step"}


def test_integer_metrics_are_recorded():
    solution = solve(
        PROBLEM, SOLVER, START, max_steps=2, record={"rank": lambda p, f: f.left.shape[1]}
    )
    np.testing.assert_array_equal(solution.trace["rank"], [3.0, 3.0, 3.0])


def test_divergence_is_found_at_the_exact_step():
    iterates = numpy_descent(20.0, 60)
    first_bad = next(t for t, u in enumerate(iterates) if not np.all(np.isfinite(u)))
    diverging = solvers.SymmetricGradientDescent(20.0)
    solution = solve(PROBLEM, diverging, START, max_steps=60, record=RECORD, throw=False)
    assert solution.result == RESULTS.nonfinite
    assert solution.num_steps == first_bad
    assert jnp.all(jnp.isnan(solution.trace["error"][first_bad:]))


def test_divergence_raises_with_advice_and_keeps_the_solution():
    diverging = solvers.SymmetricGradientDescent(20.0)
    with pytest.raises(SolveError, match="Lower the step size") as caught:
        solve(PROBLEM, diverging, START, max_steps=60, record=RECORD)
    assert jnp.isfinite(caught.value.solution.trace["error"][1])


def test_divergence_raises_inside_jit():
    diverging = solvers.SymmetricGradientDescent(20.0)
    with pytest.raises(jax.errors.JaxRuntimeError, match="Lower the step size"):
        jax.jit(lambda s: solve(PROBLEM, diverging, s, max_steps=60).value)(START)


def test_lanes_of_a_batch_fail_alone():
    def run(step_size):
        solver = solvers.SymmetricGradientDescent(step_size)
        return solve(PROBLEM, solver, START, max_steps=60, record=RECORD, throw=False)

    batch = jax.vmap(run)(jnp.array([0.2, 20.0]))
    np.testing.assert_array_equal(batch.result == RESULTS.nonfinite, [False, True])
    assert jnp.all(jnp.isfinite(batch.trace["error"][0]))


def test_runs_under_vmap_over_keys():
    def run(key):
        start = starts.random_symmetric(key, 8, 3, 0.5)
        return solve(PROBLEM, SOLVER, start, max_steps=3, record=RECORD)

    batch = jax.vmap(run)(jax.random.split(KEY, 4))
    assert batch.trace["error"].shape == (4, 4)
    assert jnp.unique(batch.trace["error"][:, -1]).size == 4


def test_solving_twice_gives_the_same_numbers():
    one, two = (solve(PROBLEM, SOLVER, START, max_steps=50, record=RECORD) for _ in range(2))
    assert eqx.tree_equal(one, two)


def test_continuing_a_converged_solve_takes_no_step():
    solver = solvers.SymmetricGradientDescent(0.2, tolerance=1e-2)
    first = solve(PROBLEM, solver, START, max_steps=1000)
    again = solve(PROBLEM, solver, first.state, max_steps=1000)
    assert first.result == again.result == RESULTS.converged
    assert again.num_steps == 0


def test_progress_counts_to_the_end_and_is_silent_in_a_log(monkeypatch, capsys):
    seen = []

    class Recorder(progress_module.tqdm):
        def update(self, n=1):
            self.n += n
            seen.append(self.n)

    monkeypatch.setattr(progress_module, "tqdm", Recorder)
    solve(PROBLEM, SOLVER, START, max_steps=500, record_every=10, progress=True)
    assert max(seen) == 500
    assert 10 <= len(seen) <= 120
    assert capsys.readouterr().err == ""


def test_progress_of_a_batch_is_one_bar_with_few_reports(monkeypatch):
    seen = []
    monkeypatch.setattr(
        progress_module._bar, "show", lambda step, total: seen.append((step, total))
    )

    def run(step_size):
        solver = solvers.SymmetricGradientDescent(step_size)
        return solve(PROBLEM, solver, START, max_steps=1000, progress=True).value.left

    jax.block_until_ready(jax.vmap(run)(jnp.array([0.1, 0.2])))
    jax.effects_barrier()
    assert max(seen) == (1000, 1000)
    assert 50 <= len(seen) <= 250


def test_an_asymmetric_start_is_noticed_under_vmap_and_in_a_state():
    def run(key):
        start = starts.random_factors(key, (8, 8), 3, 0.5)
        return solve(PROBLEM, SOLVER, start, max_steps=3, throw=False)

    batch = jax.vmap(run)(jax.random.split(KEY, 2))
    assert jnp.all(batch.result == RESULTS.asymmetric_start)
    assert jnp.all(batch.num_steps == 0)
    state = solve(
        PROBLEM,
        solvers.AsymmetricGradientDescent(0.1),
        starts.random_factors(KEY, (8, 8), 3, 0.5),
        max_steps=1,
    ).state
    with pytest.raises(SolveError, match="The start is not symmetric"):
        solve(PROBLEM, SOLVER, state, max_steps=3)


def test_a_failed_solution_survives_pickling():
    diverging = solvers.SymmetricGradientDescent(20.0)
    with pytest.raises(SolveError) as caught:
        solve(PROBLEM, diverging, START, max_steps=60, record=RECORD)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert str(copy) == str(caught.value)
    np.testing.assert_array_equal(copy.solution.num_steps, caught.value.solution.num_steps)


def test_measurements_of_zero_converge_to_zero():
    zero = eqx.tree_at(lambda p: p.measurements, PROBLEM, jnp.zeros(400))
    solver = solvers.AlternatingGaussNewton(0.5, tolerance=1e-3)
    solution = solve(zero, solver, START, max_steps=100)
    assert solution.result == RESULTS.converged
    assert jnp.linalg.norm(solution.value.matrix) < 1e-2


@pytest.mark.parametrize("kind", [int, float, np.float32, np.float64, jnp.float32, jnp.asarray])
def test_every_kind_of_number_shares_one_compilation(kind):
    traced = []

    def counting(problem, factors):
        traced.append(1)
        return metrics.relative_error(problem, factors)

    record = {"error": counting}
    solve(PROBLEM, solvers.SymmetricGradientDescent(0.5), START, max_steps=1, record=record)
    count = len(traced)
    solve(PROBLEM, solvers.SymmetricGradientDescent(kind(1)), START, max_steps=1, record=record)
    assert len(traced) == count > 0
