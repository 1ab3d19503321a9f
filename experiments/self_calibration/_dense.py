"""The linear system of self-calibration written out as a matrix, in NumPy, and draws for it."""

import numpy as np
from scipy.linalg import dft


def system_matrix(y: np.ndarray, matrices: np.ndarray, model: str) -> np.ndarray:
    """`[diag(y_l) .. -A_l ..]`, a block of rows for each shot, for `z = [s; x]`.

    Args:
        y: (p, m), all shots.
        matrices: (p, m, n), for snapshots (1, m, n).
        model: as `recovery.problems.self_calibration` has it.
    """
    (p, m), n = y.shape, matrices.shape[2]
    gains = np.concatenate([np.diag(row) for row in y])
    if model == "repeated":
        return np.hstack([gains, -matrices.reshape(p * m, n)])
    blocks = np.zeros((p, m, p, n), matrices.dtype)
    blocks[np.arange(p), :, np.arange(p)] = -matrices
    return np.hstack([gains, blocks.reshape(p * m, p * n)])


def null_space(matrix: np.ndarray, threshold: float) -> tuple[int, float]:
    """Dimension of the null space, and the second smallest singular value over the largest."""
    values = np.linalg.svd(matrix, compute_uv=False)
    values = np.append(values, np.zeros(max(0, matrix.shape[1] - len(values)))) / values[0]
    return int(np.sum(values < threshold)), float(values[-2])


def gaussian(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Complex entries of mean square one."""
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2)


def masked_fourier(rng: np.random.Generator, p: int, m: int, n: int) -> np.ndarray:
    """(p, m, n): the first rows or columns of a Fourier matrix, with random signs of columns."""
    return dft(max(m, n))[:m, :n] * rng.choice([-1, 1], (p, 1, n))
