"""Ranking, instances, learned metrics and collections against float64 loops, optax, scikit-learn,
scipy and values worked out by hand.
"""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans
from sklearn.metrics import log_loss
from sklearn.metrics import pairwise_distances as sklearn_distances

from genvec.objectives import GROUP_OBJECTIVES, make_group_objective
from genvec.objectives.contract import GroupBatch
from genvec.objectives.instances import info_nce
from genvec.objectives.mahalanobis import mahalanobis_siamese, mahalanobis_triplet, metric
from genvec.objectives.ranking import triplet
from genvec.objectives.smog import (
    assign,
    collection_collection,
    collection_item,
    lloyd_step,
    spherical_kmeans,
)

DIMENSION = 5
GROUP = np.repeat(np.arange(4, dtype=np.int32), 4)
FEW = {"num_collections": 4, "momentum": 0.5}
CASES = {  # name: (make, options)
    "triplet_hard": (triplet, {"mining": "hard"}),
    "triplet_semi_hard": (triplet, {"mining": "semi_hard"}),
    "info_nce": (info_nce, {}),
    "mahalanobis_siamese": (mahalanobis_siamese, {}),
    "mahalanobis_triplet": (mahalanobis_triplet, {"mining": "hard"}),
    "collection_item": (collection_item, FEW),
    "collection_collection": (collection_collection, FEW),
}
LABELLED = [name for name in CASES if "triplet" in name or "siamese" in name]
TRIPLETS = [name for name in CASES if "triplet" in name]
MAHALANOBIS = [name for name in CASES if "mahalanobis" in name]
COLLECTIONS = [name for name in CASES if "collection" in name]
UNLABELLED = [name for name in CASES if name not in LABELLED]
kmeans = jax.jit(spherical_kmeans, static_argnums=2)


@cache
def build(name, dimension=DIMENSION, **options):
    make, defaults = CASES[name]
    return make(dimension, 4, **(defaults | options))


def rows(seed, num=16, dimension=DIMENSION):
    return np.random.default_rng(seed).normal(size=(num, dimension)).astype(np.float32)


def batch_of(x, group=GROUP, second=None):
    """The second view of an object lies near the first one."""
    x = x if isinstance(x, jax.Array) else np.asarray(x, np.float32)
    second = x + 0.1 * rows(99, *x.shape) if second is None else np.asarray(second, np.float32)
    return GroupBatch(x, np.asarray(group, np.int32), second)


@cache
def beginning(objective):
    return jax.jit(objective.init)(jax.random.key(0)), jax.jit(objective.start)()


def start_of(objective, factor=None):
    params, state = beginning(objective)
    return (params if factor is None else {"factor": np.asarray(factor)}), state


@cache
def compiled(objective):
    """Its loss, and the gradients of it to parameters, embeddings and second views."""

    def loss(params, x, second, state, group):
        return objective.loss(params, state, GroupBatch(x, group, second))[0]

    return jax.jit(objective.loss), jax.jit(jax.grad(loss, argnums=(0, 1, 2)))


def value_of(objective, batch, factor=None):
    return float(compiled(objective)[0](*start_of(objective, factor), batch)[0])


def gradients(objective, batch, factor=None):
    params, state = start_of(objective, factor)
    x, group, second = batch
    return compiled(objective)[1](params, x, second, state, group)


def unit(x):
    x = np.asarray(x, np.float64)
    return x / np.sqrt((x * x).sum(axis=-1, keepdims=True))


def loop_triplet(x, group, margin=0.2, mining="hard"):
    x = np.asarray(x, np.float64)
    terms = []
    for a in range(len(x)):
        positive = [
            np.linalg.norm(x[a] - x[p]) for p in range(len(x)) if p != a and group[p] == group[a]
        ]
        negative = [np.linalg.norm(x[a] - x[n]) for n in range(len(x)) if group[n] != group[a]]
        if positive and negative and mining == "hard":
            terms.append(max(0.0, max(positive) - min(negative) + margin))
        elif positive and negative:
            for own in positive:
                farther = [other for other in negative if other > own]
                chosen = min(farther) if farther else max(negative)
                terms.append(max(0.0, own - chosen + margin))
    return np.mean(terms) if terms else 0.0


def loop_siamese(x, group, margin=1.0):
    x = np.asarray(x, np.float64)
    same, different = [], []
    for i in range(len(x)):
        for j in range(i + 1, len(x)):
            d = np.linalg.norm(x[i] - x[j])
            if group[i] == group[j]:
                same.append(d**2 / 2)
            else:
                different.append(max(0.0, margin - d) ** 2 / 2)
    return (np.mean(same) if same else 0.0) + (np.mean(different) if different else 0.0)


def loop_info_nce(x, y, temperature=0.1):
    x, y = unit(x), unit(y)
    total = 0.0
    for i in range(len(x)):
        for a, others in ((x[i], y), (y[i], x)):
            odds = [np.exp(np.dot(a, b) / temperature) for b in others]
            total -= np.log(odds[i] / sum(odds)) / 2
    return total / len(x)


def loop_smog(name, x, y, g, *, temperature=0.1, momentum=0.5, nearest=np.argmax, held=None):
    """The loss and the groups after it; `held`: groups to use in place of the updated ones."""
    x, y, g = unit(x), unit(y), np.asarray(g, np.float64)
    own = [int(nearest([np.dot(a, b) for b in g])) for a in x]
    right = [int(nearest([np.dot(a, b) for b in g])) for a in y]
    new = g.copy()
    for k in range(len(g)):
        members = [x[i] for i in range(len(x)) if own[i] == k]
        if members:
            new[k] = unit(momentum * g[k] + (1 - momentum) * np.mean(members, axis=0))
    used = new if held is None else held
    total = 0.0
    for i in range(len(x)):
        query = x[i] if name == "collection_item" else used[own[i]]
        odds = [np.exp(np.dot(query, b) / temperature) for b in used]
        total -= np.log(odds[right[i]] / sum(odds))
    return total / len(x), new


# ranking and instances


@pytest.mark.parametrize("mining", ["hard", "semi_hard"])
@pytest.mark.parametrize("seed", range(3))
def test_triplet_equals_a_float64_loop(mining, seed):
    objective = triplet(DIMENSION, 4, margin=0.7, mining=mining)
    uneven = np.array([0, 0, 0, 1, 1, 2, 0, 1, 3, 3, 3, 3, 3, 1, 0, 5])  # groups of one as well
    for group in (GROUP, uneven):
        x = 0.5 * rows(seed)
        expected = loop_triplet(x, group, 0.7, mining)
        np.testing.assert_allclose(value_of(objective, batch_of(x, group)), expected, rtol=1e-5)
    other = {"hard": "semi_hard", "semi_hard": "hard"}[mining]
    assert abs(loop_triplet(x, uneven, 0.7, other) - expected) > 1e-2  # the fixture tells them


def test_triplet_hard_from_optax_and_scikit_learn():
    x = rows(3)
    apart = sklearn_distances(np.float64(x))
    same = GROUP[:, None] == GROUP
    farthest = np.where(same, apart, -np.inf).argmax(axis=1)
    nearest = np.where(same, np.inf, apart).argmin(axis=1)
    expected = optax.losses.triplet_margin_loss(
        jnp.asarray(x), x[farthest], x[nearest], margin=0.2, eps=0
    ).mean()
    value = value_of(triplet(DIMENSION, 4), batch_of(x))
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    easy = optax.losses.triplet_margin_loss(x, x[farthest], x[farthest[::-1]], margin=0.2, eps=0)
    assert abs(easy.mean() - value) > 1e-2


def test_triplet_by_hand():
    # on a line: group 0 at 0 and 1, group 1 at 3, 7 and 7.5
    x, group = [[0.0], [1.0], [3.0], [7.0], [7.5]], [0, 0, 1, 1, 1]
    by_hand = {
        # d(a, p) − d(a, n) + 2: 1−3, 1−2, 4.5−2, 4−6 and 4.5−6.5 plus 2, below zero nothing
        "hard": (0 + 1 + 4.5 + 0 + 0) / 5,
        # 0: 1−3; 1: 1−2; at 3 both negatives (2, 3) are nearer than 4 and 4.5, so the farther one;
        # at 7 (6, 7): 4−6, 0.5−6; at 7.5 (6.5, 7.5): 4.5−6.5, 0.5−6.5; each plus 2
        "semi_hard": (0 + 1 + (4 - 3 + 2) + (4.5 - 3 + 2) + 0 + 0 + 0 + 0) / 8,
    }
    for mining, expected in by_hand.items():
        objective = triplet(1, 2, margin=2.0, mining=mining)
        np.testing.assert_allclose(value_of(objective, batch_of(x, group)), expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["triplet_hard", "triplet_semi_hard"])
def test_the_margin_of_triplets_is_in_units_of_the_embedding(name):
    x = rows(4)
    value = value_of(build(name, margin=1.0), batch_of(x))
    assert value > 0.5
    large = value_of(build(name, margin=1000.0), batch_of(1000 * x))
    np.testing.assert_allclose(large, 1000 * value, rtol=1e-5)
    assert large > 1.1 * value_of(build(name, margin=1.0), batch_of(1000 * x))  # it still matters


def test_the_margin_of_pairs_is_in_units_of_the_embedding():
    x = 0.2 * rows(4)
    value = value_of(mahalanobis_siamese(DIMENSION, 4), batch_of(x))
    large = value_of(mahalanobis_siamese(DIMENSION, 4, margin=1000.0), batch_of(1000 * x))
    np.testing.assert_allclose(large, 1000**2 * value, rtol=1e-5)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_info_nce_equals_a_float64_loop_optax_and_scikit_learn(temperature):
    x, y = rows(5), rows(6)
    objective = info_nce(DIMENSION, 4, temperature=temperature)
    value = value_of(objective, batch_of(x, second=y))
    np.testing.assert_allclose(value, loop_info_nce(x, y, temperature), rtol=1e-5)
    np.testing.assert_allclose(
        value_of(objective, batch_of(3 * x, second=0.1 * y)), value, rtol=1e-5
    )

    logits = unit(x) @ unit(y).T / temperature
    labels = np.arange(len(x))
    entropies = [
        optax.losses.softmax_cross_entropy_with_integer_labels(jnp.float32(part), labels).mean()
        for part in (logits, logits.T)
    ]
    np.testing.assert_allclose(value, np.mean(entropies), rtol=1e-5)
    odds = [np.exp(part) / np.exp(part).sum(axis=1, keepdims=True) for part in (logits, logits.T)]
    np.testing.assert_allclose(value, np.mean([log_loss(labels, p) for p in odds]), rtol=1e-5)
    assert abs(entropies[0] - value) > 1e-4  # one direction alone is something else
    assert abs(value_of(objective, batch_of(x, second=y[::-1])) - value) > 1e-2


def test_info_nce_by_hand():
    x = np.eye(2)
    objective = info_nce(2, 2, temperature=0.5)
    right = value_of(objective, batch_of(x, [0, 1], second=3 * x))
    swapped = value_of(objective, batch_of(x, [0, 1], second=x[::-1]))
    np.testing.assert_allclose((right, swapped), np.log1p(np.exp([-2, 2])), rtol=1e-6)


# learned metrics


@pytest.mark.parametrize("margin", [1.0, 3.0])
def test_siamese_equals_a_float64_loop(margin):
    x = rows(7)
    factor = rows(8, DIMENSION)
    objective = mahalanobis_siamese(DIMENSION, 4, margin=margin)
    for map_ in (np.eye(DIMENSION), factor):
        value = value_of(objective, batch_of(x), np.float32(map_))
        expected = loop_siamese(x.astype(np.float64) @ map_.T, GROUP, margin)
        np.testing.assert_allclose(value, expected, rtol=1e-4)


def test_siamese_by_hand_and_without_one_kind_of_pairs():
    x = [[0.0], [0.5], [2.0]]
    objective = mahalanobis_siamese(1, 2)
    by_hand = {  # half squares of the same, half squared gaps to 1 of the different
        (0, 0, 1): 0.125 + 0,
        (0, 1, 0): 2 + 0.125 / 2,
        (0, 0, 0): (0.125 + 2 + 1.125) / 3,
        (0, 1, 2): 0.125 / 3,
    }
    for group, expected in by_hand.items():
        batch = batch_of(x, group)
        np.testing.assert_allclose(value_of(objective, batch), expected, rtol=1e-6)
        assert all(np.isfinite(part).all() for part in jax.tree.leaves(gradients(objective, batch)))
    np.testing.assert_allclose(value_of(objective, batch_of(x, (0, 0, 1)), [[2.0]]), 0.5)


@pytest.mark.parametrize("mining", ["hard", "semi_hard"])
def test_metrics_start_euclidean_and_a_diagonal_rescales(mining):
    x, scale = rows(9), np.array([0.1, 2, 1, 0.5, 3], np.float32)
    learned = mahalanobis_triplet(DIMENSION, 4, mining=mining)
    plain = triplet(DIMENSION, 4, mining=mining)
    np.testing.assert_array_equal(learned.init(jax.random.key(1))["factor"], np.eye(DIMENSION))
    euclidean = value_of(plain, batch_of(x))
    np.testing.assert_allclose(value_of(learned, batch_of(x)), euclidean, rtol=1e-6)
    diagonal = value_of(learned, batch_of(x), np.diag(scale))
    np.testing.assert_allclose(diagonal, value_of(plain, batch_of(x * scale)), rtol=1e-6)
    assert abs(diagonal - euclidean) > 1e-2
    turn = np.linalg.qr(rows(10, DIMENSION))[0]
    np.testing.assert_allclose(value_of(learned, batch_of(x), turn), euclidean, rtol=1e-4)


@pytest.mark.parametrize("name", MAHALANOBIS)
def test_distances_of_embedded_vectors_are_those_of_the_metric(name):
    x = rows(11)
    params = {"factor": rows(12, DIMENSION)}
    M = np.asarray(metric(params))
    np.testing.assert_array_equal(M, M.T)
    assert np.linalg.eigvalsh(np.float64(M)).min() > -1e-5
    flat = metric({"factor": params["factor"] * np.eye(DIMENSION)[0]})  # one column of L
    assert np.sum(np.linalg.eigvalsh(flat) > 1e-4) == 1

    z = np.asarray(build(name).embed(params, x), np.float64)
    difference = (x[:, None] - x[None]).astype(np.float64)
    by_metric = np.sqrt(np.einsum("ijk,kl,ijl->ij", difference, M, difference))
    np.testing.assert_allclose(sklearn_distances(z), by_metric, atol=1e-4)
    np.testing.assert_allclose(cdist(x, x, "mahalanobis", VI=M), by_metric, atol=1e-4)
    wrong = np.float64(params["factor"] @ params["factor"].T)  # L Lᵀ in place of Lᵀ L
    transposed = np.sqrt(np.einsum("ijk,kl,ijl->ij", difference, wrong, difference))
    assert np.abs(transposed - by_metric).max() > 0.1


@pytest.mark.parametrize("name", MAHALANOBIS)
def test_the_factor_learns(name):
    objective, batch = build(name), batch_of(0.3 * rows(13))
    step = gradients(objective, batch)[0]["factor"]
    assert np.abs(step).max() > 1e-3
    moved = np.eye(DIMENSION, dtype=np.float32) - 1e-2 * step
    assert value_of(objective, batch, moved) < value_of(objective, batch) - 1e-5


# collections


@pytest.mark.parametrize("name", COLLECTIONS)
@pytest.mark.parametrize("seed", range(3))
def test_collections_equal_a_float64_loop(name, seed):
    x, y = rows(seed), rows(seed + 20)
    objective = build(name, num_collections=7)
    params, state = start_of(objective)
    groups = np.asarray(state["groups"])
    np.testing.assert_allclose(np.linalg.norm(groups, axis=1), 1, rtol=1e-6)
    expected, after = loop_smog(name, x, y, groups)
    value, new = compiled(objective)[0](params, state, batch_of(x, second=y))
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    np.testing.assert_allclose(new["groups"], after, atol=1e-6)
    assert list(new) == ["groups"]

    # assigning to the least similar, and losses from the groups before the update, are others
    assert abs(loop_smog(name, x, y, groups, nearest=np.argmin)[0] - expected) > 1e-2
    assert abs(loop_smog(name, x, y, groups, held=np.float64(groups))[0] - expected) > 1e-2
    assert abs(loop_smog(name, x, x, groups)[0] - expected) > 1e-2  # which view says what is right


def test_collections_by_hand():
    state = {"groups": jnp.eye(2)}
    x = np.array([[2.0, 0.0], [0.0, 5.0]])
    y = np.array([[1.0, 0.2], [3.0, 1.0]])  # collection 0 is right for both
    values = {
        name: compiled(build(name, 2, num_collections=2, temperature=1.0))[0](
            {}, state, batch_of(x, [0, 1], second=y)
        )
        for name in COLLECTIONS
    }
    # g stay e_0 and e_1, so that both forms agree: cosine 1 with the right one, then 0
    expected = (np.log1p(np.exp(-1)) + np.log1p(np.exp(1))) / 2
    for value, new in values.values():
        np.testing.assert_allclose(value, expected, rtol=1e-6)
        np.testing.assert_allclose(new["groups"], np.eye(2), atol=1e-7)

    # both first views in g_0: halfway from e_0 to their mean (0.8, 0), no step for g_1
    x = np.array([[0.8, 0.6], [0.8, -0.6]])
    loss_fn = compiled(build("collection_item", 2, num_collections=2, temperature=1.0))[0]
    _, new = loss_fn({}, state, batch_of(x, [0, 1], second=x))
    np.testing.assert_allclose(new["groups"], np.eye(2), atol=1e-7)
    # one first view in g_0: e_0 / 2 + (0.8, 0.6) / 2 = (0.9, 0.3), scaled to length one
    _, new = loss_fn({}, state, batch_of(np.tile(x[:1], (2, 1)), [0, 1], second=x))
    np.testing.assert_allclose(new["groups"][0], np.array([3, 1]) / np.sqrt(10), rtol=1e-6)
    np.testing.assert_array_equal(new["groups"][1], [0, 1])


@pytest.mark.parametrize("name", COLLECTIONS)
def test_gradients_pass_through_the_update_of_the_collections(name):
    objective = build(name)
    x, y = rows(30, 6), rows(31, 6)
    groups = np.asarray(objective.start()["groups"])
    batch = batch_of(x, GROUP[:6], second=y)
    _, by_x, by_y = gradients(objective, batch)
    np.testing.assert_array_equal(by_y, 0)  # the second view only says which is right

    def differences(held=None):
        grad = np.zeros(x.shape)
        for index in np.ndindex(*x.shape):
            up, down = np.float64(x), np.float64(x)
            up[index] += 1e-6
            down[index] -= 1e-6
            values = [loop_smog(name, z, y, groups, held=held)[0] for z in (up, down)]
            grad[index] = (values[0] - values[1]) / 2e-6
        return grad

    np.testing.assert_allclose(by_x, differences(), atol=2e-4)
    # with the same groups taken for constants the gradient is another one
    constant = differences(held=loop_smog(name, x, y, groups)[1])
    assert np.abs(by_x - constant).max() > 1e-2


@pytest.mark.parametrize("name", COLLECTIONS)
def test_without_momentum_collections_are_what_the_batch_says(name):
    objective = build(name, momentum=0.0)
    x, state = rows(32)[[0, 0, 1, 1]], beginning(objective)[1]
    batch = batch_of(x, GROUP[:4])
    new = compiled(objective)[0]({}, state, batch)[1]["groups"]
    own = np.asarray(assign(x, state["groups"]))
    assert len(set(own)) == 2
    np.testing.assert_allclose(new[own[0]], unit(x[0]), atol=1e-6)
    rest = np.setdiff1d(np.arange(4), own)
    np.testing.assert_allclose(new[rest], state["groups"][rest], atol=1e-6)
    assert all(np.isfinite(part).all() for part in gradients(objective, batch)[1:])


@pytest.mark.parametrize("name", COLLECTIONS)
def test_stored_collections_have_no_gradient(name):
    objective = build(name)
    params, state = start_of(objective)

    @jax.jit
    def total(x):
        return jnp.sum(objective.loss(params, state, batch_of(x))[1]["groups"] * rows(1, 4))

    x = rows(32)
    np.testing.assert_array_equal(jax.grad(total)(x), 0)
    assert abs(total(x) - total(rows(33))) > 1e-2  # though they depend on it


@pytest.mark.parametrize("name", COLLECTIONS)
def test_regrouping_undoes_a_collapse(name):
    objective = build(name)
    x = rows(34, 40)
    collapsed = {"groups": np.tile(unit(rows(35, 1)).astype(np.float32), (4, 1))}
    _, stuck = compiled(objective)[0]({}, collapsed, batch_of(x, np.zeros(40)))
    assert len(np.unique(stuck["groups"], axis=0)) == 2  # all objects are of the first group
    regroup = jax.jit(objective.regroup)
    restored = regroup(collapsed, jax.random.key(0), x)
    groups = np.asarray(restored["groups"])
    np.testing.assert_allclose(np.linalg.norm(groups, axis=1), 1, rtol=1e-5)
    assert sklearn_distances(groups)[~np.eye(4, dtype=bool)].min() > 0.3
    assert set(np.asarray(assign(x, groups))) == {0, 1, 2, 3}
    assert set(np.asarray(assign(x, collapsed["groups"]))) == {0}
    lengths = np.linspace(0.2, 5, 40, dtype=np.float32)[:, None]
    longer = regroup(stuck, jax.random.key(0), lengths * x)["groups"]
    np.testing.assert_allclose(longer, groups, atol=1e-5)  # neither state nor lengths matter
    other = regroup(stuck, jax.random.key(1), x)["groups"]
    assert np.abs(np.asarray(other) - groups).max() > 1e-2  # drawn by the key


def inertia(points, centers):
    return cdist(unit(points), unit(centers), "sqeuclidean").min(axis=1).sum()


def test_kmeans_descends_and_finds_what_scikit_learn_finds():
    free = np.float32(unit(rows(36, 60)))
    for seed in range(5):
        start, one, ten = (
            inertia(free, kmeans(jax.random.key(seed), free, 6, num_steps=steps))
            for steps in (0, 1, 10)
        )
        assert ten <= one < start - 1

    means = unit(np.eye(DIMENSION)).repeat(12, axis=0)
    tight = np.float32(unit(means + 0.05 * rows(37, 60)))
    keys = [jax.random.key(seed) for seed in range(10)]
    starts = [np.asarray(kmeans(key, tight, 5, num_steps=0)) for key in keys]
    spread = [len(set((tight @ start.T).argmax(axis=0) // 12)) for start in starts]
    assert spread.count(5) >= 8  # in all five clusters; evenly drawn points are so 1 time in 26
    assert len({int((tight @ start[0]).argmax()) for start in starts}) > 5  # by the key

    centers = kmeans(jax.random.key(0), tight, 5)
    known = KMeans(5, n_init=3, random_state=0).fit(np.float64(tight))
    np.testing.assert_allclose(inertia(tight, centers), known.inertia_, rtol=1e-2)
    assert inertia(tight, rows(38, 5)) > 10 * known.inertia_
    found = np.asarray(assign(tight, centers)).reshape(5, 12)
    assert (found == found[:, :1]).all() and len(set(found[:, 0])) == 5


def test_kmeans_moves_centers_without_points_and_bears_equal_points():
    points = np.float32(unit([[1, 0, 0], [1, 0.1, 0], [0, 1, 0], [0, 0.1, 1]]))
    centers = jax.jit(lloyd_step)(points, np.tile(points[:1], (3, 1)))
    np.testing.assert_allclose(centers[0], unit(unit(points).sum(axis=0)), rtol=1e-5)
    # farthest from the one center that has points come the last two
    np.testing.assert_allclose(np.sort(centers[1:], axis=0), np.sort(points[2:], axis=0), rtol=1e-6)
    same = np.tile(points[:1], (6, 1))
    np.testing.assert_allclose(kmeans(jax.random.key(0), same, 3), same[:3], rtol=1e-6)


# all of them


@pytest.mark.parametrize("name", CASES)
def test_shuffled_groups_matter_to_the_labelled_ones_only(name):
    x = 0.5 * rows(40)
    objective = build(name)
    value = value_of(objective, batch_of(x))
    shuffled = value_of(objective, batch_of(x, np.roll(GROUP, 2)))
    if name in LABELLED:
        assert abs(shuffled - value) > 1e-3
    else:
        assert shuffled == value
    # names of groups and the order of the batch do not matter
    order = np.random.default_rng(0).permutation(16)
    second = x + 0.1 * rows(99)
    renamed = value_of(objective, batch_of(x[order], 9 - GROUP[order], second[order]))
    np.testing.assert_allclose(renamed, value, rtol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_finite_with_duplicates(name):
    objective = build(name)
    pairs, all_equal = rows(41)[[0, 0, 1, 1] * 4], rows(42)[[0] * 16]
    for x in (pairs, all_equal):
        for second in (x, None):
            batch = batch_of(x, second=second)
            assert np.isfinite(value_of(objective, batch))
            found = gradients(objective, batch)
            assert all(np.isfinite(part).all() for part in jax.tree.leaves(found))


@pytest.mark.parametrize("name", TRIPLETS)
def test_batches_without_positives_or_negatives_cost_nothing(name):
    objective, x = build(name, margin=10.0), rows(43)
    for group in (np.arange(16), np.zeros(16)):
        batch = batch_of(x, group)
        assert value_of(objective, batch) == 0
        for part in jax.tree.leaves(gradients(objective, batch)):
            np.testing.assert_array_equal(part, 0)
    assert value_of(objective, batch_of(x)) > 1


def neighbours_of_own_group(objective, params, x):
    z = np.asarray(objective.embed(params, x))
    apart = sklearn_distances(z)
    np.fill_diagonal(apart, np.inf)
    return np.mean(GROUP[apart.argmin(axis=1)] == GROUP)


@pytest.mark.parametrize("name", CASES)
def test_training_lowers_the_loss_of_free_embeddings(name):
    objective = build(name)
    loss_fn, grad_fn = compiled(objective)
    optimizer = optax.adam(0.1)
    update, apply = jax.jit(optimizer.update), jax.jit(optax.apply_updates)
    before, state = start_of(objective)
    start = 0.5 * rows(44)
    (params, x), new = (before, start), state
    opt_state, values = optimizer.init((params, x)), []
    for _ in range(31):  # the last value is that after 30 steps
        _, group, second = batch = batch_of(x)
        by_params, by_x, by_second = grad_fn(params, x, second, new, group)
        value, new = loss_fn(params, new, batch)
        steps, opt_state = update((by_params, by_x + by_second), opt_state)
        params, x = apply((params, x), steps)
        values.append(value)
    assert values[-1] < 0.7 * values[0]
    assert jax.tree.structure(new) == jax.tree.structure(state)
    if name in LABELLED:
        assert neighbours_of_own_group(objective, before, start) < 0.7
        assert neighbours_of_own_group(objective, params, x) == 1
    else:
        z = objective.embed(params, x)
        np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_bad_batches_are_refused_when_traced(name):
    objective = build(name)
    params, state = start_of(objective)
    loss = partial(jax.eval_shape, objective.loss)
    with pytest.raises(ValueError, match="at least two objects, not 1"):
        loss(params, state, batch_of(rows(0)[:1], [0]))
    with pytest.raises(AssertionError):
        loss(params, state, batch_of(rows(0, 16, 3)))
    assert objective.two_views == (name in UNLABELLED)
    alone = batch_of(rows(0))._replace(second=None)
    if objective.two_views:
        with pytest.raises(ValueError, match="second view"):
            loss(params, state, alone)
    else:
        assert loss(params, state, alone)[1] == {}


@pytest.mark.parametrize(
    "make, options, words",
    [
        (triplet, {"margin": 0.0}, "margin is 0.0; it must be positive"),
        (triplet, {"mining": "easy"}, "unknown mining 'easy'; known: hard, semi_hard"),
        (info_nce, {"temperature": -1.0}, "temperature is -1.0"),
        (mahalanobis_siamese, {"margin": float("nan")}, "margin is nan"),
        (mahalanobis_triplet, {"margin": -1.0}, "margin is -1.0"),
        (mahalanobis_triplet, {"mining": "all"}, "unknown mining 'all'; known: hard"),
        (collection_item, {"num_collections": 1}, "num_collections is 1; there must be at least"),
        (collection_item, {"temperature": 0.0}, "temperature is 0.0"),
        (collection_collection, {"momentum": 1.0}, r"momentum is 1.0; it must lie in \[0, 1\)"),
        (collection_collection, {"regroup_every": 0}, "regroup_every is 0; it must be positive"),
    ],
)
def test_bad_options_are_refused(make, options, words):
    with pytest.raises(ValueError, match=words):
        make(DIMENSION, 4, **options)


@pytest.mark.parametrize("name", COLLECTIONS)
def test_regrouping_needs_as_many_objects_as_collections(name):
    objective = build(name, regroup_every=17)
    _, state = start_of(objective)
    assert objective.regroup_every == 17
    with pytest.raises(ValueError, match="3 objects are too few for 4 collections"):
        objective.regroup(state, jax.random.key(0), rows(0)[:3])
    with pytest.raises(AssertionError):
        objective.regroup(state, jax.random.key(0), rows(0, 16, 3))
    first = jax.jit(objective.regroup)(state, jax.random.key(0), rows(0)[:4])
    np.testing.assert_allclose(  # each object its own collection
        np.sort(first["groups"], axis=0), np.sort(unit(rows(0)[:4]), axis=0), rtol=1e-5
    )


@pytest.mark.parametrize("name", sorted(GROUP_OBJECTIVES))
def test_an_object_at_zero_is_no_number_lost(name):
    objective = make_group_objective(name, 4, 3, {})
    x = jax.random.normal(jax.random.key(0), (6, 4)).at[2].set(0)
    batch = GroupBatch(x, jnp.array([0, 0, 1, 1, 2, 2]), x[::-1] + 0.1)
    params, state = objective.init(jax.random.key(1)), objective.start()

    def loss(x):
        return objective.loss(params, state, batch._replace(embeddings=x))[0]

    value, gradient = jax.jit(jax.value_and_grad(loss))(x)
    assert jnp.isfinite(value) and jnp.isfinite(gradient).all() and jnp.abs(gradient).max() > 0
    assert jnp.isfinite(objective.embed(params, x)).all()
