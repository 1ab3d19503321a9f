"""Symmetric measurement matrices hide half of an asymmetric iterate."""

from dataclasses import dataclass

import jax.numpy as jnp
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from experiments.claims import Claim, at_least, at_most
from experiments.overparameterized_gd import _setting as setting
from recovery import Problem, plotting
from recovery.operators import DenseSensing
from recovery.solvers import AsymmetricGradientDescent

CAPTION = """A trap, not a figure of the paper. Asymmetric gradient descent, k = 5 > r = 3, start
scale 0.5 and 0.5 / 3, step 0.1, n = 50. With symmetrized Gaussian matrices the antisymmetric part
of F G^T - X is invisible and the error stalls; with the same matrices not symmetrized it falls.
Settings ours."""


@dataclass(frozen=True)
class Config:
    num_draws: int
    num_measurements: int
    num_steps: int
    search_rank: int = 5
    step_size: float = 0.1
    scale: float = 0.5
    record_every: int = 20


FULL = Config(num_draws=10, num_measurements=2000, num_steps=8000)
QUICK = Config(num_draws=2, num_measurements=1400, num_steps=1000, step_size=0.2)


def compute(config: Config) -> dict:
    plain = setting.problem(num_measurements=config.num_measurements)
    assert isinstance(plain.operator, DenseSensing)
    matrices = plain.operator.matrices
    operator = DenseSensing((matrices + matrices.transpose(0, 2, 1)) / 2)
    # A symmetric truth gives the same measurements to both.
    symmetrized = Problem(operator, plain.measurements, plain.truth)
    data: dict = {}
    for name, problem in (("plain", plain), ("symmetrized", symmetrized)):
        solution = setting.solve_draws(
            problem.normal_equations(),
            AsymmetricGradientDescent(config.step_size),
            lambda key: setting.imbalanced_start(key, config.search_rank, config.scale),
            setting.keys(config.num_draws),
            max_steps=config.num_steps,
            record_every=config.record_every,
        )
        data["step"], data[name] = solution.trace["step"][0], solution.trace["error"]
        final = solution.value.matrix
        antisymmetric = jnp.sum((final - final.mT) ** 2, axis=(1, 2)) / 4
        data[f"{name}_antisymmetric"] = antisymmetric / solution.trace["error"][:, -1]
    return data


def check(data: dict, config: Config) -> list[Claim]:
    return [
        at_least("symmetrized: squared error at the end", data["symmetrized"][:, -1], 1e-3),
        at_least(
            "symmetrized: antisymmetric share of the squared error",
            data["symmetrized_antisymmetric"],
            0.99,
        ),
        at_most("plain: squared error at the end", data["plain"][:, -1], 1e-8),
    ]


def draw(data: dict) -> Figure:
    figure, ax = plt.subplots(figsize=(5, 3.6), layout="constrained")
    for index, (name, label) in enumerate(
        (("symmetrized", r"symmetrized $A_i$"), ("plain", r"Gaussian $A_i$"))
    ):
        plotting.curves(ax, data["step"], data[name], label=label, index=index, lower=1e-28)
    plotting.finish(
        ax,
        xlabel="step t",
        ylabel=r"$\|FG^T - X\|_F^2$",
        title="Symmetric measurements stall two factors",
    )
    return figure
