"""Controls against scikit-learn, closed forms, and features that hold nothing."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from genvec import controls
from genvec.controls import CONTROLS, Labelled
from genvec.geometry import angle_deg, to_sphere


def members(num: int, num_features: int, seed: int, *, fixed: int = 0) -> Labelled:
    """Features that hold the proportions, mixed linearly by `fixed`, under noise and odd scales."""
    random, of_all = np.random.default_rng(seed), np.random.default_rng(fixed)
    p = random.dirichlet([0.7, 0.7, 0.7], num)
    clean = p @ of_all.normal(size=(3, num_features))
    scales = np.geomspace(1e-3, 1e3, num_features)
    noise = random.normal(size=clean.shape)
    return Labelled(((clean + 0.3 * noise) * scales + 5).astype(np.float32), p)


def three(num_features: int) -> list[Labelled]:
    return [members(n, num_features, seed) for seed, n in enumerate((120, 60, 60))]


def mean_angle(predicted: np.ndarray, labelled: Labelled) -> float:
    return float(angle_deg(predicted, labelled.mixtures).mean())


@pytest.mark.parametrize("name", CONTROLS)
def test_every_control_answers_on_the_sphere_row_by_row(name):
    train, val, test = (Labelled(abs(x.features[:, :3]), x.mixtures) for x in three(5))
    predicted = CONTROLS[name](train, val, test.features)
    assert predicted.shape == (60, 3) and predicted.dtype == np.float64
    np.testing.assert_allclose(np.linalg.norm(predicted, axis=1), 1, rtol=1e-12)
    assert predicted.min() >= 0
    # a row depends on nothing but itself: no fitting to the test features
    np.testing.assert_allclose(
        CONTROLS[name](train, val, test.features[7:9]), predicted[7:9], rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("name, num_features", [("ridge", 30), ("ridge", 200), ("boosted", 30)])
def test_fitted_controls_beat_the_constant_only_with_the_right_labels(name, num_features):
    train, val, test = three(num_features)
    constant = mean_angle(controls.constant(train, val, test.features), test)
    assert mean_angle(CONTROLS[name](train, val, test.features), test) < 0.6 * constant
    shuffled = train._replace(mixtures=np.random.default_rng(0).permutation(train.mixtures))
    assert mean_angle(CONTROLS[name](shuffled, val, test.features), test) > 0.8 * constant


@pytest.mark.parametrize("num_features", [30, 200])  # primal and dual
def test_ridge_is_that_of_scikit_learn_with_the_best_alpha_of_val(num_features):
    train, val, test = three(num_features)
    scaler = StandardScaler().fit(train.features.astype(np.float64))
    x, x_val, x_test = (scaler.transform(f.features.astype(float)) for f in (train, val, test))
    fits = []
    for alpha in controls.ALPHAS:
        for target in (train.mixtures, to_sphere(train.mixtures)):
            model = Ridge(alpha=alpha).fit(x, target)
            angle = angle_deg(np.maximum(model.predict(x_val), 1e-9), val.mixtures).mean()
            fits.append((angle, to_sphere(np.maximum(model.predict(x_test), 1e-9))))
    expected = min(fits, key=lambda fit: fit[0])[1]
    np.testing.assert_allclose(controls.ridge(train, val, test.features), expected, atol=1e-6)
    others = [np.abs(prediction - expected).max() for _, prediction in fits]
    assert sorted(others)[1] > 1e-5  # the choice matters: no other fit gives these predictions


@pytest.mark.parametrize("num, num_features", [(40, 7), (7, 40)])
@pytest.mark.parametrize("block", [16, 100])
def test_ridge_weights_are_least_squares_on_the_augmented_system(
    num, num_features, block, monkeypatch
):
    monkeypatch.setattr(controls, "ROWS", block)
    monkeypatch.setattr(controls, "COLUMNS", block)
    random = np.random.default_rng(0)
    x, y = random.normal(size=(num, num_features)), random.normal(size=(num, 2))
    alphas = [100.0, 0.01]
    standardised = controls.Standardised(
        5 + 2 * x, np.full(num_features, 5), np.full(num_features, 2)
    )
    found = np.split(controls.ridge_weights(standardised, y, alphas), 2, axis=1)
    for alpha, weights in zip(alphas, found, strict=True):
        tall = np.concatenate([x, np.sqrt(alpha) * np.eye(num_features)])
        expected, *_ = np.linalg.lstsq(tall, np.concatenate([y, np.zeros((num_features, 2))]))
        np.testing.assert_allclose(weights, expected, rtol=1e-8, atol=1e-12)


def test_ridge_does_without_constant_features():
    train, val, test = three(30)
    predicted = controls.ridge(train, val, test.features)

    def padded(labelled, value=3.3):
        column = np.full((len(labelled.features), 1), value, np.float32)
        return labelled._replace(features=np.concatenate([labelled.features, column], axis=1))

    again = controls.ridge(padded(train), padded(val), padded(test, value=1e6).features)
    np.testing.assert_allclose(again, predicted, atol=1e-9)


def test_ridge_calibrates_the_counts_of_a_confused_classifier():
    confusion = np.array([[0.8, 0.2, 0.0], [0.1, 0.6, 0.3], [0.3, 0.0, 0.7]])
    random = np.random.default_rng(1)
    train, val, test = (
        Labelled(random.multinomial(2000, p @ confusion) / 2000, p)
        for p in (random.dirichlet([0.7] * 3, n) for n in (200, 50, 100))
    )
    raw = mean_angle(controls.raw(train, val, test.features), test)
    calibrated = mean_angle(controls.ridge(train, val, test.features), test)
    assert calibrated < 3 < 10 < raw


def test_constant_is_the_direction_of_the_mean_and_sees_train_only():
    train, val, test = three(5)
    expected = np.sum([p / np.sqrt(p @ p) for p in train.mixtures], axis=0)
    predicted = controls.constant(train, val, test.features)
    np.testing.assert_allclose(predicted[0], expected / np.sqrt(expected @ expected), rtol=1e-12)
    assert np.all(predicted == predicted[0])
    assert np.all(predicted[0] != controls.constant(val, val, test.features)[0])


def test_project_to_sphere_by_hand():
    x = np.array([[3.0, 4.0], [-1.0, 2.0], [0.0, 0.0], [-1.0, -3.0]])
    middle = [np.sqrt(0.5), np.sqrt(0.5)]
    expected = [[0.6, 0.8], [0.0, 1.0], middle, middle]
    np.testing.assert_allclose(controls.project_to_sphere(x), expected, atol=1e-8)


@pytest.mark.parametrize("name", ["raw", "ridge", "boosted"])
def test_non_finite_features_are_named(name):
    train, val, test = three(3)
    test.features[4, 1] = np.nan
    with pytest.raises(ValueError, match="row 4 is not finite"):
        CONTROLS[name](train, val, test.features)
    if name != "raw":
        train.features[7, 0] = np.inf
        with pytest.raises(ValueError, match="train features row 7 is not finite"):
            CONTROLS[name](train, val, test.features)
    else:
        with pytest.raises(ValueError, match="2 features for 3 classes"):
            controls.raw(train, val, test.features[:, :2])
