"""Evaluations against hand-counted tables, loops, scipy, and predictors whose score is known."""

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import binom, spearmanr

from genvec import evaluate as ev
from genvec.geometry import to_simplex, to_sphere

KEYS = [
    "angle_deg_mean",
    "angle_deg_median",
    "mixture_mae",
    "distance_spearman",
    "distance_mae",
    "retrieval_r1",
    "retrieval_mrr",
    "n_leaked",
    "composition_deg_mean",
    "composition_deg_median",
    "composition_random_deg_mean",
    "composition_sum_deg_mean",
    "composition_sum_deg_median",
    "composition_sum_random_deg_mean",
]
CURVE = ev.LeakCurve(np.array([1, 100, 10_000]), np.array([40.0, 4.0, 0.4]))


def mixtures(seed: int = 0, num: int = 200, num_classes: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet([0.7] * num_classes, num)


def drawn(p: np.ndarray, num_labels: int, seed: int = 1) -> np.ndarray:
    return to_sphere(np.random.default_rng(seed).multinomial(num_labels, p).astype(float))


def test_perfect_predictions():
    p = mixtures(num=240)
    parts = p[:80].reshape(40, 2, 3)
    triplets = np.concatenate([parts, parts.mean(axis=1, keepdims=True)], axis=1)
    predictions = ev.Predictions(to_sphere(p), p, to_sphere(triplets))
    metrics = ev.evaluate(predictions, ev.leak_curve(p, seed=0), seed=0)
    assert list(metrics) == KEYS and all(type(value) is float for value in metrics.values())
    for name in ("angle_deg_mean", "angle_deg_median", "mixture_mae", "distance_mae"):
        assert metrics[name] == pytest.approx(0, abs=1e-12)
    assert metrics["composition_deg_mean"] == pytest.approx(0, abs=1e-12)
    assert metrics["composition_random_deg_mean"] > 10
    assert metrics["retrieval_r1"] == metrics["retrieval_mrr"] == 1
    assert metrics["distance_spearman"] == pytest.approx(1)
    assert metrics["n_leaked"] == 1e6


def test_constant_predictions_score_as_chance():
    p = mixtures()
    x = np.tile(to_sphere(p.mean(axis=0)), (len(p), 1))
    metrics = ev.evaluate(ev.Predictions(x, p), CURVE, seed=0)
    assert list(metrics) == KEYS[:8]  # no triplets, no composition
    assert metrics["distance_spearman"] == 0
    assert metrics["retrieval_r1"] <= 1 / len(p)
    # its ranks are a permutation of 1..n, whatever the constant
    assert metrics["retrieval_mrr"] == pytest.approx((1 / np.arange(1, len(p) + 1)).mean())


def test_hand_counted_table():
    p = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    x = np.array([[1.0, 0.0], [1.0, 1.0] / np.sqrt(2), [0.0, 1.0]])
    metrics = ev.evaluate(ev.Predictions(x, p), CURVE, seed=0)
    # angles 0°, 45°, 45°; proportions off by 0, ½, ½ in both classes
    assert metrics["angle_deg_mean"] == pytest.approx(30)
    assert metrics["angle_deg_median"] == pytest.approx(45)
    assert metrics["mixture_mae"] == pytest.approx(1 / 3)
    # member 0: rank 1. member 1: halfway, nearest to d_2, a tie of the pure ones → rank 3.
    # member 2: d_1 is nearer → rank 2
    assert metrics["retrieval_r1"] == pytest.approx(1 / 3)
    assert metrics["retrieval_mrr"] == pytest.approx((1 + 1 / 3 + 1 / 2) / 3)
    # pairs 01, 02, 12: models s, √2, s and data sets √2, s, s with s the chord of 45°
    s = 2 * np.sin(np.pi / 8)
    assert metrics["distance_mae"] == pytest.approx(2 / 3 * (np.sqrt(2) - s))
    assert metrics["distance_spearman"] == pytest.approx(-0.5)  # ranks 1½, 3, 1½ and 3, 1½, 1½


def test_angles_and_distances_against_loops():
    p = mixtures(2, num=25, num_classes=4)
    x = to_sphere(p + np.random.default_rng(3).uniform(0, 0.3, p.shape))
    d = p / np.sqrt((p * p).sum(axis=1, keepdims=True))
    angle = [
        np.rad2deg(np.arccos(min(1.0, float(np.dot(a, b))))) for a, b in zip(x, d, strict=True)
    ]
    metrics = ev.evaluate(ev.Predictions(x, p), CURVE, seed=0)
    assert metrics["angle_deg_mean"] == pytest.approx(sum(angle) / 25)
    assert metrics["angle_deg_median"] == pytest.approx(sorted(angle)[12])
    pairs = [(i, j) for i in range(25) for j in range(i)]
    of_models = np.array([np.sqrt(sum((x[i] - x[j]) ** 2)) for i, j in pairs])
    of_data = np.array([np.sqrt(sum((d[i] - d[j]) ** 2)) for i, j in pairs])
    assert metrics["distance_mae"] == pytest.approx(np.mean(abs(of_models - of_data)))
    spearman = spearmanr(of_models, of_data)[0]
    assert metrics["distance_spearman"] == pytest.approx(spearman, abs=1e-9)


def test_drawn_pairs_estimate_all_pairs(monkeypatch):
    p = mixtures(3)
    predictions = ev.Predictions(drawn(p, 30), p)
    every = ev.distances(predictions, CURVE, 0)
    monkeypatch.setattr(ev, "MAX_PAIRS", 10_000)
    some = ev.distances(predictions, CURVE, 0)
    assert some == ev.distances(predictions, CURVE, 0) != ev.distances(predictions, CURVE, 1)
    assert some != every
    for name, value in every.items():
        assert some[name] == pytest.approx(value, rel=0.05)


def test_retrieval_counts_ties_against_the_encoder():
    p = mixtures(4)
    twice = np.concatenate([p, p])
    metrics = ev.evaluate(ev.Predictions(to_sphere(twice), twice), CURVE, seed=0)
    assert metrics["retrieval_r1"] == 0 and metrics["retrieval_mrr"] == 0.5


@pytest.mark.parametrize("num_classes", [2, 3, 6])
def test_a_predictor_that_draws_labels_leaks_that_many(num_classes):
    p = mixtures(5, 400, num_classes)
    curve = ev.leak_curve(p, seed=0)
    for num_labels in (30, 100, 3000):
        metrics = ev.evaluate(ev.Predictions(drawn(p, num_labels), p), curve, seed=0)
        assert metrics["n_leaked"] == pytest.approx(num_labels, rel=0.25)
    # negative control: the angle is what counts, and a curve of other mixtures gives other numbers
    peaked = ev.leak_curve(np.random.default_rng(0).dirichlet([0.05] * num_classes, 400), seed=0)
    metrics = ev.evaluate(ev.Predictions(drawn(p, 100), p), peaked, seed=0)
    assert metrics["n_leaked"] != pytest.approx(100, rel=0.25)


def test_leak_curve_of_two_classes_is_the_binomial_sum():
    p = np.array([[0.2, 0.8], [0.5, 0.5], [0.9, 0.1]])

    def exact(num: int) -> float:
        k = np.arange(num + 1)
        means = [
            abs(np.arctan2(k, num - k) - np.arctan2(a, 1 - a)) @ binom.pmf(k, num, a)
            for a in p[:, 0]
        ]
        return np.rad2deg(np.mean(means))

    curve = ev.leak_curve(p, seed=0)
    for num in (1, 10, 100, 1000):
        at = np.flatnonzero(curve.num_labels == num)
        np.testing.assert_allclose(curve.angle_deg[at], exact(num), rtol=0.04)
    target = 0.5 * (exact(10) + exact(100))
    expected = brentq(lambda n: exact(round(n)) - target, 10, 100, xtol=0.5)
    assert ev.n_leaked(curve, target) == pytest.approx(expected, rel=0.1)


def test_leak_curve_is_deterministic_monotone_and_clamped():
    p = mixtures(6)
    curve = ev.leak_curve(p, seed=0)
    np.testing.assert_array_equal(curve.angle_deg, ev.leak_curve(p, seed=0).angle_deg)
    assert np.any(curve.angle_deg != ev.leak_curve(p, seed=1).angle_deg)
    assert np.all(np.diff(curve.angle_deg) <= 0) and np.all(np.diff(curve.num_labels) > 0)
    assert (ev.n_leaked(curve, 90.0), ev.n_leaked(curve, 0.0)) == (1.0, 1e6)
    assert ev.n_leaked(CURVE, 4.0 / 10**0.5) == pytest.approx(1000)  # halfway in both logs
    pure = ev.leak_curve(np.eye(3), seed=0)  # one label tells a pure mixture
    assert ev.n_leaked(pure, 0.0) == ev.n_leaked(pure, 5.0) == 1.0


def test_composition_adds_in_proportion_space():
    first, second = to_sphere(np.array([[1.0, 0.0], [0.5, 0.5]]))
    expected = to_sphere(np.array([0.75, 0.25]))
    np.testing.assert_allclose(ev.compose(first, second), expected, rtol=1e-12)
    naive = to_sphere(first + second)  # added on the sphere: 4° off already for a perfect encoder
    assert not np.allclose(naive, expected, atol=0.05)


def test_random_partners_are_strangers_and_fixed_by_the_seed():
    p = mixtures(7, num=60).reshape(20, 3, 3)
    p[:, 2] = p[:, :2].mean(axis=1)
    predictions = ev.Predictions(p[:, 0], p[:, 0], to_sphere(p))
    metrics = ev.composition(predictions, CURVE, 0)
    assert metrics == ev.composition(predictions, CURVE, 0) != ev.composition(predictions, CURVE, 1)
    same = predictions._replace(triplets=to_sphere(np.tile(p[:1], (20, 1, 1))))
    metrics = ev.composition(same, CURVE, 0)  # every stranger is like one's own
    assert metrics["composition_random_deg_mean"] == pytest.approx(0, abs=1e-12)
    # no triplet keeps its own partner: with b_r on class r and a, c pure, own partner shows as 45°
    eye = np.eye(4)
    hidden = np.stack([eye, eye, eye], axis=1)
    for seed in range(20):
        metrics = ev.composition(ev.Predictions(eye, eye, hidden), CURVE, seed)
        assert metrics["composition_deg_mean"] == pytest.approx(0, abs=1e-12)
        assert metrics["composition_random_deg_mean"] == pytest.approx(45)
    hidden[0, 2] = eye[1]  # one sum of four that is off by 90°
    metrics = ev.composition(ev.Predictions(eye, eye, hidden), CURVE, 0)
    assert metrics["composition_deg_mean"] == pytest.approx(90 / 4)
    assert metrics["composition_deg_median"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"embeddings": np.ones((3, 2))}, r"embeddings \(3, 2\) and mixtures \(3, 3\)"),
        ({"embeddings": np.ones((1, 3)), "mixtures": np.ones((1, 3)) / 3}, "n ≥ 2"),
        ({"embeddings": np.array([[1, 0, 0], [1, 0, np.nan], [1, 0, 0]])}, "row 1 is not finite"),
        ({"embeddings": np.array([[1, 0, 0], [1, 0, 0], [1, -0.1, 0]])}, "row 2 is negative"),
        ({"embeddings": np.array([[0, 0, 0], [1, 0, 0], [1, 0, 0]])}, "embeddings row 0 is zero"),
        ({"mixtures": to_sphere(np.full((3, 3), 1 / 3))}, "mixtures row 0 does not sum to one"),
        ({"triplets": np.ones((2, 3))}, r"triplets \(2, 3\) must be \[R, 3, 3\]"),
        ({"triplets": np.ones((1, 3, 3))}, "R ≥ 2"),
        ({"triplets": np.full((2, 3, 3), np.inf)}, "triplets row 0 is not finite"),
        (
            {"triplets": np.eye(3)[:, None] * np.ones((3, 3, 1)) * [1, 1, 0]},
            "triplets row 2 is zero",
        ),
    ],
)
def test_bad_predictions_are_named(change, words):
    p = np.full((3, 3), 1 / 3)
    good = ev.Predictions(to_sphere(p), p, to_sphere(np.ones((2, 3, 3))))
    assert list(ev.evaluate(good, CURVE, seed=0)) == KEYS
    with pytest.raises(ValueError, match=words):
        ev.evaluate(good._replace(**change), CURVE, seed=0)


def test_float32_input_of_a_jax_encoder_gives_the_same_numbers():
    p = mixtures(8)
    x = drawn(p, 40)
    wide = ev.evaluate(ev.Predictions(x, p), CURVE, seed=0)
    narrow = ev.evaluate(ev.Predictions(x.astype(np.float32), p.astype(np.float32)), CURVE, seed=0)
    for name in wide:
        assert narrow[name] == pytest.approx(wide[name], rel=1e-3), name
    assert to_simplex(p.astype(np.float32)).dtype == np.float32
