"""Figure 6: eigenvalues, signal, residual and cross term on the expected loss."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from experiments import fits
from experiments.claims import Claim, at_most, within
from experiments.subgradient_method import _expected as expected
from experiments.subgradient_method import _setting as setting
from recovery import plotting

CAPTION = """Figure 6 of Ma and Fattahi, the run of figure 5. Left: error and the eigenvalues of S
S^T, each growing by (1 + eta sigma_i)^2 a step (dotted, theirs from proposition 16) until it is
learned. Right: error, signal |Sigma - S S^T|, residual |E E^T|, cross term |S E^T|, operator norms;
the residual never rises. S and E are the parts of U inside and outside of the range of the truth.
Median and range over draws of the start."""

FULL = expected.Config(num_draws=10)
QUICK = expected.Config(num_draws=3)
# Steps in which each eigenvalue grows and the larger ones are learned.
WINDOWS = ((5, 30), (10, 55), (80, 270))
PARTS = ("signal", "residual", "cross")


def compute(config: expected.Config) -> dict:
    trace = expected.run(config.num_draws, config.scale, config.max_steps).trace
    return {
        "step": trace["step"][0],
        "error": trace["error"],
        "eigenvalues": trace["eigenvalues"],
        "parts": trace["parts"],
    }


def growth() -> np.ndarray:
    """Factor a step of each eigenvalue, proposition 16."""
    return (1 + expected.ETA * np.array(setting.EIGENVALUES)) ** 2


def check(data: dict, config: expected.Config) -> list[Claim]:
    step, values, parts = data["step"], data["eigenvalues"], data["parts"]
    found = np.stack(
        [
            np.exp(fits.semilog_slope(step, values[..., i], fits.between(step, *window)))
            for i, window in enumerate(WINDOWS)
        ]
    )
    order = np.stack(
        [
            fits.first_below(step, -values[..., i], -0.5 * sigma)
            for i, sigma in enumerate(setting.EIGENVALUES)
        ]
    )
    residual = parts[..., 1]
    rise = np.max(residual[:, 1:] / residual[:, :-1])
    return [
        within(
            "growth of each eigenvalue over (1 + eta sigma_i)^2",
            found / growth()[:, None],
            0.995,
            1.005,
        ),
        at_most(
            "steps by which a larger eigenvalue is learned later", np.max(order[:-1] - order[1:]), 0
        ),
        at_most("residual over the one before", rise, 1 + 1e-9),
    ]


def draw(data: dict) -> Figure:
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.6, 3.6), layout="constrained")
    step = data["step"]
    plotting.curves(left, step, data["error"], label="error", index=6)
    for i in range(setting.RANK):
        values = data["eigenvalues"][..., i]
        plotting.curves(left, step, values, label=rf"$\lambda_{i + 1}(SS^T)$", index=i)
        line = np.arange(*WINDOWS[i])
        level = np.median(values[:, step == line[0]])
        label = r"$(1+\eta\sigma_i)^{2t}$" if i == 0 else None
        plotting.theory_line(left, line, level * growth()[i] ** (line - line[0]), label=label)
    plotting.finish(left, xlabel="step t", ylabel="norm", title="Larger eigenvalues first")
    plotting.curves(right, step, data["error"], label="error", index=6)
    for i, name in enumerate(PARTS):
        plotting.curves(right, step, data["parts"][..., i], label=name, index=i)
    plotting.finish(right, xlabel="step t", ylabel="norm", title="Parts of the error")
    return figure
