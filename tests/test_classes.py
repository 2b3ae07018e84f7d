"""Classes as vectors: training on real digits; choosing against code written otherwise."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import pairwise_distances

from genvec.classes import (
    CLASSIFIERS,
    OPTIMISERS,
    Classifier,
    accuracy,
    choice,
    class_embeddings,
    classifier_from,
    distance_matrix,
    farthest_classes,
    features,
    mirror_images,
    only_classes,
    predict,
    shift_images,
    train_classifier,
)
from genvec.data import load_dataset
from genvec.registry import lookup


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


@pytest.fixture(scope="module")
def trained(digits):
    """The small ResNet on all ten digits, and the losses on the way."""
    losses = []
    network = lookup(CLASSIFIERS, "resnet", kind="classifier")(
        num_classes=10, stage_widths=(16, 32)
    )
    started = time.perf_counter()
    classifier = train_classifier(
        jax.random.key(0),
        digits.images,
        digits.labels,
        network=network,
        num_steps=400,
        on_step=lambda training, loss: losses.append((training.step, loss)),
    )
    jax.block_until_ready(classifier.variables)
    print(f"trained in {time.perf_counter() - started:.1f} s")
    return network, classifier, losses


def test_resnet_learns_the_digits(digits, trained):
    _, classifier, losses = trained
    logits = predict(classifier, digits.heldout_images)
    reached = accuracy(logits, digits.heldout_labels)
    print(f"held-out accuracy {reached:.4f}")
    assert reached >= 0.97
    assert accuracy(logits, np.roll(digits.heldout_labels, 1)) < 0.2, "control: labels of others"
    assert [step for step, _ in losses] == list(range(1, 401))
    assert float(losses[0][1]) > 2 and float(losses[-1][1]) < 0.2


def test_predict_is_one_image_at_a_time(digits, trained):
    """Batches, their padding and the running averages change nothing: no image sees another one."""
    network, classifier, _ = trained
    images = digits.heldout_images[:7]
    whole = predict(classifier, images)
    again = classifier_from(network, jax.device_get(classifier.variables))
    np.testing.assert_allclose(predict(again, images, batch_size=3), whole, rtol=1e-4, atol=1e-4)
    x = jnp.asarray(images[2:3] / 255.0, jnp.float32)
    single = jax.jit(classifier.apply)(classifier.variables, x)
    np.testing.assert_allclose(single[0], whole[2], rtol=1e-4, atol=1e-4)
    # control: with the batch's own statistics, as in training, it would
    train_apply = jax.jit(lambda variables: network.apply(variables, x, mutable=["batch_stats"]))
    train_logits, _ = train_apply(classifier.variables)
    assert np.abs(train_logits[0] - whole[2]).max() > 0.1


def test_only_classes_are_columns_of_the_logits(digits, trained):
    _, classifier, _ = trained
    images = digits.heldout_images[:5]
    whole, some = (predict(c, images) for c in (classifier, only_classes(classifier, (4, 1))))
    np.testing.assert_allclose(some, whole[:, [4, 1]], rtol=1e-5, atol=1e-5)
    assert np.abs(some - whole[:, [1, 4]]).max() > 1, "control: the order of the classes"
    x = jnp.asarray(images / 255.0, jnp.float32)
    np.testing.assert_array_equal(
        features(only_classes(classifier, (4, 1)), x), features(classifier, x)
    )


def test_resnet_shapes():
    network = CLASSIFIERS["resnet"](num_classes=5, stage_widths=(4, 6, 8), blocks_per_stage=2)
    x = jax.ShapeDtypeStruct((3, 9, 8, 2), jnp.float32)
    logits, variables = jax.eval_shape(network.init_with_output, jax.random.key(0), x)
    assert logits.shape == (3, 5)
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    convolutions = 9 * (2 * 4 + 4 * 4 * 4 + 4 * 6 + 3 * 6 * 6 + 6 * 8 + 3 * 8 * 8)
    assert count == convolutions + 2 * (5 * 4 + 4 * 6 + 4 * 8) + 8 * 5 + 5


def test_training_is_a_function_of_its_key(digits):
    def train(seed, **options):
        network = CLASSIFIERS["mlp"](num_classes=10, hidden_widths=(32,))
        data = digits.images, digits.labels
        options = {"num_steps": 60, "learning_rate": 0.03} | options
        return train_classifier(jax.random.key(seed), *data, network=network, **options)

    first = train(0)
    second = train(0)
    jax.tree.map(np.testing.assert_array_equal, first.variables, second.variables)
    assert set(first.variables) == {"params"}
    assert accuracy(predict(first, digits.heldout_images), digits.heldout_labels) > 0.6
    assert float(jnp.abs(_bias(train(1)) - _bias(first)).max()) > 0


def _bias(classifier):
    return classifier.variables["params"]["mlp"]["dense_1"]["bias"]


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_an_interrupted_training_ends_where_it_would_have(digits, optimiser):
    network = CLASSIFIERS["resnet"](num_classes=10, stage_widths=(4,))
    options = {"num_steps": 12, "optimiser": optimiser, "learning_rate": 0.01, "mirror": True}
    seen = []

    def train(**more):
        data = digits.images, digits.labels
        return train_classifier(jax.random.key(0), *data, network=network, **options, **more)

    whole = train(on_step=lambda training, _: seen.append(training))
    later = train(resume=lambda start: jax.device_get(seen[6]), on_step=lambda *_: seen.append(_))
    assert len(seen) == 12 + 5
    jax.tree.map(np.testing.assert_array_equal, whole.variables, later.variables)
    # control: the optimiser's state is part of where it was
    other = train(resume=lambda start: seen[6]._replace(opt_state=start.opt_state)).variables
    assert not np.array_equal(_first(other), _first(whole.variables))


def _first(variables):
    return jax.tree.leaves(variables["params"])[0]


def test_sgd_learns_the_digits(digits):
    classifier = train_classifier(
        jax.random.key(0),
        digits.images,
        digits.labels,
        network=CLASSIFIERS["mlp"](num_classes=10, hidden_widths=(32,)),
        num_steps=500,
        optimiser="sgd",
        learning_rate=0.2,
    )
    assert accuracy(predict(classifier, digits.heldout_images), digits.heldout_labels) > 0.9


def test_divergence_is_reported(digits):
    with pytest.raises(FloatingPointError, match="diverged with learning_rate=inf"):
        train_classifier(
            jax.random.key(0),
            digits.images,
            digits.labels,
            network=CLASSIFIERS["mlp"](num_classes=10, hidden_widths=()),
            num_steps=2,
            learning_rate=float("inf"),
            max_shift=0,
        )


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((2, 8, 8, 1), np.float32), np.zeros(2, int), "float32, .*; give uint8"),
        (np.zeros((2, 8, 8), np.uint8), np.zeros(2, int), r"shape \(2, 8, 8\); give"),
        (np.zeros((2, 8, 8, 1), np.uint8), np.zeros(3, int), "one integer for each of the 2"),
        (np.zeros((2, 8, 8, 1), np.uint8), np.zeros(2), "labels are float64"),
        (np.zeros((0, 8, 8, 1), np.uint8), np.zeros(0, int), "there are no images"),
        (np.zeros((2, 8, 8, 1), np.uint8), np.array([0, -1]), "label -1 at image 1"),
        (np.zeros((2, 8, 8, 1), np.uint8), np.array([0, 3]), r"label 3 at image 1.*0\.\.2"),
    ],
)
def test_unfit_images_and_labels_are_refused(images, labels, message):
    network = CLASSIFIERS["mlp"](num_classes=3, hidden_widths=())
    with pytest.raises(ValueError, match=message):
        train_classifier(jax.random.key(0), images, labels, network=network, num_steps=1)


def test_shift_images():
    images = np.arange(1, 200 * 12 + 1, dtype=np.int32).reshape(200, 3, 4, 1)
    shifted = np.asarray(shift_images(jax.random.key(0), jnp.asarray(images), 1))
    seen = set()
    for before, after in zip(images, shifted, strict=True):
        moves = [
            (dy, dx)
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
            if all(
                after[y, x, 0]
                == (before[y - dy, x - dx, 0] if 0 <= y - dy < 3 and 0 <= x - dx < 4 else 0)
                for y in range(3)
                for x in range(4)
            )
        ]
        assert len(moves) == 1
        seen.update(moves)
    assert len(seen) == 9
    unshifted = shift_images(jax.random.key(0), jnp.asarray(images), 0)
    np.testing.assert_array_equal(unshifted, images)


def test_mirror_images():
    images = np.arange(400 * 6).reshape(400, 2, 3, 1)
    mirrored = np.asarray(mirror_images(jax.random.key(0), jnp.asarray(images)))
    same = (mirrored == images).all(axis=(1, 2, 3))
    np.testing.assert_array_equal(mirrored[~same], images[~same][:, :, ::-1])
    assert 150 < same.sum() < 250


def test_class_embeddings_are_means(digits):
    rng = np.random.default_rng(0)
    embeddings, labels = rng.normal(size=(50, 3)).astype(np.float32), rng.integers(0, 4, 50)
    means = class_embeddings(embeddings, labels, 4)
    for label in range(4):
        rows = [e.astype(float) for e, y in zip(embeddings, labels, strict=True) if y == label]
        np.testing.assert_allclose(means[label], sum(rows) / len(rows), rtol=1e-12)
    for num_classes, message in ((5, r"must hold all of 0\.\.4"), (3, r"label 3.*0\.\.2")):
        with pytest.raises(ValueError, match=message):
            class_embeddings(embeddings, labels, num_classes)


def test_distance_matrix():
    embeddings = np.random.default_rng(0).normal(size=(6, 3))
    distances = distance_matrix(embeddings)
    np.testing.assert_allclose(distances, pairwise_distances(embeddings), atol=1e-7)
    np.testing.assert_array_equal(distances, distances.T)


def test_farthest_classes_by_hand():
    # points on a line at 0, 1, 5, 6, 10
    line = np.abs(np.subtract.outer(*[np.array([0.0, 1, 5, 6, 10])] * 2))
    assert farthest_classes(line, 2) == (0, 4)
    assert farthest_classes(line, 3) == (0, 2, 4)
    assert farthest_classes(line, 5) == (0, 1, 2, 3, 4)
    # one of the close pairs must be in; with the sums 34, 31, 35, 31, 27 the third subset wins
    assert farthest_classes(line, 4) == (0, 1, 3, 4)
    assert farthest_classes(1 - np.eye(4), 2) == (0, 1)  # all equal: the first
    # (0, 1, 2), (0, 2, 3), … all have the smallest distance 2; sums 7, 6, 9, 8
    table = np.array([[0, 2, 3, 2], [2, 0, 2, 2], [3, 2, 0, 4], [2, 2, 4, 0.0]])
    assert farthest_classes(table, 3) == (0, 2, 3)


def brute_force(distances, num_classes):
    """Depth-first over all subsets, vectorised score, explicit comparison of the three criteria."""
    best = None

    def extend(subset, start):
        nonlocal best
        if len(subset) == num_classes:
            part = distances[np.ix_(subset, subset)][np.triu_indices(num_classes, 1)]
            entry = (-part.min(), -part.sum(), tuple(subset))
            best = entry if best is None else min(best, entry)
            return
        for i in range(start, len(distances)):
            extend([*subset, i], i + 1)

    extend([], 0)
    assert best is not None
    return best[2]


@pytest.mark.parametrize("num_classes", [2, 3, 5, 8])
def test_farthest_classes_against_brute_force(num_classes, monkeypatch):
    found_by_greedy = 0
    for seed in range(8):
        # whole numbers: many ties, and sums without rounding
        upper = np.triu(np.random.default_rng(seed).integers(1, 6, (8, 8)), 1).astype(float)
        distances = upper + upper.T
        assert farthest_classes(distances, num_classes) == brute_force(distances, num_classes)
        points = np.random.default_rng(seed).normal(size=(8, 3))
        distances = distance_matrix(points)
        exact = brute_force(distances, num_classes)
        with monkeypatch.context() as patch:
            patch.setattr(choice, "MAX_SUBSETS", 0)
            greedy = farthest_classes(distances, min(num_classes, 7))
        if num_classes == 8:
            continue
        smallest = {name: _smallest(distances, s) for name, s in (("g", greedy), ("e", exact))}
        assert len(greedy) == len(set(greedy)) == num_classes
        assert smallest["e"] / 2 <= smallest["g"] <= smallest["e"]
        found_by_greedy += greedy == exact
    assert num_classes == 8 or found_by_greedy >= 5


def _smallest(distances, subset):
    return min(distances[i, j] for i in subset for j in subset if i != j)


def test_swaps_mend_the_greedy_choice(monkeypatch):
    monkeypatch.setattr(choice, "MAX_SUBSETS", 0)
    # greedy takes the ends 0, 12 and then 5.9 (smallest gap 5.9), then 9 (3) before it can swap
    line = distance_matrix(np.array([0.0, 5.9, 4.1, 12.0, 9.0, 8.0])[:, None])
    assert farthest_classes(line, 4) == brute_force(line, 4) == (0, 2, 3, 5)


def test_farthest_classes_of_many():
    """A planted answer among 200 classes, far too many subsets to enumerate."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(200, 10)) * 0.1
    planted = sorted(rng.choice(200, 6, replace=False).tolist())
    points[planted] += 10 * np.eye(6, 10)
    assert farthest_classes(distance_matrix(points), 6) == tuple(planted)


@pytest.mark.parametrize("num_classes", [1, 0, 6])
def test_number_of_classes_out_of_range(num_classes):
    with pytest.raises(ValueError, match=rf"num_classes={num_classes} must lie in 2\.\.5"):
        farthest_classes(np.ones((5, 5)), num_classes)


def test_distances_that_are_none():
    for wrong in (np.full((3, 3), np.nan), np.triu(np.ones((3, 3)))):
        with pytest.raises(ValueError, match="finite and symmetric"):
            farthest_classes(wrong, 2)


def test_digits_choose_different_classes(digits, trained):
    """End to end: the chosen digits are better separated than the first five."""
    _, classifier, _ = trained
    logits = predict(classifier, digits.images)
    distances = distance_matrix(class_embeddings(logits, digits.labels, 10))
    chosen = farthest_classes(distances, 5)
    assert chosen == brute_force(distances, 5)
    assert _smallest(distances, chosen) > _smallest(distances, range(5))
    assert isinstance(classifier, Classifier)
