"""Matrix completion against NumPy's scaled gradient descent, `implicit` and one look at the data.

python experiments/benchmarks/completion.py [--quick] [--threads N] [--out FILE.md]
"""

from experiments.benchmarks import threads

threads.pin()

import importlib
import importlib.util
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp

from experiments.benchmarks import measuring
from experiments.benchmarks.measuring import Row, interleaved, ratio_text
from experiments.benchmarks.numpy_completion import Entries, scaled_descent, seconds_on_one_thread
from recovery import Factors, Problem, metrics, problems, solve, starts
from recovery.operators import EntrySampling
from recovery.solvers import (
    AbstractRowSolver,
    AlternatingMinimization,
    Cholesky,
    ConjugateGradient,
    ScaledGradientDescent,
)


@dataclass(frozen=True)
class Sizes:
    """n, r, condition number and p of the solves; n, m and the ranks of the single steps; n, p and
    the ranks of the comparison of both layouts."""

    size: int
    rank: int
    condition_number: float
    fraction: float
    step_size: int
    step_entries: int
    step_ranks: tuple[int, ...]
    rounds: int
    layouts: tuple[tuple[int, float], ...]
    layout_ranks: tuple[int, ...]
    steps: int = 3
    dtypes: tuple[Any, ...] = (jnp.float32, jnp.float64)


FULL = Sizes(
    *(1000, 10, 20.0, 0.2, 100_000, 10_000_000, (10, 64), 3),
    layouts=((200, 0.2), (1000, 0.2), (1000, 0.5), (1000, 0.8)),
    layout_ranks=(5, 20),
)
# Rows of about equal length need few widths, each of which is compiled.
QUICK = Sizes(
    *(100, 2, 5.0, 0.8, 100, 5_000, (4,), 1),
    layouts=((50, 0.5),),
    layout_ranks=(2,),
    dtypes=(jnp.float64,),
)


# Seconds to an accuracy


def solve_rows(sizes: Sizes) -> Iterator[Row]:
    problem = problems.matrix_completion(
        jax.random.key(0),
        shape=(sizes.size, sizes.size),
        rank=sizes.rank,
        num_observed=round(sizes.fraction * sizes.size**2),
        condition_number=sizes.condition_number,
        dense=False,
    )
    start = starts.spectral(problem, sizes.rank)
    what = f"n={sizes.size}, r={sizes.rank}, kappa={sizes.condition_number:g}, p={sizes.fraction:g}"
    entries = entries_of(problem, start)
    for target in (1e-6, 1e-14):
        calls: dict[str, Callable[[], Any]] = {
            "NumPy": lambda target=target: scaled_descent(entries, target)
        }
        for name, solver in (
            ("conjugate gradients to 0.02 (default)", ConjugateGradient()),
            ("conjugate gradients to 0.3", ConjugateGradient(0.3)),
            ("Cholesky", Cholesky()),
        ):
            method = AlternatingMinimization(solver, tolerance=target)
            calls[name] = solver_call(problem, method, start, 200)
        calls["scaled gradient descent"] = solver_call(
            problem, ScaledGradientDescent(0.5, target), start, 1000
        )
        compiling = {name: measuring.timed(call, 1)[0] for name, call in calls.items()}
        times = interleaved(calls, sizes.rounds)
        one_thread = seconds_on_one_thread(entries, target)
        for name in list(calls)[1:]:
            found = calls[name]()
            error = float(metrics.relative_error(problem, found.value))
            once = compiling[name] - float(np.median(times[name].wall))
            compiled = f", compiling {once:.1f} s" if once > 0.05 else ""  # once for all targets
            yield Row(
                f"{what}: alternating minimization, {name}, to residual {target:g}"
                if name != "scaled gradient descent"
                else f"{what}: our scaled gradient descent to residual {target:g}",
                f"{ratio_text(times, name, 'NumPy')}; over NumPy on one thread "
                f"({1e3 * one_thread:.3g} ms) {np.median(times[name].wall) / one_thread:.2f}; "
                f"{int(found.num_steps)} steps, error {error:.1e}{compiled}",
                "at most 0.5 (one thread)" if name != "scaled gradient descent" else "",
            )


def solver_call(problem: Problem, solver: Any, start: Factors, max_steps: int) -> Callable:
    return lambda: solve(problem, solver, start, max_steps=max_steps, record_every=max_steps)


def entries_of(problem: Problem, start: Factors) -> Entries:
    operator = problem.operator
    assert isinstance(operator, EntrySampling)
    arrays = operator.rows, operator.cols, problem.measurements, start.left, start.right
    return Entries(*map(np.asarray, arrays))


# One step over ten million entries


def step_rows(sizes: Sizes) -> Iterator[Row]:
    rows, cols = random_entries(sizes.step_size, sizes.step_entries)
    for rank in sizes.step_ranks:
        for dtype in sizes.dtypes:
            yield from step_rows_of(rows, cols, rank, dtype, sizes)


def random_entries(size: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    cells = np.unique(rng.integers(0, size**2, count + count // 100))
    rows, cols = np.divmod(rng.permutation(cells)[:count], size)
    return rows.astype(np.int32), cols.astype(np.int32)


def step_rows_of(
    rows: np.ndarray, cols: np.ndarray, rank: int, dtype: Any, sizes: Sizes
) -> Iterator[Row]:
    measuring.forget_peak()
    began = time.perf_counter()
    operator = EntrySampling(
        rows, cols, (sizes.step_size, sizes.step_size), dtype=dtype, dense=False
    )
    building = time.perf_counter() - began
    truth = problems.random_truth(
        jax.random.key(1), shape=operator.in_struct.shape, rank=rank, dtype=dtype
    )
    problem = Problem(operator, jax.jit(EntrySampling.forward_factors)(operator, truth))
    start = starts.random_factors(jax.random.key(2), truth.shape, rank, 1.0, dtype=dtype)
    what = f"n={sizes.step_size}, m={rows.size}, k={rank}, {jnp.dtype(dtype).name}"

    def state(inner: AbstractRowSolver) -> tuple[Any, Any]:
        solver = AlternatingMinimization(inner, ridge=1e-2)
        return solver, solve(problem, solver, start, max_steps=1).state

    def steps(inner: AbstractRowSolver) -> Callable[[], Any]:
        solver, first = state(inner)
        return lambda: solve(problem, solver, first, max_steps=sizes.steps)

    check = jax.jit(EntrySampling.forward_factors)
    calls: dict[str, Callable[[], Any]] = {
        "3 CG steps": steps(ConjugateGradient(0.0, max_steps=3)),
        "default CG": steps(ConjugateGradient()),
        "check": lambda: [check(operator, truth) for _ in range(sizes.steps)],
    }
    if rank <= 16:
        calls["Cholesky"] = steps(Cholesky())
    peer = implicit_steps(problem, rank, dtype, sizes.steps)
    if peer:
        calls["implicit, 3 CG steps"] = peer
    times = interleaved(calls, sizes.rounds)
    names = [name for name in calls if name not in ("check", "implicit, 3 CG steps")]
    for name in names:
        yield Row(
            f"{what}: one step, {name}, over one evaluation of the entries",
            ratio_text(times, name, "check", sizes.steps),
            "",
        )
        if peer:
            yield Row(
                f"{what}: one step, {name}, over implicit's",
                ratio_text(times, name, "implicit, 3 CG steps", sizes.steps),
                "at most 1.0" if name == "3 CG steps" else "",
            )
    peak = measuring.process_status("VmHWM")
    if peak:
        yield Row(
            f"{what}: peak memory of the process, operator built in {building:.1f} s",
            f"{peak / 2**30:.2f} GiB",
            "at most 3 GiB" if dtype == jnp.float64 and rank == 10 else "",
        )


def implicit_steps(problem: Problem, rank: int, dtype: Any, steps: int) -> Callable[[], Any] | None:
    """Steps of the library `implicit`, whose weighted problem costs a k x k product more a row."""
    if not importlib.util.find_spec("implicit"):
        return None
    als = importlib.import_module("implicit.als")
    operator = problem.operator
    assert isinstance(operator, EntrySampling)
    values = np.abs(np.asarray(problem.measurements)).astype(np.float32) + 1
    places = np.asarray(operator.rows), np.asarray(operator.cols)
    ratings = sp.csr_matrix((values, places), shape=operator.in_struct.shape)
    model = als.AlternatingLeastSquares(
        factors=rank, dtype=np.dtype(dtype), iterations=1, num_threads=threads.number()
    )
    model.fit(ratings, show_progress=False)
    transposed = ratings.T.tocsr()
    least_squares = importlib.import_module("implicit.cpu._als").least_squares_cg

    def run() -> Any:
        for _ in range(steps):
            for matrix, own, other in (
                (ratings, model.user_factors, model.item_factors),
                (transposed, model.item_factors, model.user_factors),
            ):
                least_squares(matrix, own, other, 0.01, num_threads=threads.number(), cg_steps=3)
        return model.user_factors

    return run


# Both layouts of the entries


def layout_rows(sizes: Sizes) -> Iterator[Row]:
    """What the choice between the layouts rests on, see `EntrySampling`."""
    for size, fraction in sizes.layouts:
        for rank in sizes.layout_ranks:
            calls, compiling = {}, {}
            for name, dense in (("dense mask", True), ("padded rows", False)):
                call = layout_steps(size, fraction, rank, dense, sizes.steps)
                compiling[name] = measuring.timed(call, 1)[0]
                calls[name] = call
            times = interleaved(calls, sizes.rounds)
            once = ", ".join(
                f"{name} {compiling[name] - np.median(times[name].wall):.1f} s" for name in calls
            )
            yield Row(
                f"n={size}, p={fraction:g}, k={rank}, float64: one step with a dense mask over one "
                "with padded rows",
                f"{ratio_text(times, 'dense mask', 'padded rows', sizes.steps)}; compiling {once}",
                "",
            )


def layout_steps(size: int, fraction: float, rank: int, dense: bool, steps: int) -> Callable:
    problem = problems.matrix_completion(
        jax.random.key(4),
        shape=(size, size),
        rank=rank,
        num_observed=round(fraction * size**2),
        dense=dense,
    )
    start = starts.random_factors(jax.random.key(2), (size, size), rank, 1.0)
    solver = AlternatingMinimization(ConjugateGradient(0.0, max_steps=5))
    return lambda: solve(problem, solver, start, max_steps=steps)


def rows(quick: bool) -> Iterator[Row]:
    sizes = QUICK if quick else FULL
    # First, so that the peaks are those of this part.
    yield from step_rows(sizes)
    yield from solve_rows(sizes)
    yield from layout_rows(sizes)


if __name__ == "__main__":
    measuring.main("completion", "Matrix completion: time against NumPy and implicit", rows)
