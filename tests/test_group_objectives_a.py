"""ArcFace, GroupFace, Group Loss and Gaussian triplets against float64 loops, optax, scikit-learn,
scipy and values worked out by hand.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.integrate import quad
from scipy.spatial.distance import cdist
from scipy.stats import norm
from sklearn.metrics import log_loss

from genvec.geometry import to_sphere
from genvec.objectives.arcface import arcface, arcface_logits
from genvec.objectives.contract import GroupBatch
from genvec.objectives.gaussian import gaussian_triplet, symmetrised_kl
from genvec.objectives.group_loss import first_of_group, group_loss
from genvec.objectives.groupface import decision_logits, groupface, self_distributed

DIMENSION, NUM_GROUPS = 6, 4
GROUP = np.array([2, 0, 1, 0, 2, 3, 2, 1, 0, 3], np.int32)
MAKE = {
    "arcface": arcface,
    "groupface": groupface,
    "group_loss": group_loss,
    "gaussian_triplet": gaussian_triplet,
}
OPTIONS = {  # more than the defaults, for the loops
    "arcface": [{"scale": 4.0, "margin": 1.2}, {"margin": 0.0}],
    "groupface": [{"num_latent": 3, "weight": 2.0, "momentum": 0.5}, {"scale": 2.0, "margin": 1.0}],
    "group_loss": [
        {"num_anchors": 0, "iterations": 1, "temperature": 1.0},
        {"num_anchors": 2, "iterations": 3, "temperature": 2.0},
    ],
    "gaussian_triplet": [{"log_variance_bound": 3.0}],
}
CASES = [(name, options) for name in MAKE for options in [{}, *OPTIONS[name]]]

# each program runs a few times, and optimising it would take longer than all else
compiled = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def rows(seed, num=10, dimension=DIMENSION):
    return np.random.default_rng(seed).normal(size=(num, dimension)).astype(np.float32)


def build(name, dimension=DIMENSION, num_groups=NUM_GROUPS, **options):
    """The objective, its parameters and its first state."""
    objective = MAKE[name](dimension, num_groups, **options)
    return objective, compiled(objective.init)(jax.random.key(0)), objective.start()


def loss_of(objective, params, state, x, group=GROUP):
    return objective.loss(params, state, GroupBatch(jnp.asarray(x), jnp.asarray(group)))[0]


value = compiled(loss_of, static_argnums=0)
# the loss, and its gradients by parameters and embeddings
value_and_grads = compiled(jax.value_and_grad(loss_of, argnums=(1, 3)), static_argnums=0)


def softmax(logits):
    odds = np.exp(logits - np.max(logits))
    return odds / odds.sum()


def loop_arcface(params, state, x, group, scale=16.0, margin=0.3):
    total = 0.0
    for v, own in zip(x, group, strict=True):
        logits = []
        for j, centre in enumerate(params["centres"]):
            angle = np.arccos(np.dot(v, centre) / np.sqrt(np.dot(v, v) * np.dot(centre, centre)))
            if j == own:
                angle += margin
            logits.append(scale * (np.cos(angle) if angle <= np.pi else -2 - np.cos(angle)))
        total -= np.log(softmax(logits)[own])
    return total / len(x)


def loop_groupface(
    params, state, x, group, num_latent=8, weight=0.1, momentum=0.9, scale=16.0, margin=0.3
):
    probabilities, features = [], []
    for v in x:
        h = np.maximum(0, v @ params["hidden"][0])
        h = np.maximum(0, h @ params["hidden"][1])
        p = softmax(h @ params["decision"])
        probabilities.append(p)
        features.append(v + sum(p[k] * (params["maps"][k] @ v) for k in range(num_latent)))
    expected = momentum * state["expectation"] + (1 - momentum) * np.mean(probabilities, axis=0)
    latent = [np.argmax((p - expected) / num_latent + 1 / num_latent) for p in probabilities]
    entropy = -np.mean([np.log(p[k]) for p, k in zip(probabilities, latent, strict=True)])
    return loop_arcface(params, state, features, group, scale, margin) + weight * entropy


def loop_group_loss(params, state, x, group, num_anchors=1, iterations=2, temperature=10.0):
    correlation = np.corrcoef(x)
    beliefs, counted, seen = [], [], []
    for v, own in zip(x, group, strict=True):
        anchor = seen.count(own) < num_anchors
        seen.append(own)
        counted.append(not anchor)
        prior = softmax((params["weights"] @ v + params["bias"]) / temperature)
        beliefs.append(np.eye(NUM_GROUPS)[own] if anchor else prior)
    for _ in range(iterations):
        refined = []
        for i, belief in enumerate(beliefs):
            others = [j for j in range(len(x)) if j != i]
            product = belief * sum(max(0, correlation[i, j]) * beliefs[j] for j in others)
            refined.append(product / product.sum() if product.sum() > 0 else belief)
        beliefs = refined
    surprise = [-np.log(b[own]) for b, own in zip(beliefs, group, strict=True)]
    return sum(s for s, counts in zip(surprise, counted, strict=True) if counts) / sum(counted)


def loop_kl(mean, variance, other_mean, other_variance):
    return 0.5 * sum(
        np.log(w / v) + (v + (m - n) ** 2) / w - 1
        for m, v, n, w in zip(mean, variance, other_mean, other_variance, strict=True)
    )


def loop_gaussian_triplet(params, state, x, group, log_variance_bound=1.0):
    half = x.shape[1] // 2
    spread = np.exp(log_variance_bound * np.tanh(x[:, half:] / log_variance_bound))
    gaussians = list(zip(x[:, :half], spread, strict=True))
    losses = []
    for a in range(len(x)):
        for p in range(len(x)):
            for n in range(len(x)):
                if a == p or group[a] != group[p] or group[a] == group[n]:
                    continue
                near, far = (
                    0.5 * loop_kl(*gaussians[a], *gaussians[b])
                    + 0.5 * loop_kl(*gaussians[b], *gaussians[a])
                    for b in (p, n)
                )
                losses.append(-np.log(np.exp(-near) / (np.exp(-near) + np.exp(-far))))
    return np.mean(losses)


LOOPS = {
    "arcface": loop_arcface,
    "groupface": loop_groupface,
    "group_loss": loop_group_loss,
    "gaussian_triplet": loop_gaussian_triplet,
}


@pytest.mark.parametrize("name, options", CASES)
def test_equals_a_float64_loop(name, options):
    objective, _, state = build(name, **options)
    init = compiled(objective.init)
    for seed in range(3):
        params = init(jax.random.key(seed))
        # a part in common, so that no object of Group Loss is left without any support
        x = rows(seed) + rows(seed + 50, num=1)
        if name == "group_loss":
            assert np.corrcoef(x).min() < -0.1
            params = params | {"bias": jnp.asarray(rows(seed + 9)[0, :NUM_GROUPS])}
        exact = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), (params, state))
        expected = LOOPS[name](*exact, x.astype(np.float64), GROUP, **options)
        found = value(objective, params, state, x)
        assert found.shape == ()
        np.testing.assert_allclose(found, expected, rtol=5e-5)


def test_arcface_without_margin_is_the_cross_entropy_of_cosines():
    objective, params, state = build("arcface", scale=5.0, margin=0.0)
    x = rows(1)
    cosines = 1 - cdist(x, params["centres"], "cosine")
    found = value(objective, params, state, x)
    expected = optax.losses.softmax_cross_entropy_with_integer_labels(5 * cosines, GROUP)
    np.testing.assert_allclose(found, expected.mean(), rtol=1e-5)
    odds = np.exp(5 * cosines)
    likelihood = odds / odds.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, log_loss(GROUP, likelihood), rtol=1e-5)
    wider, _, _ = build("arcface", scale=5.0, margin=0.3)
    assert value(wider, params, state, x) > found + 0.1  # a margin makes it harder


def test_arcface_by_hand():
    """Halfway between two orthogonal centres, and on the far side of the own one."""
    objective, _, state = build("arcface", dimension=2, num_groups=2, scale=3.0, margin=0.5)
    params = {"centres": jnp.array([[2.0, 0.0], [0.0, 3.0]])}
    x, group = np.array([[1.0, 1.0], [-1.0, -1e-2]], np.float32), np.array([0, 0])
    past = np.pi - np.arctan(1e-2) + 0.5
    logits = [
        (3 * np.cos(np.pi / 4 + 0.5), 3 * np.cos(np.pi / 4)),
        (3 * (-2 - np.cos(past)), -3 * np.sin(np.arctan(1e-2))),
    ]
    by_hand = np.mean([np.log(1 + np.exp(other - own)) for own, other in logits])
    np.testing.assert_allclose(value(objective, params, state, x, group), by_hand, rtol=1e-5)


@pytest.mark.parametrize("margin", [0.0, 0.3, 1.0, 3.0])
def test_the_own_logit_falls_with_the_angle_past_pi_as_well(margin):
    angles = np.linspace(0.01, np.pi - 0.01, 400)
    cosines = np.stack([np.cos(angles), np.zeros(400)], axis=1).astype(np.float32)
    logits_fn = compiled(functools.partial(arcface_logits, scale=2.0, margin=margin))
    logits = np.asarray(logits_fn(cosines, np.zeros(400, int)))
    assert np.all(np.diff(logits[:, 0]) < 0)
    assert np.all(logits[:, 1] == 0)
    before = angles + margin <= np.pi
    textbook = 2 * np.cos(angles + margin)
    np.testing.assert_allclose(logits[before, 0], textbook[before], atol=1e-5)
    if margin:  # the textbook form alone turns round
        assert np.any(np.diff(textbook) > 0)


def test_arcface_has_finite_gradients_on_the_centres_and_opposite_of_them():
    objective, params, state = build("arcface")
    centres = np.asarray(params["centres"])
    x = np.concatenate([centres, -centres, 2 * centres[::-1]])
    group = np.tile(np.arange(NUM_GROUPS), 3)
    _, grads = value_and_grads(objective, params, state, x, group)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(grads))
    # arccos unclipped has none
    assert not np.isfinite(jax.grad(jnp.arccos)(1.0))


def test_expectation_normalised_probabilities_average_to_one_over_k():
    p = np.random.default_rng(0).dirichlet([9.0, 1.0, 1.0, 1.0, 1.0], size=30)
    normalised = np.asarray(self_distributed(jnp.asarray(p), jnp.asarray(p.mean(axis=0))))
    np.testing.assert_allclose(normalised.mean(axis=0), np.full(5, 1 / 5), rtol=1e-5)
    assert normalised.min() > 0 and normalised.max() < 1
    # plain argmax puts nearly all objects into the group that is the likeliest throughout
    plain, spread = (np.bincount(q.argmax(axis=1), minlength=5) for q in (p, normalised))
    assert plain[0] > 24 and plain.min() == 0
    assert spread[0] < 24 and spread.min() > 0


def test_groupface_keeps_a_running_mean_of_the_latent_probabilities():
    objective, params, state = build("groupface", num_latent=3, momentum=0.75)
    fresh = build("groupface", num_latent=3, momentum=0.0)[0]
    expected = np.full(3, 1 / 3)
    for seed in (4, 5):
        batch = GroupBatch(jnp.asarray(rows(seed)), jnp.asarray(GROUP))
        _, state = compiled(objective.loss)(params, state, batch)
        logits = decision_logits(params, batch.embeddings)
        mean = np.mean([softmax(row) for row in np.asarray(logits, np.float64)], axis=0)
        expected = 0.75 * expected + 0.25 * mean
        np.testing.assert_allclose(state["expectation"], expected, rtol=1e-5)
        _, alone = compiled(fresh.loss)(params, state, batch)
        np.testing.assert_allclose(alone["expectation"], mean, rtol=1e-5)
        assert abs(mean - expected).max() > 1e-3


def test_groupface_without_latent_groups_is_arcface():
    objective, params, state = build("groupface", weight=0.0)
    plain = build("arcface")[0]
    x = rows(6)
    without = params | {"maps": jnp.zeros_like(params["maps"])}
    found = value(objective, without, state, x)
    np.testing.assert_allclose(found, value(plain, params, {}, x), rtol=1e-5)
    assert abs(value(objective, params, state, x) - found) > 1e-2
    np.testing.assert_allclose(objective.embed(without, x), to_sphere(x), rtol=1e-5)
    assert np.abs(objective.embed(params, x) - to_sphere(x)).max() > 1e-2


def test_group_loss_without_iterations_is_plain_cross_entropy():
    x = rows(7)
    objective, params, state = build("group_loss", num_anchors=0, iterations=0)
    logits = x @ np.asarray(params["weights"]).T / 10
    entropy = optax.losses.softmax_cross_entropy_with_integer_labels(logits, GROUP)
    np.testing.assert_allclose(value(objective, params, state, x), entropy.mean(), rtol=1e-5)
    likelihood = np.array([softmax(row) for row in logits])
    np.testing.assert_allclose(entropy.mean(), log_loss(GROUP, likelihood), rtol=1e-5)
    # with anchors, over the others: the first of each group in GROUP are rows 0, 1, 2 and 5
    anchored = build("group_loss", num_anchors=1, iterations=0)[0]
    others = entropy[np.array([3, 4, 6, 7, 8, 9])]
    np.testing.assert_allclose(value(anchored, params, state, x), others.mean(), rtol=1e-5)


def test_group_loss_by_hand():
    """Row 2 is a copy of anchor 0 and the opposite of anchor 1: one step settles its label."""
    objective, params, state = build("group_loss", num_groups=2, iterations=1)
    a = rows(8, num=1)[0]
    x = np.stack([a, a.mean() - (a - a.mean()), a])
    right, wrong = (value(objective, params, state, x, np.array([0, 1, own])) for own in (0, 1))
    np.testing.assert_allclose(right, 0, atol=1e-4)
    assert wrong > 5


def test_group_loss_keeps_the_prior_of_objects_without_positive_correlations():
    x = np.array([[2.0, 0.0, 1.0], [0.0, 2.0, 1.0]], np.float32)
    assert np.corrcoef(x)[0, 1] == -1
    group = np.array([0, 0])
    plain, params, state = build("group_loss", dimension=3, num_anchors=0, iterations=0)
    refined = build("group_loss", dimension=3, num_anchors=0, iterations=3)[0]
    found, grads = value_and_grads(refined, params, state, x, group)
    np.testing.assert_allclose(found, value(plain, params, state, x, group), rtol=1e-5)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(grads))


def test_group_loss_anchors_are_the_first_of_their_group():
    np.testing.assert_array_equal(
        first_of_group(jnp.asarray(GROUP), 2), [1, 1, 1, 1, 1, 1, 0, 1, 0, 1]
    )
    objective, params, state = build("group_loss")
    x = rows(9)
    kept = np.array([1, 3, 2, 0, 5, 4, 7, 6, 9, 8])  # firsts stay first
    swapped = np.array([1, 0, 2, 3, 4, 5, 6, 7, 8, 9][::-1])
    before, same, other = (
        value(objective, params, state, x[order], GROUP[order])
        for order in (np.arange(10), kept, swapped)
    )
    np.testing.assert_allclose(same, before, rtol=1e-5)
    assert abs(other - before) > 1e-2


def test_group_loss_of_anchors_alone_is_zero_without_a_gradient():
    objective, params, state = build("group_loss", num_anchors=9)
    found, grads = value_and_grads(objective, params, state, rows(10))
    assert found == 0
    assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(grads))
    # a group of anchors alone, here the second, does not count and leaves the others' mean alone
    objective = build("group_loss", num_anchors=1, iterations=0)[0]
    x, group = rows(11, num=4), np.array([0, 1, 0, 0])
    rest = value(objective, params, state, x[[0, 2, 3]], group[[0, 2, 3]])
    np.testing.assert_allclose(value(objective, params, state, x, group), rest, rtol=1e-5)


def test_group_loss_gradient_flows_through_correlations_and_priors():
    objective, params, state = build("group_loss")
    _, grads = value_and_grads(objective, params, state, rows(12))
    assert np.all(np.abs(grads[0]["weights"]).sum(axis=1) > 1e-4)
    # anchors have no prior: theirs comes through the correlations alone
    assert np.all(np.abs(grads[1]).sum(axis=1) > 1e-4)


def test_group_loss_embeds_so_that_cosines_are_correlations():
    objective, params, _ = build("group_loss")
    x = rows(13) + 5
    vectors = objective.embed(params, x)
    np.testing.assert_allclose(vectors @ vectors.T, np.corrcoef(x), atol=1e-5)
    assert np.abs(to_sphere(x) @ to_sphere(x).T - np.corrcoef(x)).max() > 0.1


@pytest.mark.parametrize("other", [(0.0, 0.5), (1.5, -1.0), (8.0, 0.4)])
def test_symmetrised_kl_against_numerical_integration(other):
    mean, log_variance = np.array([[-0.5], [other[0]]]), np.array([[0.3], [other[1]]])
    p, q = (norm(m, np.exp(v / 2)) for m, v in zip(mean[:, 0], log_variance[:, 0], strict=True))

    def integral(fn):
        return quad(fn, -15, 20, limit=200)[0]

    kl = [
        integral(lambda t, a=a, b=b: a.pdf(t) * (a.logpdf(t) - b.logpdf(t)))
        for a, b in ((p, q), (q, p))
    ]
    found = np.asarray(compiled(symmetrised_kl)(mean, log_variance))
    np.testing.assert_allclose(found[0, 1], np.mean(kl), rtol=1e-5)
    np.testing.assert_allclose(found, found.T, rtol=1e-6)
    assert np.all(np.diagonal(found) == 0)

    # not the Jensen–Shannon divergence to the mixture, which is bounded and at most half of it
    def to_mixture(t, a):
        log_mixture = np.logaddexp(p.logpdf(t), q.logpdf(t)) - np.log(2)
        return a.pdf(t) * (a.logpdf(t) - log_mixture)

    jensen_shannon = np.mean([integral(lambda t, a=a: to_mixture(t, a)) for a in (p, q)])
    assert 0 < jensen_shannon < min(np.log(2), found[0, 1] / 2)


def test_gaussian_triplets_by_hand():
    """Unit variances: d is half the squared distance of the means; (0, 1, 4) and (1, 0, 4)."""
    objective, params, state = build("gaussian_triplet", dimension=2)
    x = np.array([[0.0, 0.0], [1.0, 0.0], [4.0, 0.0]], np.float32)
    by_hand = np.mean([np.log(1 + np.exp(0.5 - 8)), np.log(1 + np.exp(0.5 - 4.5))])
    found = value(objective, params, state, x, np.array([1, 1, 0]))
    np.testing.assert_allclose(found, by_hand, rtol=1e-5)


def test_gaussian_variances_count_are_bounded_and_are_not_embedded():
    objective, params, state = build("gaussian_triplet")
    x = rows(14)
    wide = x.copy()
    wide[:, 3:] += 0.5
    assert abs(value(objective, params, state, wide) - value(objective, params, state, x)) > 1e-2
    np.testing.assert_array_equal(objective.embed(params, wide), objective.embed(params, x))
    assert objective.embed(params, x).shape == (len(x), DIMENSION // 2)
    far, farther = x.copy(), x.copy()
    far[:, 3:], farther[:, 3:] = 1e2, 1e6
    expected = value(objective, params, state, far)
    np.testing.assert_allclose(value(objective, params, state, farther), expected, rtol=1e-6)
    assert np.isfinite(expected)


@pytest.mark.parametrize("name", MAKE)
def test_names_of_groups_do_not_matter_but_who_is_in_them_does(name):
    objective, params, state = build(name)
    renamed = np.array([3, 0, 1, 2])  # group g is called renamed[g]
    back = np.argsort(renamed)
    x = rows(15)
    before = value(objective, params, state, x)
    of_groups = {"centres", "weights", "bias"}
    moved = {key: leaf[back] if key in of_groups else leaf for key, leaf in params.items()}
    found = value(objective, moved, state, x, renamed[GROUP])
    np.testing.assert_allclose(found, before, rtol=1e-5)
    if moved:  # names that the parameters do not follow are other groups
        assert abs(value(objective, params, state, x, renamed[GROUP]) - before) > 1e-2
    assert abs(value(objective, params, state, x, np.roll(GROUP, 1)) - before) > 1e-2


@pytest.mark.parametrize("name", [name for name in MAKE if name != "group_loss"])
def test_order_in_the_batch_does_not_matter(name):
    objective, params, state = build(name)
    order, x = np.random.default_rng(16).permutation(len(GROUP)), rows(17)
    found = value(objective, params, state, x[order], GROUP[order])
    np.testing.assert_allclose(found, value(objective, params, state, x), rtol=1e-5)


@pytest.mark.parametrize("name", MAKE)
def test_gradients_are_finite_with_duplicates_and_without_positives_or_negatives(name):
    x = rows(18, num=6)
    pairs, same = x[[0, 0, 1, 1, 2, 2]], x[[0] * 6]
    mixed, single, apart = np.array([0, 1, 0, 0, 2, 2]), np.zeros(6, int), np.arange(6)
    objective, params, state = build(name, num_groups=6)
    for embeddings in (x, pairs, same):
        for group in (mixed, single, apart):
            found, grads = value_and_grads(objective, params, state, embeddings, group)
            assert np.isfinite(found)
            assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(grads))
            lacks = {"gaussian_triplet": (single, apart), "group_loss": (apart,)}.get(name, ())
            if any(group is kind for kind in lacks):  # nothing to compare
                assert found == 0
                assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(grads))
            else:
                assert found > 0


@pytest.mark.parametrize("name", MAKE)
def test_training_brings_groups_together(name):
    """30 steps of Adam on free embeddings of 4 groups × 4 objects."""
    objective, params, state = build(name, dimension=8)
    x = jnp.asarray(0.3 * rows(19, num=16, dimension=8))
    group = jnp.asarray(np.tile(np.arange(4), 4))
    optimiser = optax.adam(0.1)

    def step(carry, _):
        learned, opt_state, state = carry

        def loss_fn(learned):
            return objective.loss(learned[0], state, GroupBatch(learned[1], group))

        (loss, state), grads = jax.value_and_grad(loss_fn, has_aux=True)(learned)
        updates, opt_state = optimiser.update(grads, opt_state, learned)
        return (optax.apply_updates(learned, updates), opt_state, state), loss

    @compiled
    def train(learned):
        return jax.lax.scan(step, (learned, optimiser.init(learned), state), length=30)

    (learned, _, _), losses = train((params, x))
    assert losses[-1] < 0.5 * losses[0]

    def own_neighbours(learned):
        vectors = np.asarray(objective.embed(*learned))
        distances = cdist(vectors, vectors)
        np.fill_diagonal(distances, np.inf)
        return np.mean(group[distances.argmin(axis=1)] == group)

    assert own_neighbours((params, x)) < 0.7
    assert own_neighbours(learned) == 1


@pytest.mark.parametrize(
    "name, options, words",
    [
        ("arcface", {"scale": 0.0}, "scale is 0.0; it must be positive"),
        ("arcface", {"margin": -0.1}, r"margin is -0.1; it must be an angle in \[0, π\)"),
        ("arcface", {"margin": 3.2}, "margin is 3.2"),
        ("groupface", {"margin": float("nan")}, "margin is nan"),
        ("groupface", {"num_latent": 1}, "num_latent is 1; it must be at least 2"),
        ("groupface", {"weight": -1.0}, "weight is -1.0; it must not be negative"),
        ("groupface", {"momentum": 1.0}, r"momentum is 1.0; it must be in \[0, 1\)"),
        ("group_loss", {"dimension": 1}, "dimension is 1; a correlation needs at least 2"),
        ("group_loss", {"num_anchors": -1}, "num_anchors is -1; it must not be negative"),
        ("group_loss", {"iterations": -1}, "iterations is -1"),
        ("group_loss", {"temperature": 0.0}, "temperature is 0.0; it must be positive"),
        ("gaussian_triplet", {"dimension": 5}, "dimension is 5; means and variances need an even"),
        ("gaussian_triplet", {"log_variance_bound": 0.0}, "log_variance_bound is 0.0"),
    ],
)
def test_bad_options_are_refused(name, options, words):
    with pytest.raises(ValueError, match=words):
        build(name, **options)


@pytest.mark.parametrize("name", MAKE)
def test_bad_batches_are_refused(name):
    objective, params, state = build(name)
    with pytest.raises(AssertionError):
        value(objective, params, state, rows(20, dimension=4))
    with pytest.raises(ValueError, match="at least two objects"):
        value(objective, params, state, rows(20, num=1), GROUP[:1])
