"""Matrix sensing with outliers, the rank not known."""

from collections.abc import Mapping

from jaxtyping import Array, PRNGKeyArray

from experiments.subgradient_method import _setting as setting
from recovery import metrics, solve, starts, theory


def recover(
    keys: Mapping[str, PRNGKeyArray],
    *,
    corruption: Array,
    search_rank: int,
    trial: Array,
    scale: float,
    step_size: float,
    max_steps: int,
) -> dict[str, Array]:
    """Relative error of the subgradient method after steps that decay geometrically.

    Args:
        corruption: share of the measurements that outliers hit; more hit all that fewer do.
        search_rank: columns of U; the truth has 3.
        scale: alpha of the start, algorithm 2 of Ma and Fattahi (2023).
        step_size: eta of rule (10); rho is `theory.shortest_ratio`.
    """
    problem = setting.problem(keys["problem"], outlier_fraction=corruption)
    ratio = theory.shortest_ratio(step_size, setting.EIGENVALUES, scale)
    solution = solve(
        problem,
        setting.rule_10(step_size, ratio),
        starts.sign_spectral(problem, search_rank, scale),
        max_steps=max_steps,
        record_every=max_steps,
        throw=False,
    )
    return {"error": metrics.relative_error(problem, solution.value)}
