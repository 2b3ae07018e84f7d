"""The sphere and the simplex, against scipy and closed forms, for numpy and for JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import cdist

from genvec import geometry

RANDOM = np.random.default_rng(0)


def test_sphere_and_simplex_are_inverse_in_the_kind_and_precision_given():
    p = RANDOM.dirichlet([0.7, 0.7, 0.7], 20)
    d = geometry.to_sphere(p)
    assert isinstance(d, np.ndarray) and d.dtype == np.float64
    np.testing.assert_allclose((d**2).sum(axis=1), 1, rtol=1e-14)
    np.testing.assert_allclose(geometry.to_simplex(d), p, rtol=1e-13)
    in_jax = geometry.to_sphere(jnp.asarray(p))
    assert isinstance(in_jax, jax.Array) and in_jax.dtype == jnp.float32
    np.testing.assert_allclose(in_jax, d, rtol=1e-6)
    np.testing.assert_allclose(geometry.to_sphere(np.array([3.0, 4.0])), [0.6, 0.8])


@pytest.mark.parametrize("degrees", [0.0, 1e-7, 1.0, 45.0, 90.0, 179.9999, 180.0])
def test_angle_of_known_size(degrees):
    a = 5.0 * np.array([1.0, 0.0])
    b = np.array([np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))])
    np.testing.assert_allclose(geometry.angle_deg(a, b), degrees, rtol=1e-9, atol=1e-12)
    if degrees == 1e-7:  # where the textbook formula has no digit left
        assert np.rad2deg(np.arccos(b[0])) != pytest.approx(degrees, rel=0.1)


def test_angle_inside_jit_is_that_of_numpy():
    a, b = RANDOM.uniform(size=(2, 10, 4)).astype(np.float32)
    inside = jax.jit(geometry.angle_deg)(a, b)
    np.testing.assert_allclose(inside, geometry.angle_deg(a, b), rtol=1e-4)


def test_distances_against_scipy_with_zero_gradient_at_zero():
    a, b = RANDOM.normal(size=(5, 3)), RANDOM.normal(size=(7, 3))
    np.testing.assert_allclose(geometry.pairwise_distances(a, b), cdist(a, b), rtol=1e-13)
    np.testing.assert_allclose(geometry.squared_distances(a, b), cdist(a, b) ** 2, rtol=1e-12)
    a = jnp.asarray(a)

    def total(x):
        return geometry.pairwise_distances(x, x).sum()

    assert jnp.all(jnp.isfinite(jax.grad(total)(a))) and jnp.any(jax.grad(total)(a) != 0)
    np.testing.assert_array_equal(jax.grad(total)(jnp.ones((3, 2))), 0)
