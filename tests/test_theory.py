import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import KEY

from recovery import theory


def simulated_scaling(norm, noise_std, outlier_fraction, outlier_std) -> float:
    """`E <Q, X / |X|_F>` = E sign(|X| z - s) z, z standard Gaussian, from four million draws."""
    count = 4_000_000
    keys = jax.random.split(KEY, 4)
    z, noise, outlier = (jax.random.normal(key, (count,)) for key in keys[:3])
    hit = jax.random.bernoulli(keys[3], outlier_fraction, (count,))
    s = noise_std * noise + jnp.where(hit, outlier_std * outlier, 0)
    return float(jnp.mean(jnp.sign(norm * z - s) * z))


@pytest.mark.parametrize("norm", [0.5, 11.2])
@pytest.mark.parametrize(
    ("noise_std", "outlier_fraction"), [(0.0, 0.0), (0.0, 0.3), (1.0, 0.0), (0.5, 0.6)]
)
def test_sign_rip_scaling_agrees_with_simulation(norm, noise_std, outlier_fraction):
    expected = simulated_scaling(norm, noise_std, outlier_fraction, 10.0)
    found = theory.sign_rip_scaling(
        norm, noise_std=noise_std, outlier_fraction=outlier_fraction, outlier_std=10.0
    )
    assert abs(float(found) - expected) < 2e-3


def test_all_outliers_are_noise():
    # Theorem 10 at p = 1 is theorem 11.
    norms = jnp.array([0.3, 2.0])
    nearly_all = theory.sign_rip_scaling(norms, outlier_fraction=1 - 1e-12, outlier_std=0.7)
    np.testing.assert_allclose(nearly_all, theory.sign_rip_scaling(norms, noise_std=0.7), rtol=1e-9)


def test_scaling_of_samples_agrees_with_that_of_their_law():
    s = 3.0 * jax.random.normal(KEY, (400_000,))
    hit = jax.random.bernoulli(jax.random.key(1), 0.4, s.shape)
    norms = jnp.array([0.5, 4.0])
    found = theory.sign_rip_scaling_of(norms, jnp.where(hit, s, 0))
    expected = theory.sign_rip_scaling(norms, outlier_fraction=0.4, outlier_std=3.0)
    np.testing.assert_allclose(found, expected, atol=4e-3)


@pytest.mark.parametrize(
    ("values", "factor"),
    [((10, 5, 1), 2.3), ((4, 2, 1), 2.0), ((3, 3, 3), 1.0), ((1, 10, 5), 2.3)],
)
def test_travel_counts_the_stages(values, factor):
    np.testing.assert_allclose(
        theory.travel_needed(values, 1e-15), factor * np.log(1e15), rtol=1e-12
    )


def test_shortest_ratio_gives_the_travel_asked_for():
    rho = theory.shortest_ratio(0.5, (10, 5, 1), 1e-15, margin=1.5)
    available = theory.travel_available(0.5, rho)
    np.testing.assert_allclose(available, 1.5 * theory.travel_needed((10, 5, 1), 1e-15), rtol=1e-12)


def test_impossible_plans_are_refused():
    for build, sentence in (
        (lambda: theory.shortest_ratio(0.5, (1.0,), 0.9), "take a smaller initial step"),
        (lambda: theory.travel_needed((1.0, 0.0), 0.1), "numbers above 0"),
        (lambda: theory.travel_needed((1.0,), 1.0), "below 1"),
        (lambda: theory.sign_rip_scaling(1.0, outlier_fraction=1.0), "below 1"),
        (lambda: theory.sign_rip_scaling(0.0), "norm must be above 0"),
        (lambda: theory.shortest_ratio(-0.5, (1.0,), 0.1), "initial must be above 0"),
    ):
        with pytest.raises(ValueError, match=sentence):
            build()
