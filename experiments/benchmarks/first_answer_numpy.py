"""The cases of `first_answer.py` by the same methods in NumPy, as one would write them at once."""

import numpy as np

from experiments.benchmarks import first_answer_data
from experiments.benchmarks.first_answer_cases import Clock
from experiments.benchmarks.first_answer_data import Entries, deviation, gain_error

Answer = dict[str, float]
Pair = tuple[np.ndarray, np.ndarray]


# Completion by alternating least squares; twice as fast as scaled gradient descent on `completion`


def completion(clock: Clock) -> Answer:
    entries, truth = first_answer_data.completion()
    left, right = fit(clock, entries, 10, tolerance=1e-6, max_steps=100)
    return {"error": first_answer_data.relative_error(left, right, truth)}


def small_completion(clock: Clock) -> Answer:
    entries, truth = first_answer_data.small_completion()
    left, right = fit(clock, entries, 3, tolerance=1e-10, max_steps=100)
    with clock("answer"):
        np.linalg.norm((left @ right.T)[entries.rows, entries.cols] - entries.values)
        np.sum(left[[0, 1]] * right[[5, 2]], axis=1)
        np.argsort(-right @ left[0])[:3]
    return {"error": first_answer_data.relative_error(left, right, truth)}


def ratings(clock: Clock) -> Answer:
    training, held_out = first_answer_data.ratings()
    mean = training.values.mean()
    centred = training._replace(values=training.values - mean)
    left, right = fit(clock, centred, 20, ridge=10.0, biases=True, max_steps=20)
    with clock("answer"):
        predicted = mean + np.sum(left[held_out.rows] * right[held_out.cols], axis=1)
        scores = right @ left[0]
        scores[training.cols[training.rows == 0]] = -np.inf
        np.argsort(-scores)[:10]
    return {"error": deviation(predicted, held_out.values)}


def cross_validation(clock: Clock) -> Answer:
    data = first_answer_data.validation()
    ranks = [1, 2, 3, 4]
    errors = np.array(
        [held_out_errors(clock, data.entries, data.fold != fold, ranks) for fold in range(5)]
    )
    with clock("another mask"):
        (another,) = held_out_errors(Clock(), data.others, data.kept, [3])
    return {"error": max(errors.mean(axis=0).min(), another)}


def held_out_errors(
    clock: Clock, entries: Entries, keep: np.ndarray, ranks: list[int]
) -> list[float]:
    training, held_out = entries.kept(keep), entries.kept(~keep)
    errors = []
    for rank in ranks:
        left, right = fit(clock, training, rank, tolerance=1e-6, ridge=1e-3, max_steps=60)
        with clock("answer"):
            predicted = np.sum(left[held_out.rows] * right[held_out.cols], axis=1)
        errors.append(deviation(predicted, held_out.values))
    return errors


def fit(
    clock: Clock,
    entries: Entries,
    rank: int,
    *,
    tolerance: float = 0.0,
    ridge: float = 0.0,
    biases: bool = False,
    max_steps: int,
) -> Pair:
    with clock("problem"):
        mask, filled = np.zeros(entries.shape), np.zeros(entries.shape)
        mask[entries.rows, entries.cols] = 1
        filled[entries.rows, entries.cols] = entries.values
    with clock("start"):
        left, right = spectral(filled * mask.size / entries.values.size, rank)
    with clock("solve"):
        ones = (None, None)
        if biases:  # [U, b, 1] and [V, 1, c]
            ones = rank + 1, rank
            left = np.column_stack([left, np.zeros(len(left)), np.ones(len(left))])
            right = np.column_stack([right, np.ones(len(right)), np.zeros(len(right))])
        for _ in range(max_steps):
            right = half_step(mask.T, filled.T, left, ridge, ones[1])
            left = half_step(mask, filled, right, ridge, ones[0])
            residual = np.linalg.norm(mask * (left @ right.T) - filled)
            if residual < tolerance * np.linalg.norm(filled):
                break
    return left, right


def half_step(
    mask: np.ndarray, filled: np.ndarray, other: np.ndarray, ridge: float, one: int | None
) -> np.ndarray:
    """The best rows for the other factor, with the number of the column of ones, if any."""
    design, targets = other, filled
    if one is not None:
        design, targets = np.delete(other, one, axis=1), filled - mask * other[:, one]
    size = design.shape[1]
    first, second = np.triu_indices(size)
    gram = np.empty((len(mask), size, size))
    packed = mask @ (design[:, first] * design[:, second])
    gram[:, first, second] = gram[:, second, first] = packed
    rows = np.linalg.solve(gram + ridge * np.eye(size), (targets @ design)[..., None])[..., 0]
    return rows if one is None else np.insert(rows, one, 1, axis=1)


def spectral(matrix: np.ndarray, rank: int) -> Pair:
    """Its best approximation, by subspace iteration."""
    width = min(rank + 10, *matrix.shape)
    u = matrix @ np.random.default_rng(1).standard_normal((matrix.shape[1], width))
    for _ in range(12):
        u = np.linalg.qr(matrix @ np.linalg.qr(matrix.T @ np.linalg.qr(u)[0])[0])[0]
    w, s, vh = np.linalg.svd(u.T @ matrix, full_matrices=False)
    root = np.sqrt(s[:rank])
    return u @ w[:, :rank] * root, vh[:rank].T * root


# Descent on dense measurements


def sensing(clock: Clock) -> Answer:
    rng = np.random.default_rng(0)
    n1, n2, m = 40, 30, 1500
    with clock("problem"):
        stack = rng.standard_normal((m, n1 * n2))
        u, v = (np.linalg.qr(rng.standard_normal((n, 3)))[0] for n in (n1, n2))
        truth = u @ v.T
        y = stack @ truth.reshape(-1)
    with clock("start"):
        left = 0.5 / np.sqrt(n1) * rng.standard_normal((n1, 6))
        right = 0.5 / 3 / np.sqrt(n2) * rng.standard_normal((n2, 6))
    with clock("solve"):
        for step in range(5000):
            if step % 100 == 0:
                first_answer_data.relative_error(left, right, truth)  # the trace of errors
            residual = stack @ (left @ right.T).reshape(-1) - y
            if np.linalg.norm(residual) < 1e-9 * np.linalg.norm(y):
                break
            back = (residual @ stack).reshape(n1, n2) / m
            left, right = left - 0.3 * back @ right, right - 0.3 * back.T @ left
    return {"error": first_answer_data.relative_error(left, right, truth)}


def robust(clock: Clock) -> Answer:
    rng = np.random.default_rng(0)
    n, m = 20, 500
    with clock("problem"):
        stack = rng.standard_normal((m, n * n))
        u = np.linalg.qr(rng.standard_normal((n, 3)))[0]
        truth = u * [10.0, 5.0, 1.0] @ u.T
        outliers = (rng.random(m) < 0.1) * 10 * rng.standard_normal(m)
        y = stack @ truth.reshape(-1) + outliers
    with clock("start"):
        back = (np.sign(y) @ stack).reshape(n, n) / m
        w, vectors = np.linalg.eigh((back + back.T) / 2)
        u = 1e-10 * vectors * np.sqrt(np.maximum(w, 0))
    with clock("solve"):
        # The travel to singular values 10 and 1 is 1.9 logarithms, with a margin of 1.75.
        rho = 1 - 1 / (1.75 * 1.9 * np.log(1e10))
        for step in range(3000):
            residual = stack @ (u @ u.T).reshape(-1) - y
            q = (np.sign(residual) @ stack).reshape(n, n) / m
            u = u - 0.5 * rho**step / np.linalg.norm(q, 2) * (q + q.T) @ u
    return {"error": first_answer_data.relative_error(u, u, truth)}


# Gains


def blind_gains(clock: Clock) -> Answer:
    """Two passes over the matrices a step: the images of the signal follow by recursion."""
    rng = np.random.default_rng(0)
    m, n, p = 64, 32, 16
    with clock("problem"):
        stack = rng.standard_normal((p * m, n))
        spread = rng.uniform(-1, 1, m)
        spread -= spread.mean()
        true = 1 + 0.5 * spread / np.abs(spread).max()
        signal = rng.standard_normal(n)
        y = true * (stack @ (signal / np.linalg.norm(signal))).reshape(p, m)
    with clock("start"):
        x, g = y.reshape(-1) @ stack / (m * p), np.ones(m)
    with clock("solve"):
        u = (stack @ x).reshape(p, m)
        for _ in range(2000):
            r = g * u - y
            if np.linalg.norm(r) < 1e-9 * np.linalg.norm(y):
                break
            d = (g * r).reshape(-1) @ stack
            e = np.sum(u * r, axis=0)
            e -= e.mean()
            v = (stack @ d).reshape(p, m)
            mu_x, mu_g = d @ d / np.sum((g * v) ** 2), e @ e / np.sum((e * u) ** 2)
            x, g, u = x - mu_x * d, g - mu_g * e, u - mu_x * v
    return {"error": gain_error(g, true)}


def linear_gains(clock: Clock) -> Answer:
    """The signals are eliminated: `sum_l |P diag(y_l) s|^2`, P off the range of the matrix."""
    data = first_answer_data.shots()
    with clock("problem"):
        basis = np.linalg.qr(data.matrix)[0]
        off = np.eye(len(basis)) - basis @ basis.conj().T
        normal = off * (data.y.conj().T @ data.y)
    with clock("check"):
        np.linalg.eigvalsh(normal)
    with clock("solve"):
        row = np.ones(len(basis))
        gains = 1 / np.linalg.solve(normal + np.outer(row, row), row)
        gains /= np.abs(gains).mean()
    return {"error": gain_error(gains, data.gains)}
