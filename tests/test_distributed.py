import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from sharded import CASES, KEY, OPERATORS, M, normal, outcomes, seeded_problem, symmetric_problem

from experiments import solve_sharded
from recovery import (
    Problem,
    distributed,
    metrics,
    operators,
    problems,
    schedules,
    solve,
    solvers,
    starts,
)
from recovery.distributed import sensing

WORKER = Path(__file__).with_name("sharded_worker.py")
TWO = ["packed", "entries", "gradient_descent"]
HOSTS = ["dense-float64", "entries", "gradient_descent"]


def start_worker(folder: Path, names: list[str], devices: int, *more: str) -> subprocess.Popen:
    folder.mkdir(exist_ok=True)
    flags = f"--xla_force_host_platform_device_count={devices}"
    return subprocess.Popen(
        [sys.executable, WORKER, folder, *names, *more],
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def finish(workers: list[subprocess.Popen]) -> None:
    try:
        for worker in workers:
            output, _ = worker.communicate(timeout=600)
            assert worker.returncode == 0, output
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


def assert_agree(found, expected) -> None:
    for name, value in expected.items():
        tolerance = 1e-5 if value.dtype == np.float32 else 1e-10
        scale = np.nanmax(np.abs(value))
        np.testing.assert_allclose(found[name], value, 0, tolerance * scale, err_msg=name)


def chosen(expected, names: list[str]) -> dict[str, np.ndarray]:
    return {key: value for key, value in expected.items() if key.split(":")[0] in names}


def test_results_do_not_depend_on_the_number_of_devices_or_processes(tmp_path):
    """One test, so that the processes run beside each other."""
    port, hosts = free_port(), tmp_path / "hosts"
    workers = [
        start_worker(tmp_path / "two", TWO, 2),
        start_worker(tmp_path / "four", list(CASES), 4),
        start_worker(hosts, HOSTS, 2, "--hosts", port, "0"),
        start_worker(hosts, HOSTS, 2, "--hosts", port, "1"),
    ]
    expected = outcomes(lambda problem: problem, list(CASES))
    finish(workers)
    two, four, *both = (
        dict(np.load(tmp_path / name))
        for name in ("two/found.npz", "four/found.npz", "hosts/found0.npz", "hosts/found1.npz")
    )
    assert_agree(two, chosen(expected, TWO))
    assert_agree(four, expected)
    # One sum before the loop and one in it: the gradient and the residuals go together.
    assert two["all_reduces"] == four["all_reduces"] == 2
    # Each process reads the matrices of its own devices: 7 + 7 and 7 + 4.
    assert [found["read"] for found in both] == [14, 11]
    adjoint = OPERATORS["dense-float64"]().adjoint(jnp.arange(1.0, M + 1))
    left = expected["preconditioned_on_seeded: left"]
    for found in both:
        assert_agree(found, chosen(expected, HOSTS))
        assert_agree(found, {"from_matrices": np.asarray(adjoint), "checkpoint": left})
    saved = np.load(hosts / "measurements.npz")["tree['y']"]
    np.testing.assert_array_equal(saved, np.append(np.arange(1.0, M + 1), np.zeros(3)))


def test_one_device_gives_the_same_results():
    names = ["dense-float64", "entries", "gradient_descent"]
    expected = outcomes(lambda problem: problem, names)
    assert_agree(outcomes(distributed.shard, names), expected)


def test_a_forgotten_sum_is_noticed():
    operator = distributed.shard(symmetric_problem()).operator
    y = jnp.ones(operator.num_measurements)

    def forgotten(shard, y, _):
        return shard.adjoint(y)

    with pytest.raises(ValueError, match="require replication"):
        sensing.map_shards(forgotten, operator.shards, y, (), P(), operator.mesh, "rows")


def test_a_gradient_is_summed_over_devices_once():
    for problem in (symmetric_problem(), seeded_problem()):
        problem = distributed.shard(problem)
        factors = starts.spectral(problem, 2)
        gradient = jax.jit(lambda p, f: p.operator.gradient(f, p.measurements))
        assert gradient.lower(problem, factors).as_text().count("stablehlo.all_reduce") == 1


def test_seeded_matrices_of_the_parts_are_those_of_the_whole():
    whole = operators.SeededGaussianSensing(KEY, 25, (6, 5), block_rows=4)
    parts = [whole.part(first, 7) for first in (0, 7, 14, 21)]
    rows = jnp.concatenate([part.rows(jnp.arange(7)) for part in parts])
    assert jnp.array_equal(rows[:25], whole.rows(jnp.arange(25)))
    assert not rows[25:].any()
    again = parts[1].part(2, 3)
    assert jnp.array_equal(again.rows(jnp.arange(3)), whole.rows(jnp.arange(9, 12)))


def test_matrices_may_come_from_a_file(tmp_path):
    matrices = np.asarray(normal(1, (M, 6, 5)))
    np.save(tmp_path / "matrices.npy", matrices)
    mapped = np.load(tmp_path / "matrices.npy", mmap_mode="r")
    operator, x = distributed.ShardedSensing.from_matrices(mapped), normal(2, (6, 5))
    expected = operators.DenseSensing(matrices).forward(x)
    np.testing.assert_allclose(operator.measured(operator.forward(x)), expected, rtol=1e-12)


def test_a_sharded_operator_can_be_weighted_and_stacked():
    dense, w, x = operators.DenseSensing(normal(1, (M, 6, 5))), normal(2, (M,)), normal(3, (6, 5))
    sharded = distributed.ShardedSensing.from_operator(dense)
    weighted = sharded.padded(w) * sharded
    np.testing.assert_allclose(weighted.forward(x), (w * dense).forward(x), rtol=1e-12)
    stacked = (sharded + dense).adjoint(jnp.ones(2 * M))
    np.testing.assert_allclose(stacked, 2 * dense.adjoint(jnp.ones(M)), rtol=1e-12)
    truth = starts.random_factors(KEY, (6, 5), 2, 1.0)
    both = [
        problems.measure(KEY, first.padded(w) * first + 2.0 * dense, truth, noise_std=0.1)
        for first in (dense, sharded)
    ]
    np.testing.assert_allclose(both[0].measurements, both[1].measurements, rtol=1e-12)


def test_gauss_newton_completes_sharded_entries():
    problem = problems.matrix_completion(KEY, shape=(8, 8), rank=2, num_observed=58)
    problem = distributed.shard(problem)
    solver = solvers.GaussNewtonCompletion(tolerance=1e-10)
    solution = solve(problem, solver, starts.spectral(problem, 2), max_steps=50)
    assert metrics.relative_error(problem, solution.value) < 1e-9


@pytest.mark.parametrize("solver", [solvers.AlternatingMinimization(), solvers.SchurPencil()])
def test_solvers_of_one_family_refuse_a_sharded_problem(solver):
    problem = distributed.shard(symmetric_problem())
    with pytest.raises(TypeError, match=r"operator is (a )?ShardedSensing.*operators\."):
        solve(problem, solver, starts.spectral(problem, 1), max_steps=1)


def test_zeros_that_pad_measurements_do_not_hide_a_start_that_cannot_grow():
    problem = symmetric_problem()
    padding = jnp.zeros((200, 6, 6))
    operator = operators.DenseSensing(jnp.concatenate([problem.operator.matrices, padding]))
    padded = Problem(operator, jnp.concatenate([problem.measurements, jnp.zeros(200)]))
    solver = solvers.SubgradientMethod(schedules.Geometric(0.5, 0.5, normalize=True))
    with pytest.warns(UserWarning, match="times smaller than the measurements"):
        solve(padded, solver, starts.random_symmetric(KEY, 6, 3, 1e-6), max_steps=1)


def test_an_operator_that_cannot_be_shared_is_refused():
    dense = operators.DenseSensing(normal(1, (M, 6, 5)))
    others = [2.0 * dense, distributed.ShardedSensing.from_operator(dense)]
    for operator in others:
        with pytest.raises(TypeError, match=r"only DenseSensing.*can be shared among devices"):
            distributed.shard(Problem(operator, jnp.ones(M)))


def test_sharding_inside_jit_is_refused():
    def inside(matrices):
        problem = Problem(operators.DenseSensing(matrices), jnp.ones(M))
        return distributed.shard(problem).measurements

    with pytest.raises(ValueError, match="outside of jit"):
        jax.jit(inside)(normal(1, (M, 6, 5)))


def test_a_mesh_of_another_kind_is_refused():
    explicit = jax.make_mesh((1,), ("rows",), axis_types=(AxisType.Explicit,))
    with pytest.raises(ValueError, match="Auto ones are needed"):
        distributed.shard(symmetric_problem(), explicit)
    with pytest.raises(ValueError, match="axis is 'columns': name one of them"):
        distributed.shard(symmetric_problem(), distributed.mesh(), "columns")


def test_matrices_and_measurements_that_do_not_fit_are_refused(without_type_checker):
    from_matrices = distributed.ShardedSensing.from_matrices
    with pytest.raises(TypeError, match="int64, but a floating"):
        from_matrices(np.ones((M, 6, 5), int))
    with pytest.raises(ValueError, match=r"a stack \(m, n1, n2\) is needed"):
        from_matrices(np.ones((M, 30)))
    operator = from_matrices(np.ones((M, 6, 5)))
    with pytest.raises(ValueError, match=r"measurements has shape \(24,\)"):
        operator.padded(jnp.ones(24))


SIZES = ["--size", "8", "--rank", "2", "--measurements", "301"]


def test_the_script_recovers_and_continues(tmp_path, capsys):
    checkpoint = ["--checkpoint", str(tmp_path / "run.npz"), "--save-every", "5"]
    solve_sharded.main([*SIZES, *checkpoint, "--steps", "5"])
    assert "All max_steps were taken" in capsys.readouterr().out
    solve_sharded.main([*SIZES, *checkpoint])
    assert "The solver met its tolerance" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rank", "9"], "error: rank 9 was asked for"),
        (["--devices", "0"], "error: --devices must be at least 1"),
        (["--process-id", "0"], "error: --coordinator, --processes and --process-id go together"),
        (["--checkpoint", "missing/run.npz"], "error: the folder missing"),
    ],
)
def test_the_script_answers_wrong_use_in_one_line(arguments, message):
    with pytest.raises(SystemExit, match=message):
        solve_sharded.main([*SIZES, *arguments])
