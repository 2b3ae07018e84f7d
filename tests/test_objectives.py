"""Objectives against float64 loops, optax, scikit-learn and values worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from genvec.objectives import OBJECTIVES, objective_name, weighted_sum


def unit_rows(seed: int, num: int = 6, dim: int = 3) -> np.ndarray:
    rows = np.random.default_rng(seed).uniform(0.01, 1, (num, dim))
    return rows / np.sqrt((rows * rows).sum(axis=1, keepdims=True))


def loop_n_pair(x, d, temperature=1.0):
    total = 0.0
    for i in range(len(x)):
        others = [
            np.exp((np.dot(x[i], d[j]) - np.dot(x[i], d[i])) / temperature)
            for j in range(len(x))
            if j != i
        ]
        total += np.log(1 + sum(others))
    return total / len(x)


def loop_cosine(x, d):
    cosines = [
        np.dot(a, b) / np.sqrt(np.dot(a, a) * np.dot(b, b)) for a, b in zip(x, d, strict=True)
    ]
    return np.mean([1 - c for c in cosines])


def loop_triplet(x, d, margin=0.2):
    losses = []
    for i in range(len(x)):
        positive = sum((x[i] - d[i]) ** 2)
        worst = max(
            max(0.0, positive - sum((x[i] - d[j]) ** 2) + margin) for j in range(len(x)) if j != i
        )
        losses.append(worst)
    return np.mean(losses)


def loop_mse(x, d):
    return sum((x[i, k] - d[i, k]) ** 2 for i in range(len(x)) for k in range(x.shape[1])) / len(x)


def loop_distance(x, d):
    gaps = [
        np.linalg.norm(x[i] - x[j]) - np.linalg.norm(d[i] - d[j])
        for i in range(len(x))
        for j in range(i + 1, len(x))
    ]
    return np.mean(np.square(gaps))


LOOPS = {
    "n_pair": (loop_n_pair, [{}, {"temperature": 0.1}]),
    "cosine": (loop_cosine, [{}]),
    "triplet": (loop_triplet, [{}, {"margin": 1.5}]),
    "mse": (loop_mse, [{}]),
    "distance": (loop_distance, [{}]),
}


@pytest.mark.parametrize("name", OBJECTIVES)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_equals_a_float64_loop(name, seed):
    x, d = unit_rows(seed), unit_rows(seed + 1)
    loop, cases = LOOPS[name]
    for options in cases:
        value = OBJECTIVES[name](jnp.asarray(x), jnp.asarray(d), **options)
        assert value.shape == ()
        np.testing.assert_allclose(value, loop(x, d, **options), rtol=2e-5, atol=1e-6)


def test_option_values_matter():
    x, d = unit_rows(0), unit_rows(1)
    assert OBJECTIVES["n_pair"](x, d, temperature=0.1) != OBJECTIVES["n_pair"](x, d)
    assert OBJECTIVES["triplet"](x, d, margin=1.5) != OBJECTIVES["triplet"](x, d)


def test_values_by_hand():
    d = jnp.eye(2)
    swapped = d[::-1]
    by_hand = {  # x = d, and x = the other member's vector
        "n_pair": (np.log(1 + np.exp(-1)), np.log(1 + np.exp(1))),
        "cosine": (0.0, 1.0),
        "triplet": (0.0, 2 - 0 + 0.2),
        "mse": (0.0, 2.0),
    }
    for name, (own, other) in by_hand.items():
        np.testing.assert_allclose(OBJECTIVES[name](d, d), own, rtol=1e-6)
        np.testing.assert_allclose(OBJECTIVES[name](swapped, d), other, rtol=1e-6)
    # distance sees the one pair, √2 apart, and not which is which; a collapsed pair costs all of it
    np.testing.assert_allclose(OBJECTIVES["distance"](swapped, d), 0, atol=1e-12)
    np.testing.assert_allclose(OBJECTIVES["distance"](d[:1].repeat(2, 0), d), 2.0, rtol=1e-6)


def test_against_optax_and_scikit_learn():
    x, d = (jnp.asarray(unit_rows(seed)) for seed in (2, 3))
    labels = jnp.arange(len(x))
    entropy = optax.losses.softmax_cross_entropy_with_integer_labels(x @ d.T / 0.3, labels)
    n_pair = OBJECTIVES["n_pair"](x, d, temperature=0.3)
    np.testing.assert_allclose(n_pair, entropy.mean(), rtol=1e-5)
    odds = np.exp(np.asarray(x @ d.T, np.float64) / 0.3)
    likelihood = odds / odds.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(n_pair, log_loss(labels, likelihood), rtol=1e-5)

    cosines = optax.losses.cosine_distance(x, d)
    np.testing.assert_allclose(OBJECTIVES["cosine"](x, d), cosines.mean(), rtol=1e-5)
    squares = optax.losses.squared_error(x, d).sum(axis=1)
    np.testing.assert_allclose(OBJECTIVES["mse"](x, d), squares.mean(), rtol=1e-6)


def test_triplet_from_optax_distances_and_not_unsquared():
    x, d = (jnp.asarray(unit_rows(seed)) for seed in (4, 5))
    # optax has plain distances only; with the anchor as negative and no margin one comes out alone
    apart = jnp.stack(
        [
            optax.losses.triplet_margin_loss(x, jnp.roll(d, -s, 0), x, margin=0.0, eps=1e-12)
            for s in range(len(d))
        ]
    )
    squared = apart[0] ** 2 - jnp.min(apart[1:] ** 2, axis=0)
    expected = jnp.maximum(0, squared + 0.2).mean()
    np.testing.assert_allclose(OBJECTIVES["triplet"](x, d), expected, rtol=1e-4)
    plain = jnp.maximum(0, apart[0] - apart[1:].min(axis=0) + 0.2).mean()
    assert abs(plain - expected) > 1e-3  # the two forms differ on this fixture


@pytest.mark.parametrize("name", OBJECTIVES)
def test_right_assignment_beats_a_shuffled_one_and_ignores_batch_order(name):
    d = jnp.asarray(unit_rows(6))
    fn = OBJECTIVES[name]
    order = np.array([1, 2, 3, 4, 5, 0])
    assert fn(d, d) < fn(d[order], d) - 1e-3
    x = jnp.asarray(unit_rows(7))
    np.testing.assert_allclose(fn(x[order], d[order]), fn(x, d), rtol=1e-5)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_gradients_are_finite_where_points_meet_and_descend_elsewhere(name):
    d = jnp.asarray(unit_rows(8))
    grad_fn = jax.jit(jax.grad(OBJECTIVES[name]))
    collapsed = jnp.tile(d[:1], (len(d), 1))
    for x in (d, collapsed):
        assert jnp.all(jnp.isfinite(grad_fn(x, d)))
    x = jnp.asarray(unit_rows(9))
    step = x - 0.01 * grad_fn(x, d)
    assert OBJECTIVES[name](step, d) < OBJECTIVES[name](x, d)


def test_n_pair_does_not_overflow_at_a_small_temperature():
    d = jnp.eye(3)
    value, grad = jax.value_and_grad(OBJECTIVES["n_pair"])(d[::-1], d, temperature=1e-3)
    # rows 0 and 2 miss by a similarity of one; row 1 is right
    np.testing.assert_allclose(value, 2 / 3 * 1000, rtol=1e-5)
    assert jnp.all(jnp.isfinite(grad))


def test_members_of_one_mixture_cost_the_margin_without_a_gradient():
    d = jnp.asarray(unit_rows(10)[:1].repeat(2, 0))
    x = jnp.asarray(unit_rows(11, num=2))
    value, grad = jax.value_and_grad(OBJECTIVES["triplet"])(x, d, margin=0.5)
    np.testing.assert_allclose(value, 0.5, rtol=1e-6)
    np.testing.assert_allclose(grad, 0, atol=1e-6)


def test_weighted_sum_is_the_sum_by_hand():
    x, d = unit_rows(12), unit_rows(13)
    terms = {"n_pair": {"weight": 2.0, "temperature": 0.1}, "mse": 0.5, "cosine": {}}
    expected = 2 * loop_n_pair(x, d, 0.1) + 0.5 * loop_mse(x, d) + loop_cosine(x, d)
    value = jax.jit(weighted_sum(terms))(jnp.asarray(x), jnp.asarray(d))
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert objective_name(terms) == "n_pair+mse+cosine"
    assert terms["n_pair"] == {
        "weight": 2.0,
        "temperature": 0.1,
    }  # the caller's config is untouched


@pytest.mark.parametrize(
    "terms, error, words",
    [
        ({"npair": 1.0}, KeyError, "unknown objective 'npair'; known: cosine, distance"),
        ({"triplet": {"margins": 1.0}}, ValueError, "no option margins; it has: margin, weight"),
        ({"mse": {"temperature": 1.0}}, ValueError, "no option temperature; it has: weight"),
        ({"mse": -1.0}, ValueError, "weight must be finite"),
        ({"mse": float("nan")}, ValueError, "weight must be finite"),
        ({}, ValueError, "no objective given; known: cosine"),
    ],
)
def test_bad_terms_are_refused(terms, error, words):
    with pytest.raises(error, match=words):
        weighted_sum(terms)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_bad_shapes_are_refused_when_traced(name):
    fn = jax.jit(OBJECTIVES[name])
    with pytest.raises(AssertionError):
        fn(jnp.ones((4, 3)), jnp.ones((4, 2)))
    with pytest.raises(AssertionError):
        fn(jnp.ones(3), jnp.ones(3))
    one = jnp.ones((1, 1))
    if name in ("n_pair", "triplet", "distance"):
        with pytest.raises(ValueError, match="batch of at least 2"):
            fn(one, one)
    else:
        assert fn(one, one) == 0
    with pytest.raises(ValueError, match="temperature must be positive"):
        OBJECTIVES["n_pair"](jnp.eye(2), jnp.eye(2), temperature=0.0)
