"""Snapshots of a sensor array from a file; every refusal names what is wrong with it."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.triplets import check_file
from recovery import operators

MODELS = ("repeated", "diverse", "snapshots")
NEEDED = {
    "repeated": "(p, m, n) and (num_signals p, m) are needed: as many sensors, and all p snapshots "
    "of each signal; one matrix (m, n) needs --model snapshots",
    "diverse": "(p, m, n) and (p, m) are needed: as many sensors, and a matrix for each shot",
    "snapshots": "(m, n) and (shots, m) are needed: one matrix, and as many sensors",
}
ARRAYS = ("y", "A", "seed", "signal_size", "num_signals", "weights")


@dataclass(frozen=True)
class Data:
    """What the file holds; measurements of weight 0 are 0."""

    y: np.ndarray
    weights: np.ndarray
    ensemble: operators.AbstractEnsemble
    num_infinite: int
    model: str


def need(condition: Any, sentence: str) -> None:
    if not condition:
        raise ValueError(sentence)


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    check_file(path)
    wanted = "write it with numpy.savez(path, y=..., A=...), arrays of numbers"
    need(zipfile.is_zipfile(path), f"{path} is no .npz file: {wanted}.")
    arrays, name = {}, "it"
    try:
        with np.load(path) as file:
            held = ", ".join(file) or "nothing"
            for name in (x for x in ARRAYS if x in file):
                arrays[name] = np.asarray(file[name])
                need(arrays[name].dtype.kind in "biufc", f"its dtype is {arrays[name].dtype}")
    except Exception as error:  # damaged archives fail in many ways
        raise ValueError(f"{path}: {name} cannot be read ({error}); {wanted}.") from error
    need("y" in arrays, f"{path} has no array 'y' (shots, sensors); it holds {held}.")
    one = ("A" in arrays) != ("seed" in arrays)
    either = "A (snapshots, sensors, signal), or seed with signal_size"
    need(one, f"{path} holds {held}, but one of both is needed: {either}.")
    return arrays


def read_data(path: Path, model: str) -> Data:
    arrays = load_arrays(path)
    y = arrays["y"]
    shape = f"y has shape {y.shape}"
    need(y.ndim == 2 and y.size, f"{shape}, but (shots, sensors) is needed, a row for each shot.")
    if model != "repeated":
        arrays = with_own_signals(arrays, model)
    finite = np.isfinite(y)
    weights = np.where(finite, checked_weights(arrays.get("weights", np.ones(y.shape)), y), 0)
    is_complex = any(np.iscomplexobj(arrays[name]) for name in ("y", "A") if name in arrays)
    dtype = np.dtype(complex if is_complex else float)
    if "A" in arrays:
        ensemble = given_matrices(arrays, dtype, NEEDED[model])
    else:
        ensemble = drawn_matrices(arrays, dtype)
    if "A" in arrays:  # a row of zeros shows its sensor nothing
        rows = np.any(arrays["A"] != 0, axis=2)
        weights = weights * np.tile(rows, (len(y) // len(rows), 1))
    y = np.where(weights > 0, y, 0).astype(dtype)
    return Data(y, weights, ensemble, int(np.sum(~finite)), model)


def with_own_signals(arrays: dict[str, np.ndarray], model: str) -> dict[str, np.ndarray]:
    """As if all shots were of one signal through p matrices (diverse), or each of one (snapshots).

    So the shapes are right; who sees which signal, the operator says.
    """
    shots = len(arrays["y"])
    given = arrays.get("num_signals", np.asarray(shots))
    mend = f"with --model {model} each of the {shots} shots has a signal of its own: leave it out"
    need(given.ndim == 0 and given == shots, f"num_signals is {given}, but {mend}.")
    arrays = arrays | {"num_signals": np.asarray(1 if model == "diverse" else shots)}
    if model == "snapshots" and "A" in arrays and arrays["A"].ndim == 2:
        arrays["A"] = arrays["A"][None]
    return arrays


def checked_weights(weights: np.ndarray, y: np.ndarray) -> np.ndarray:
    fits = weights.shape == y.shape and not np.iscomplexobj(weights)
    given = f"weights are {weights.dtype}{list(weights.shape)}"
    need(fits, f"{given}, but real ones are needed, one for each entry of y {list(y.shape)}.")
    bad = weights[~((weights >= 0) & (weights < np.inf))]
    mend = "give factors of the residuals, and 0 for what shall not count"
    need(not bad.size, f"{bad.size} weights are negative or not finite, {bad[:1]} first: {mend}.")
    return weights


def given_matrices(
    arrays: dict[str, np.ndarray], dtype: np.dtype, needed: str
) -> operators.AbstractEnsemble:
    y, matrices = arrays["y"], arrays["A"]
    fits = matrices.ndim == 3 and matrices.size and matrices.shape[1] == y.shape[1]
    count = arrays.get("num_signals", len(y) // len(matrices) if fits else 1)
    need(
        fits and np.all(len(y) == count * len(matrices)),
        f"A has shape {matrices.shape} and y {y.shape} (num_signals {count}), but {needed}.",
    )
    bad = np.sum(~np.isfinite(matrices))
    need(bad == 0, f"A holds {bad} entries that are NaN or infinite, but it must be known.")
    return operators.DenseEnsemble(jnp.asarray(matrices, dtype))


def drawn_matrices(arrays: dict[str, np.ndarray], dtype: np.dtype) -> operators.AbstractEnsemble:
    shots, m = arrays["y"].shape
    given = {"num_signals": np.asarray(1), "signal_size": np.asarray("missing")} | arrays
    numbers = []
    for name, low in (("seed", 0), ("signal_size", 1), ("num_signals", 1)):
        x = given[name]
        whole = x.ndim == 0 and x.dtype.kind in "iu" and low <= x < 2**32
        need(whole, f"{name} is {x}, but with a seed a whole number from {low} on is needed.")
        numbers.append(int(x))
    seed, n, count = numbers
    need(shots % count == 0, f"y has {shots} shots, but {count} signals need a multiple of that.")
    key = jax.random.key(seed)
    return operators.SeededGaussianEnsemble(key, shots // count, m, n, dtype=dtype)
