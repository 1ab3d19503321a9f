"""Every ensemble against its matrices, one after the other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from cases import ENSEMBLES, KEY, P, normal

from recovery import operators


@pytest.fixture(params=ENSEMBLES.values(), ids=ENSEMBLES.keys(), scope="module")
def ensemble(request):
    return request.param


def matrices_of(ensemble) -> np.ndarray:
    """(p, m, n), from the product with each unit signal."""
    units = jnp.eye(ensemble.shape[2], dtype=ensemble.dtype)
    return np.moveaxis(np.asarray(jax.jit(lambda e, x: e.forward(x))(ensemble, units)), 0, -1)


def test_all_products_are_those_of_the_matrices(ensemble):
    p, m, n = ensemble.shape
    matrices = matrices_of(ensemble)
    assert matrices.shape == (p, m, n)
    exact_mean = not isinstance(ensemble, operators.SeededGaussianEnsemble)

    @jax.jit
    def products(ensemble, x, u, each_x, each_u):
        return (
            ensemble.forward(x),
            ensemble.adjoint(u),
            ensemble.forward_each(each_x),
            ensemble.adjoint_each(each_u),
            ensemble.column_norms,
            ensemble.mean_square,
        )

    x, u = normal(1, (2, n), ensemble.dtype), normal(2, (2, p, m), ensemble.dtype)
    each_x, each_u = normal(3, (p, n), ensemble.dtype), normal(4, (p, m), ensemble.dtype)
    expected = (
        np.einsum("lij,sj->sli", matrices, x),
        np.einsum("lij,sli->sj", matrices.conj(), u),
        np.einsum("lij,lj->li", matrices, each_x),
        np.einsum("lij,li->lj", matrices.conj(), each_u),
        np.linalg.norm(matrices, axis=1),
        np.mean(np.abs(matrices) ** 2) if exact_mean else ensemble.mean_square,
    )
    tolerance = 200 * float(jnp.finfo(ensemble.dtype).eps)
    for found, wanted in zip(products(ensemble, x, u, each_x, each_u), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=10 * tolerance)
        assert found.shape == wanted.shape
    for found in (ensemble.forward(x[:1]), ensemble.forward_each(each_x)):
        assert found.dtype == ensemble.dtype


def test_one_signal_is_seen_as_one_of_several():
    ensemble = ENSEMBLES["dense-complex128"]
    x, u = normal(1, (2, 5), jnp.complex128), normal(2, (2, *ensemble.shape[:2]), jnp.complex128)
    np.testing.assert_allclose(ensemble.forward(x)[:1], ensemble.forward(x[:1]), rtol=1e-12)
    np.testing.assert_allclose(ensemble.adjoint(u)[:1], ensemble.adjoint(u[:1]), rtol=1e-12)


def test_masked_fourier_is_the_transform_with_entries_of_modulus_one():
    ensemble = operators.MaskedFourier.random(KEY, P, (3, 2), (4, 2))
    rows, columns = (np.exp(-2j * np.pi * np.outer(range(n), range(n)) / n) for n in (4, 2))
    transform = np.einsum("ab,cd->acbd", rows, columns)[:, :, :3, :].reshape(8, 6)
    expected = transform * np.asarray(ensemble.masks).reshape(P, 1, 6)
    np.testing.assert_allclose(matrices_of(ensemble), expected, atol=1e-13)


def test_tall_fourier_with_masks_of_modulus_one_is_an_isometry():
    ensemble = operators.MaskedFourier.random(KEY, P, (3, 2), (4, 2))
    x = normal(1, (1, 6), jnp.complex128)
    np.testing.assert_allclose(ensemble.adjoint(ensemble.forward(x)), P * 8 * x, rtol=1e-12)


def test_masked_hadamard_takes_columns_of_the_hadamard_matrix():
    ensemble = operators.MaskedHadamard.random(KEY, P, 8, 5)
    chosen = scipy.linalg.hadamard(8)[:, np.asarray(ensemble.columns)]
    expected = np.moveaxis(chosen, 1, 0) * np.asarray(ensemble.masks)[:, None, :]
    np.testing.assert_allclose(matrices_of(ensemble), expected, atol=1e-13)
    assert all(len(set(columns)) == 5 for columns in np.asarray(ensemble.columns).tolist())


def test_seeded_matrices_are_the_same_in_both_precisions_and_standard_gaussian():
    single, double = (
        operators.SeededGaussianEnsemble(KEY, 1, 100, 100, dtype=dtype).matrix(jnp.asarray(0))
        for dtype in (jnp.float32, jnp.float64)
    )
    np.testing.assert_array_equal(single.astype(jnp.float64), double)
    # Five standard deviations of the sample moments.
    assert abs(float(jnp.mean(double))) < 5 / 100
    assert abs(float(jnp.mean(double**2)) - 1) < 5 * 2**0.5 / 100
    drawn = operators.SeededGaussianEnsemble(KEY, 1, 100, 100, dtype=complex).matrix(jnp.asarray(0))
    assert abs(float(jnp.mean(jnp.abs(drawn) ** 2)) - 1) < 5 / 100
    assert abs(complex(jnp.mean(drawn**2))) < 5 * 2**0.5 / 100


def test_a_seeded_ensemble_of_eight_gigabytes_needs_the_memory_of_a_few_matrices():
    ensemble = operators.SeededGaussianEnsemble(KEY, 1024, 1024, 1024)
    x, u = jax.ShapeDtypeStruct((1, 1024), float), jax.ShapeDtypeStruct((1, 1024, 1024), float)
    products = ((lambda e, x: e.forward(x), x), (lambda e, u: e.adjoint(u), u))
    for product, argument in products:
        memory = jax.jit(product).lower(ensemble, argument).compile().memory_analysis()
        assert memory.temp_size_in_bytes < 5 * 8 * 1024**2
