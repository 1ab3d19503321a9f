"""Tables of operators and solvers; the contract tests run over every row."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from recovery import Factors, Problem, metrics, operators, problems, schedules, solvers, starts

KEY = jax.random.key(7)
N1, N2, M = 6, 5, 24


def normal(tag: int, shape: tuple[int, ...], dtype=jnp.float64) -> jax.Array:
    return jax.random.normal(jax.random.fold_in(KEY, tag), shape, dtype)


def _dense(dtype) -> operators.DenseSensing:
    return operators.DenseSensing(normal(1, (M, N1, N2), dtype))


def _rank_one(dtype) -> operators.RankOneSensing:
    return operators.RankOneSensing(normal(2, (M, N1), dtype), normal(3, (M, N2), dtype))


def _seeded(dtype) -> operators.SeededGaussianSensing:
    return operators.SeededGaussianSensing(KEY, M, (N1, N2), dtype=dtype, block_rows=7)


def _entries(dtype, *, dense: bool) -> operators.EntrySampling:
    """In random order, with an empty row."""
    cells = np.random.default_rng(0).permutation((N1 - 1) * N2)[:M]
    return operators.EntrySampling(*np.divmod(cells, N2), (N1, N2), dtype=dtype, dense=dense)


P, SIGNAL = 4, 5


def _ensembles(dtype) -> dict[str, operators.AbstractEnsemble]:
    """Of p = 4 matrices; the real ones 6 x 5, Hadamard and Fourier 8 x 5 and 8 x 6."""
    dense = operators.DenseEnsemble(normal(6, (P, N1, SIGNAL), dtype))
    ensembles = {
        "dense": dense,
        "seeded": operators.SeededGaussianEnsemble(KEY, P, N1, SIGNAL, dtype=dtype),
        "hadamard": operators.MaskedHadamard.random(KEY, P, 8, SIGNAL, dtype=dtype),
        "subset": dense.keep_sensors([4, 0, 3]),
    }
    if jnp.issubdtype(dtype, jnp.complexfloating):
        ensembles["tall_fourier"] = operators.MaskedFourier.random(
            KEY, P, (3, 2), (4, 2), dtype=dtype
        )
        square = operators.MaskedFourier(normal(7, (P, 6), dtype))
        ensembles["fat_fourier"] = square.keep_sensors([5, 1, 2])
    return ensembles


ENSEMBLES = {
    f"{name}-{np.dtype(dtype).name}": ensemble
    for dtype in (jnp.float32, jnp.float64, jnp.complex64, jnp.complex128)
    for name, ensemble in _ensembles(dtype).items()
}


def _gains(name: str, **options):
    return lambda dtype: operators.GainSensing(_ensembles(dtype)[name], **options)


REAL = {
    "dense": _dense,
    "packed_symmetric": lambda dtype: operators.PackedSymmetricSensing.from_matrices(
        normal(4, (M, N1, N1), dtype)
    ),
    "rank_one": _rank_one,
    "seeded": _seeded,
    "entries": lambda dtype: _entries(dtype, dense=False),
    "dense_entries": lambda dtype: _entries(dtype, dense=True),
    "gains": _gains("dense"),
    "gains_signals": _gains("dense", num_signals=2, offset=True),
    "gains_diverse": _gains("dense", diverse=True),
    "population": lambda dtype: operators.PopulationSensing((N1, N2), dtype=dtype),
    "normal": lambda dtype: operators.NormalSensing.from_operator(_dense(dtype)),
    "stacked": lambda dtype: _dense(dtype) + _rank_one(dtype) + _seeded(dtype),
    "stacked_entries": lambda dtype: _dense(dtype) + _entries(dtype, dense=False),
    "scaled": lambda dtype: 0.5 * _rank_one(dtype),
    "weighted": lambda dtype: _dense(dtype) * normal(5, (M,), dtype),
}
COMPLEX = {
    name: REAL[name]
    for name in (
        *("dense", "rank_one", "population", "normal", "scaled", "weighted"),
        *("entries", "dense_entries", "stacked_entries"),
        *("gains", "gains_signals", "gains_diverse"),
    )
}
COMPLEX |= {
    "stacked": lambda dtype: _dense(dtype) + _rank_one(dtype),
}

OPERATORS: list[tuple[str, Callable[[], operators.AbstractOperator]]] = [
    (f"{name}-{np.dtype(dtype).name}", lambda build=build, dtype=dtype: build(dtype))
    for table, dtypes in (
        (REAL, (jnp.float32, jnp.float64)),
        (COMPLEX, (jnp.complex64, jnp.complex128)),
    )
    for name, build in table.items()
    for dtype in dtypes
]


def completion_problem(dtype=jnp.float64) -> Problem:
    """A well-posed truth of rank 2 of which most entries are observed."""
    return problems.matrix_completion(
        KEY, shape=(8, 8), rank=2, num_observed=58, condition_number=2.0, dtype=dtype, dense=False
    )


def gain_problem(dtype=jnp.float64) -> Problem:
    """Eight sensors and six times as many measurements as unknowns."""
    return problems.blind_gain(
        KEY, num_sensors=8, signal_size=8, num_snapshots=12, gain_spread=0.3, dtype=dtype
    )


def sensing_problem(dtype=jnp.float64) -> Problem:
    """A well-posed symmetric truth of rank 2 seen by 400 dense measurements."""
    return problems.matrix_sensing(
        KEY,
        shape=(8, 8),
        rank=2,
        num_measurements=400,
        singular_values=[1.0, 0.6],
        symmetric=True,
        dtype=dtype,
    )


@dataclass(frozen=True)
class SolverCase:
    """How to build a solver, and what it works on.

    Args:
        build: from a factor on its step size; 1 is a step that converges.
        symmetric: whether it needs a symmetric start.
        needs_loss: whether it reads the loss, which normal equations do not keep.
        absolute: whether it works on absolute residuals and not on squared ones.
        problem: what it is tested on.
        only: what it says where it works on one kind of operator only.
        linear: whether it solves a linear problem, which has a tolerance of its own.
    """

    build: Callable[[float], solvers.AbstractSolver]
    symmetric: bool
    needs_loss: bool = False
    absolute: bool = False
    problem: Callable[..., Problem] = sensing_problem
    only: str | None = None
    linear: bool = False

    @property
    def unfit(self) -> set[str]:
        hidden = set() if self.symmetric else {"packed"}  # the antisymmetric part is not measured
        if self.absolute:
            return hidden | {"normal", "population"}
        return hidden | ({"normal"} if self.needs_loss else set())

    def relative_residual(self, problem: Problem, factors: Factors) -> jax.Array:
        """What its tolerance is compared with."""
        if not self.absolute:
            return metrics.relative_residual(problem, factors)
        return metrics.absolute_loss(problem, factors) / jnp.mean(jnp.abs(problem.measurements))


def _modified(scale: float) -> solvers.ModifiedStep:
    return solvers.ModifiedStep(solvers.AsymmetricGradientDescent(0.2 * scale), 4, 0.8)


def _subgradient(scale: float) -> solvers.SubgradientMethod:
    return solvers.SubgradientMethod(schedules.LossProportional(0.4 * scale))


def _preconditioned_subgradient(scale: float) -> solvers.PreconditionedSubgradientMethod:
    return solvers.PreconditionedSubgradientMethod(schedules.Polyak(0.0 * scale), damping=1e-2)


def _alternating(inner: solvers.AbstractRowSolver) -> SolverCase:
    def build(scale: float) -> solvers.AlternatingMinimization:
        return solvers.AlternatingMinimization(inner, ridge=0.0 * scale)

    message = "completes matrices from some of their entries"
    return SolverCase(build, False, problem=completion_problem, only=message)


def _calibration(
    build: Callable[[float], solvers.AbstractSolver], *, linear: bool = False
) -> SolverCase:
    message = "gains are calibrated from operators.GainSensing"
    return SolverCase(build, False, problem=gain_problem, only=message, linear=linear)


SOLVERS: dict[str, SolverCase] = {
    "symmetric_gradient_descent": SolverCase(
        lambda s: solvers.SymmetricGradientDescent(0.2 * s), True
    ),
    "asymmetric_gradient_descent": SolverCase(
        lambda s: solvers.AsymmetricGradientDescent(0.2 * s), False
    ),
    "polyak_gradient_descent": SolverCase(
        lambda s: solvers.AsymmetricGradientDescent(schedules.Polyak(0.0 * s)), False, True
    ),
    "modified_step": SolverCase(_modified, False),
    "symmetric_scaled_gd": SolverCase(
        lambda s: solvers.SymmetricPreconditionedDescent(0.4 * s, damping=1e-2), True
    ),
    "symmetric_precgd": SolverCase(
        lambda s: solvers.SymmetricPreconditionedDescent(0.3 * s), True, True
    ),
    "asymmetric_scaled_gd": SolverCase(
        lambda s: solvers.AsymmetricPreconditionedDescent(0.5 * s, damping=1e-2), False
    ),
    "asymmetric_precgd": SolverCase(
        lambda s: solvers.AsymmetricPreconditionedDescent(0.5 * s), False, True
    ),
    "alternating_gauss_newton": SolverCase(
        lambda s: solvers.AlternatingGaussNewton(0.5 * s), False
    ),
    "scaled_gradient_descent": SolverCase(
        lambda s: solvers.ScaledGradientDescent(0.4 * s, damping=1e-6), False
    ),
    "gauss_newton_completion": SolverCase(
        lambda s: solvers.GaussNewtonCompletion(damping=0.3 * s, max_inner_steps=200), False, True
    ),
    "alternating_minimization": _alternating(solvers.ConjugateGradient()),
    "exact_alternating_minimization": _alternating(solvers.Cholesky()),
    "blind_gain_descent": _calibration(lambda s: solvers.BlindGainDescent(0.3 * s)),
    "blind_gain_line_search": _calibration(lambda s: solvers.BlindGainDescent(gain_spread=0.4 * s)),
    "alternating_calibration": _calibration(
        lambda s: solvers.AlternatingCalibration(inner_tolerance=1e-3 * s)
    ),
    "linear_least_squares": _calibration(
        lambda s: solvers.LinearLeastSquares("gains", tolerance=1e-12 * s), linear=True
    ),
    "auto_least_squares": _calibration(
        lambda s: solvers.LinearLeastSquares(tolerance=1e-12 * s), linear=True
    ),
    "smallest_singular_vector": _calibration(
        lambda s: solvers.SmallestSingularVector(tolerance=0.0, inner_tolerance=0.03 * s),
        linear=True,
    ),
    "schur_pencil": _calibration(lambda s: solvers.SchurPencil(tolerance=1e-12 * s), linear=True),
    "subgradient_method": SolverCase(lambda s: _subgradient(s), True, True, True),
    "asymmetric_subgradient_method": SolverCase(
        lambda s: solvers.AsymmetricSubgradientMethod(schedules.LossProportional(0.8 * s)),
        False,
        True,
        True,
    ),
    "preconditioned_subgradient_method": SolverCase(
        lambda s: _preconditioned_subgradient(s), True, True, True
    ),
    "asymmetric_preconditioned_subgradient_method": SolverCase(
        lambda s: solvers.AsymmetricPreconditionedSubgradientMethod(
            schedules.Polyak(0.0 * s), damping=1e-2
        ),
        False,
        True,
        True,
    ),
    "two_phase": SolverCase(
        lambda s: solvers.TwoPhase(_subgradient(s), _preconditioned_subgradient(s), 5),
        True,
        True,
        True,
    ),
}


def start_for(case: SolverCase, rank: int = 2, scale: float = 0.5, dtype=jnp.float64) -> Factors:
    if case.problem is gain_problem:
        signal = normal(8, (8, 1), dtype)
        return Factors(1 + jnp.asarray(0.3 * scale, dtype) * normal(9, (8, 1), dtype), signal)
    if case.symmetric:
        return starts.random_symmetric(KEY, 8, rank, scale, dtype=dtype)
    return starts.random_factors(KEY, (8, 8), rank, scale, scale / 3, dtype=dtype)
