"""Bounds on the distance of two groups: a search for violations, and where they are attained."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment, linprog
from scipy.spatial.distance import cdist

from genvec.collections.bounds import (
    BOUNDS,
    Groups,
    all_bounds,
    between_medoids,
    margin,
    mean_distance,
    theorem,
    violated,
    wasserstein,
    wasserstein_1,
)

SHAPES = (((4, 4, 3), 1), ((2, 3, 4), 2), ((1, 5, 2), 3), ((5, 5, 5), 7))  # sizes, dimension
DRAWS = 2_600  # of each: 10,400 in all


def line(*points):
    return jnp.array(points, jnp.float32)[:, None]


def random_groups(generator, sizes, dimension, num):
    """Groups near to each other and far, tight and wide, heavy-tailed, with objects that repeat."""
    parts = []
    for size in sizes:
        width = 10.0 ** generator.uniform(-2, 1, (num, 1, 1))
        x = generator.standard_t(2, (num, size, dimension)) * width
        x += generator.standard_normal((num, 1, dimension)) * 10.0 ** generator.uniform(
            -2, 1, (num, 1, 1)
        )
        repeated = generator.integers(size, size=(num, size))
        x = np.where(
            generator.random((num, 1, 1)) < 0.3, np.take_along_axis(x, repeated[..., None], 1), x
        )
        parts.append(x)
    return Groups(*parts)


@pytest.fixture(scope="module")
def searched():
    """Name → (bounds, true values, tolerances) of all random configurations."""
    generator, found = np.random.default_rng(0), []
    measure = jax.jit(jax.vmap(all_bounds))
    for sizes, dimension in SHAPES:
        groups = random_groups(generator, sizes, dimension, DRAWS)
        largest = np.max([np.abs(x).max(axis=(1, 2)) for x in groups], axis=0)
        with jax.enable_x64(True):
            found.append((jax.device_get(measure(groups)), 1e-7 * largest))
    values = {
        name: tuple(np.concatenate([part[name][side] for part, _ in found]) for side in (0, 1))
        for name in BOUNDS
    }
    return values, np.concatenate([tolerance for _, tolerance in found])


@pytest.mark.parametrize("name", BOUNDS)
def test_no_random_configuration_breaks_a_bound(searched, name):
    values, tolerance = searched
    bound, true = values[name]
    assert len(bound) >= 10_000 and bound.dtype == np.float64
    assert np.isfinite(bound).all() and np.isfinite(true).all()
    assert not violated(name, bound, true, tolerance).any()


def test_the_search_finds_what_is_not_a_bound(searched):
    values, tolerance = searched
    half = values["theorem"][0] / 2  # max{m, max d(a, n)}, without the 2
    assert violated("theorem", half, values["theorem"][1], tolerance).any()
    medoids = values["medoid_gap"][1]
    assert violated("wasserstein", values["wasserstein"][0], medoids, tolerance).any()
    assert violated("mean_distance", values["mean_distance"][0], medoids, tolerance).any()
    means = values["mean_distance"][1]
    assert violated("largest_gap", values["wasserstein"][0], means, tolerance).any()


def test_the_chain_of_upper_bounds(searched):
    values, tolerance = searched
    chain = ["from_all_distances", "wasserstein", "mean_distance", "margin_and_nearest", "theorem"]
    for sharper, looser in itertools.pairwise(chain):
        assert (values[sharper][0] <= values[looser][0] + tolerance).all()


def test_the_identity_is_one(searched):
    values, tolerance = searched
    bound, true = values["from_all_distances"]
    # the difference of squares is exact to 1e-16 of them, its root where it is near 0 to 1e-8
    assert (np.abs(bound - true) <= tolerance).all()
    assert (np.abs(values["wasserstein"][0] - true) > tolerance).any()


HEIGHT = 3.0
ATTAINED = {
    "theorem": (line(0), line(2), line(1), 2),
    "margin_and_nearest": (line(0), line(2), line(1), 2),
    "mean_distance": (line(0), line(1, 3), line(9), 2),
    "wasserstein": (line(0, 5), line(2, 7), line(9), 2),
    "from_all_distances": (line(0, 5), line(2, 9), line(9), 3),
    "largest_gap": (line(0, 2), line(5, 7), line(9), 5),
    "negative_wasserstein": (line(0, 5), line(1), line(2, 7), 2),
    "negative_margin": (
        jnp.array([[-1.0, 0], [1, 0]]),
        jnp.array([[8.0, 8]]),
        jnp.array([[0, HEIGHT]]),
        HEIGHT,
    ),
    "medoid_theorem": (line(0), line(2), line(1), 2),
    "medoid_nearest": (line(0), line(2), line(1), 2),
    "medoid_wasserstein": (line(0, 0, 1), line(1, 2, 2), line(9), 2),
    "medoid_gap": (line(-1, 0, 0), line(2, 2, 3), line(9), 2),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_every_bound_is_attained(name):
    *groups, value = ATTAINED[name]
    bound, true = all_bounds(Groups(*groups))[name]
    assert float(bound) == pytest.approx(value, abs=1e-5)
    assert float(true) == pytest.approx(value, abs=1e-5)


def test_medoids_can_be_farther_apart_than_the_mean_distance():
    groups = Groups(line(0, 0, 0, 1, 1), line(0, 0, 1, 1, 1), line(5))
    assert float(between_medoids(groups)) == 1
    assert float(mean_distance(groups)) == pytest.approx(13 / 25)
    assert float(wasserstein(groups)) == pytest.approx(1 / 5)


def test_margin_and_theorem_against_loops():
    generator = np.random.default_rng(3)
    x, y, z = (generator.normal(size=(n, 3)) for n in (4, 5, 3))
    d = np.linalg.norm
    m = max(d(a - p) - d(a - n) for a in x for p in y for n in z)
    groups = Groups(*(jnp.asarray(g, jnp.float32) for g in (x, y, z)))
    assert float(margin(groups)) == pytest.approx(m, abs=1e-5)
    largest = max(d(a - n) for a in x for n in z)
    assert float(theorem(groups)) == pytest.approx(2 * max(m, largest), abs=1e-5)


@pytest.mark.parametrize("sizes", [(5, 5), (2, 3), (4, 6), (1, 7)])
def test_wasserstein_against_a_linear_program(sizes):
    generator = np.random.default_rng(sum(sizes))
    x, y = (generator.normal(size=(n, 2)) for n in sizes)
    cost = cdist(x, y)
    rows = np.kron(np.eye(len(x)), np.ones(len(y)))
    columns = np.kron(np.ones(len(x)), np.eye(len(y)))
    mass = np.concatenate([np.full(len(x), 1 / len(x)), np.full(len(y), 1 / len(y))])
    exact = linprog(cost.ravel(), A_eq=np.vstack([rows, columns]), b_eq=mass).fun
    ours = wasserstein_1(jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32))
    assert float(ours) == pytest.approx(exact, rel=1e-4)
    if len(x) == len(y):
        matched = cost[linear_sum_assignment(cost)].mean()
        assert float(ours) == pytest.approx(matched, rel=1e-4)
        assert float(ours) < cost.mean() - 0.01  # not any matching will do


def test_bounds_grow_with_the_embedding():
    generator = np.random.default_rng(5)
    groups = Groups(*(jnp.asarray(generator.normal(size=(4, 3)), jnp.float32) for _ in range(3)))
    larger = Groups(*(1000 * g for g in groups))
    for name, (bound, true) in all_bounds(groups).items():
        of_larger = all_bounds(larger)[name]
        np.testing.assert_allclose(of_larger, (1000 * bound, 1000 * true), rtol=1e-3, atol=1)


def test_what_has_no_bounds():
    with pytest.raises(ValueError, match=r"groups of 0, 1, 1; each needs objects"):
        all_bounds(Groups(jnp.zeros((0, 1)), line(1), line(2)))
    with pytest.raises(ValueError, match=r"vectors of 1, 2, 1 numbers"):
        all_bounds(Groups(line(1), jnp.zeros((1, 2)), line(2)))
    with pytest.raises(ValueError, match=r"groups of 37 and 41 objects need 1517 copies"):
        wasserstein_1(jnp.zeros((37, 1)), jnp.zeros((41, 1)))
