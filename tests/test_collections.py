"""Collections, aggregations, batches, warps and the metrics of group vectors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA

from genvec.collections import (
    AGGREGATIONS,
    OBJECT_NETWORKS,
    Collections,
    aggregate,
    check_sizes,
    group_metrics,
    group_vectors,
    load_collections,
    measure_bounds,
    members_of,
    object_embedder,
    one_shot,
    pixel_vectors,
    principal_components,
    select_classes,
    split_halves,
    train_objects,
    train_pooling,
    turned,
)
from genvec.collections.data import COLLECTIONS
from genvec.collections.evaluate import draw_triples
from genvec.collections.training import draw_objects, warp_images
from genvec.objectives import make_group_objective
from genvec.prepared import DatasetNotPrepared

SIZES = (3, 2, 4, 3, 5, 2)


def collections(sizes=SIZES, classes=(0, 0, 1, 1, 2, 2), side=4) -> Collections:
    """Groups of images that are bright in a column of their own and carry their number."""
    group = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    group = np.random.default_rng(0).permutation(group)
    images = np.random.default_rng(1).integers(0, 40, (len(group), side, side, 1)).astype(np.uint8)
    images[np.arange(len(group)), :, group % side] += 100
    images[np.arange(len(group)), group // side % side] += 100
    names = tuple(f"g{j}" for j in range(len(sizes)))
    class_names = tuple(f"k{k}" for k in range(max(classes) + 1))
    return Collections(images, group, np.array(classes, np.int32), names, class_names)


# --- data


def test_members_are_each_groups_own():
    c = collections()
    members = members_of(c)
    assert members.sizes.tolist() == list(SIZES)
    for j, (index, mask) in enumerate(zip(members.index, members.mask, strict=True)):
        assert index[mask].tolist() == np.flatnonzero(c.group == j).tolist()
        assert set(index[~mask]) <= {index[0]}


def test_turned_copies_are_groups_and_classes_of_their_own():
    c = collections()
    t = turned(c)
    num, groups, classes = len(c.images), len(c.group_names), len(c.class_names)
    assert len(t.images) == 4 * num and len(t.group_names) == len(set(t.group_names)) == 4 * groups
    assert t.class_names[classes + 1] == "k1 90°"
    for turn in range(4):
        part = slice(turn * num, (turn + 1) * num)
        np.testing.assert_array_equal(t.group[part], c.group + turn * groups)
        np.testing.assert_array_equal(t.images[part][5], np.rot90(c.images[5], turn))
    assert not np.array_equal(t.images[num : 2 * num], c.images)
    np.testing.assert_array_equal(t.group_class // classes, np.repeat(np.arange(4), groups))
    with pytest.raises(ValueError, match=r"images of \(4, 3\) do not fit"):
        turned(c._replace(images=c.images[:, :, :3]))


def test_the_last_classes_are_kept_for_choices():
    c = collections(classes=(0, 3, 1, 2, 3, 1))
    rest, last = select_classes(c, 2)
    assert rest.class_names == ("k0", "k1") and last.class_names == ("k2", "k3")
    assert rest.group_names == ("g0", "g2", "g5") and last.group_names == ("g1", "g3", "g4")
    assert last.group_class.tolist() == [1, 0, 1]
    for part in (rest, last):
        for j, name in enumerate(part.group_names):
            before = c.images[c.group == int(name[1:])]
            np.testing.assert_array_equal(part.images[part.group == j], before)
    with pytest.raises(ValueError, match=r"3 classes to validate on; allowed: 2..2"):
        select_classes(c, 3)


def test_digits_by_hands():
    known, unseen = load_collections("digits")
    assert known.class_names == tuple("012345") and unseen.class_names == tuple("6789")
    for part in (known, unseen):
        sizes = members_of(part).sizes
        assert sizes.min() >= 20 and sizes.max() < 40
    assert len(known.images) + len(unseen.images) == 1797


def test_groups_that_are_too_small_are_named():
    with pytest.raises(ValueError, match=r"'g1' has 2 objects; a batch needs at least 3"):
        check_sizes(collections(), 3, "a batch")
    check_sizes(collections(), 2, "a batch")


def test_parts_of_other_channels_are_refused(monkeypatch, trained):
    known, unseen = load_collections("digits")
    coloured = unseen._replace(images=unseen.images.repeat(3, axis=3))
    monkeypatch.setitem(COLLECTIONS, "digits", lambda **_: (known, unseen))
    assert load_collections("digits")[1] is unseen
    monkeypatch.setitem(COLLECTIONS, "digits", lambda **_: (known, coloured))
    with pytest.raises(ValueError, match=r"digits has images of 8 × 8 × 1 .* and of 8 × 8 × 3"):
        load_collections("digits")
    c, objective, network, _, encoder, *_ = trained
    with pytest.raises(ValueError, match=r"images of 4 × 4 × 3 do not fit the encoder"):
        object_embedder(network, objective)(encoder, c.images.repeat(3, axis=3))


def test_a_missing_set_says_how_to_prepare_it(tmp_path):
    with pytest.raises(DatasetNotPrepared, match=r"'omniglot' is not prepared"):
        load_collections("omniglot", data_dir=tmp_path)
    with pytest.raises(KeyError, match=r"unknown set of collections 'x'; known: digits, omniglot"):
        load_collections("x")


# --- aggregation


def random_group(size=7, dim=3, seed=0):
    return np.random.default_rng(seed).normal(size=(size, dim)).astype(np.float32)


def pooled(name, x, mask=None, params=None):
    aggregation = AGGREGATIONS[name]
    if params is None:
        params = {}
        if aggregation.init is not None:
            params = aggregation.init(jax.random.key(0), x.shape[1])
            params["w"] = jnp.linspace(-2.0, 3.0, len(params["w"]))
    mask = np.ones(len(x), bool) if mask is None else mask
    return np.asarray(aggregation.fn(params, jnp.asarray(x), jnp.asarray(mask)))


def float64_reference(name, x):
    x = x.astype(np.float64)
    if name == "mean":
        return sum(x) / len(x)
    if name == "medoid":
        return x[np.argmin([sum(np.linalg.norm(a - b) for b in x) for a in x])]
    if name == "geometric_median":
        options = {"xatol": 1e-9, "fatol": 1e-12, "maxiter": 20_000}
        total = lambda y: np.linalg.norm(x - y, axis=1).sum()  # noqa: E731
        return minimize(total, x.mean(0), method="Nelder-Mead", options=options).x
    unit = sum(row / np.sqrt(row @ row) for row in x)
    return unit / np.sqrt(unit @ unit)


@pytest.mark.parametrize("name", sorted(set(AGGREGATIONS) - {"attention"}))
def test_aggregations_against_float64(name):
    for seed in range(3):
        x = random_group(seed=seed)
        np.testing.assert_allclose(pooled(name, x), float64_reference(name, x), atol=2e-4)


def test_the_geometric_median_can_be_an_object():
    x = np.array([[0, 0], [1, 0], [-1, 0.1], [0, 1], [0.1, -1], [0, 0]], np.float32)
    np.testing.assert_allclose(pooled("geometric_median", x), [0, 0], atol=1e-3)
    far = np.array([[0.0, 0], [0, 0], [0, 0], [1000, 0]], np.float32)
    np.testing.assert_allclose(pooled("geometric_median", far), [0, 0], atol=0.1)
    assert abs(pooled("mean", far)[0]) > 100  # what the outlier does to a mean


def test_attention_against_a_loop():
    x, aggregation = random_group(), AGGREGATIONS["attention"]
    params = aggregation.init(jax.random.key(0), 3)
    np.testing.assert_allclose(pooled("attention", x, params=params), x.mean(0), atol=1e-6)
    params["w"] = jnp.linspace(-2.0, 3.0, len(params["w"]))
    V, w = np.asarray(params["V"], np.float64), np.asarray(params["w"], np.float64)
    scores = np.array([w @ np.tanh(row @ V) for row in x])
    weights = np.exp(scores) / np.exp(scores).sum()
    np.testing.assert_allclose(pooled("attention", x, params=params), weights @ x, atol=1e-5)
    assert np.abs(weights @ x - x.mean(0)).max() > 0.05


@pytest.mark.parametrize("name", AGGREGATIONS)
def test_masked_rows_and_order_do_not_count(name):
    x, order = random_group(), np.random.default_rng(1).permutation(7)
    mask = np.array([True] * 4 + [False] * 3)
    alone = pooled(name, x[:4])
    changed = np.where(mask[:, None], x, 1e3)
    np.testing.assert_allclose(pooled(name, changed, mask), alone, atol=1e-4)
    np.testing.assert_allclose(pooled(name, x[order]), pooled(name, x), atol=1e-4)
    assert np.abs(pooled(name, changed) - alone).max() > 1e-2  # rows that count, count


def test_a_group_without_objects_has_no_vector():
    x, mask = jnp.ones((2, 3, 2)), jnp.array([[True] * 3, [False] * 3])
    with pytest.raises(ValueError, match=r"groups \[1\] have no object"):
        aggregate(AGGREGATIONS["mean"], {}, x, mask)


# --- batches and warps


def test_batches_are_of_different_groups_and_different_objects():
    c = collections()
    members, seen = members_of(c), set()
    draw = jax.jit(lambda key: draw_objects(key, members, 3, 2))
    for seed in range(40):
        index, group = map(np.asarray, draw(jax.random.key(seed)))
        assert len(set(index)) == 6 and len(set(group)) == 3
        np.testing.assert_array_equal(c.group[index], group)
        np.testing.assert_array_equal(group[::2], group[1::2])
        seen |= set(index)
    assert seen == set(range(len(c.images)))


def test_a_warp_of_no_strength_is_none():
    x = jax.random.uniform(jax.random.key(0), (3, 6, 6, 2))
    np.testing.assert_allclose(warp_images(jax.random.key(1), x, 0.0), x, atol=1e-6)
    warped = warp_images(jax.random.key(1), x, 1.0)
    assert np.abs(warped - x).max() > 0.1 and np.abs(warped[0] - warped[1]).max() > 0.1
    assert float(warped.min()) >= 0 and float(warped.max()) <= 1


def test_warps_move_a_blob_but_a_little():
    rows, columns = np.mgrid[:21, :21]
    blob = np.exp(-((rows - 10) ** 2 + (columns - 10) ** 2) / 8)[None, ..., None]
    x = jnp.asarray(np.repeat(blob, 64, 0), jnp.float32)
    warped = np.asarray(warp_images(jax.random.key(0), x, 1.0))[..., 0]
    mass = warped.sum(axis=(1, 2))
    centre = (warped * rows).sum(axis=(1, 2)) / mass
    assert np.abs(centre - 10).max() < 0.07 * 21 + 0.3 and centre.std() > 0.3


# --- training


@pytest.fixture(scope="module")
def trained():
    """A small encoder of groups, and the set it has learned from."""
    c = collections(sizes=(6,) * 8, classes=(0, 0, 1, 1, 2, 2, 3, 3))
    objective = make_group_objective("triplet", 4, 8, {})
    network = OBJECT_NETWORKS["conv"](4, widths=(8,))
    options = {"steps": 30, "groups": 4, "objects": 3, "warp": 0.0, "learning_rate": 1e-2}
    key = jax.random.key(0)
    saved, losses = [], []

    def on_step(training, loss):
        losses.append(float(loss))
        saved.append(training)

    encoder = train_objects(key, network, objective, c, on_step=on_step, **options)
    return c, objective, network, options, encoder, saved, losses


def test_training_lowers_the_loss_and_brings_groups_together(trained):
    c, objective, network, _, encoder, _, losses = trained
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
    x = object_embedder(network, objective)(encoder, c.images)
    nearest = cdist(x, x) + np.diag(np.full(len(x), np.inf))
    assert np.mean(c.group[nearest.argmin(axis=1)] == c.group) > 0.8


def test_an_interrupted_training_ends_where_it_would_have(trained):
    c, objective, network, options, encoder, saved, _ = trained
    again = train_objects(
        jax.random.key(0), network, objective, c, resume=lambda start: saved[19], **options
    )
    jax.tree.map(np.testing.assert_array_equal, again, encoder)
    other = train_objects(
        jax.random.key(1), network, objective, c, resume=lambda start: saved[19], **options
    )
    with pytest.raises(AssertionError):
        jax.tree.map(np.testing.assert_array_equal, other, encoder)


def test_batches_that_a_set_can_not_fill(trained):
    c, objective, network, options, *_ = trained
    with pytest.raises(ValueError, match=r"'g0' has 6 objects; .* needs at least 7"):
        train_objects(jax.random.key(0), network, objective, c, **options | {"objects": 7})
    with pytest.raises(ValueError, match=r"a batch of 9 groups; allowed: 1..8"):
        train_objects(jax.random.key(0), network, objective, c, **options | {"groups": 9})


def test_pooling_learns_to_leave_out_what_says_nothing():
    generator, num = np.random.default_rng(0), 30
    signal = generator.normal(size=(num, 1, 4)).repeat(6, 1)
    noise = generator.normal(size=(num, 6, 4)) * 8
    flag = (np.arange(6) < 3)[None, :, None]
    x = np.where(flag, signal, noise)
    x = np.concatenate([x, np.broadcast_to(flag * 3.0, (num, 6, 1))], -1).reshape(-1, 5)
    c = collections(sizes=(6,) * num, classes=(0,) * num)
    c = c._replace(group=np.repeat(np.arange(num, dtype=np.int32), 6))
    attention = AGGREGATIONS["attention"]
    params = train_pooling(
        jax.random.key(0), attention, x.astype(np.float32), members_of(c), steps=300
    )
    halves = split_halves(c, 0)

    def r1(params):
        vectors_of = lambda m: group_vectors(attention, params, x.astype(np.float32), m)[:, :4]  # noqa: E731
        first, second = vectors_of(halves.first), vectors_of(halves.second)
        return np.mean(cdist(first, second).argmin(1) == np.arange(num))

    start = {**attention.init(jax.random.key(0), 5), "scale": params["scale"]}
    assert r1(params) > r1(start) + 0.2
    assert train_pooling(jax.random.key(0), AGGREGATIONS["mean"], x, members_of(c), steps=1) == {}


# --- metrics


def test_halves_hold_each_object_once():
    c = collections()
    halves = split_halves(c, 0)
    for j, size in enumerate(SIZES):
        first, second = (m.index[j][m.mask[j]] for m in halves)
        assert sorted([*first, *second]) == np.flatnonzero(c.group == j).tolist()
        assert (len(first), len(second)) == (size // 2, size - size // 2)
    lonely = collections(sizes=(3, 1, 2, 2, 2, 2))
    with pytest.raises(ValueError, match=r"'g1' has 1 objects; the distance of a group's halves"):
        split_halves(lonely, 0)


def test_metrics_by_hand():
    # four groups on a line at 0, 1, 10, 14; classes {0, 1} and {2, 3}; second halves moved by 0.6
    c = collections(sizes=(2, 2, 2, 2), classes=(0, 0, 1, 1))
    halves = split_halves(c, 0)
    place = np.array([0.0, 1, 10, 14])

    def vectors_of(members):
        moved = 0.6 if members is halves.second else 0.0
        return (place + moved)[:, None]

    found = group_metrics(vectors_of, c, halves)
    # from 1 the second half of 0 (at 0.6) is nearer than its own (at 1.6): rank 2
    assert found["retrieval_r1"] == 0.75 and found["retrieval_mrr"] == (1 + 0.5 + 1 + 1) / 4
    assert found["within_character"] == pytest.approx(0.6)
    assert found["within_alphabet"] == pytest.approx(np.mean([1.6, 0.4, 4.6, 3.4]))
    apart = [abs(a - b - 0.6) for a in place[:2] for b in place[2:]]
    apart += [abs(a - b - 0.6) for a in place[2:] for b in place[:2]]
    assert found["between_alphabets"] == pytest.approx(np.mean(apart))
    assert found["alphabet_purity"] == 1.0
    mixed = group_metrics(vectors_of, c._replace(group_class=np.array([0, 1, 0, 1])), halves)
    assert mixed["alphabet_purity"] == 0.0


def test_a_constant_retrieves_nothing():
    c = collections()
    halves = split_halves(c, 0)
    found = group_metrics(lambda members: np.zeros((len(SIZES), 2)), c, halves)
    assert found["retrieval_r1"] == 0 and found["retrieval_mrr"] == pytest.approx(1 / len(SIZES))
    x = np.zeros((len(c.images), 2))
    assert one_shot(x, members_of(c), ways=3, seed=0) == 0


def test_one_shot_accuracy():
    c = collections()
    members = members_of(c)
    assert one_shot(c.group[:, None].astype(float), members, ways=4, seed=0) == 1
    noise = np.random.default_rng(0).normal(size=(len(c.images), 5))
    assert one_shot(noise, members, ways=4, seed=0) == pytest.approx(1 / 4, abs=0.12)
    with pytest.raises(ValueError, match=r"7 ways need as many groups; there are 6"):
        one_shot(noise, members, ways=7, seed=0)


def test_principal_components_and_pixels():
    c = collections()
    x = pixel_vectors(c.images)
    assert x.shape == (len(c.images), 16) and x.max() <= 1
    known, unseen = principal_components(x[:12], x[12:], 3)
    reference = PCA(3, svd_solver="full").fit(x[:12])
    np.testing.assert_allclose(np.abs(known), np.abs(reference.transform(x[:12])), atol=1e-3)
    assert unseen.shape == (len(x) - 12, 3)


def test_triples_are_two_of_a_class_and_one_of_another():
    group_class = np.array([0, 0, 1, 1, 1, 2])
    first, second, negative = draw_triples(group_class, 200, 0).T
    assert (first != second).all() and (group_class[first] == group_class[second]).all()
    assert (group_class[negative] != group_class[first]).all()
    assert len({(a, b) for a, b in zip(first, second, strict=True)}) == 1 + 3
    for odd in ([0, 0, 0], [0, 1, 2]):
        with pytest.raises(ValueError, match="bounds need two groups of one class"):
            draw_triples(np.array(odd), 5, 0)


def test_bounds_of_a_set_hold():
    c = collections(sizes=(4,) * 6)
    x = np.random.default_rng(0).normal(size=(len(c.images), 3)).astype(np.float32)
    x += 10 * c.group_class[c.group][:, None]
    table = measure_bounds(x, c, num_pairs=20, seed=0)
    summary = table.summary()
    assert all(values["violations"] == 0 for values in summary.values())
    assert summary["theorem"]["median_ratio"] > summary["wasserstein"]["median_ratio"] >= 1
    a, b, _ = table.pairs[7]
    means = [x[c.group == j].mean(axis=0) for j in (a, b)]
    assert table.true["wasserstein"][7] == pytest.approx(
        np.linalg.norm(means[0] - means[1]), rel=1e-4
    )
    broken = table._replace(bound={**table.bound, "wasserstein": 0 * table.bound["wasserstein"]})
    assert broken.summary()["wasserstein"]["violations"] == 20
