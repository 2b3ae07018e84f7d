"""Adversarial losses against computations by hand; what keeps a critic 1-Lipschitz."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import IMAGE_SHAPE, random_params, small
from scipy.stats import wasserstein_distance

from genvec.families import FAMILIES
from genvec.families.gan import LOSSES, clip_weights, gradient_penalty, matching
from genvec.mixtures import MixtureData
from genvec.networks import PAIRS
from genvec.types import Batch
from genvec.zoo import Task, member_inputs, train_member

KEY = jax.random.key(0)
X = jax.random.uniform(jax.random.key(1), (6, *IMAGE_SHAPE))
BATCH = Batch(X, jnp.array([0, 1, 2, 0, 1, 2]))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# loss → (what the critic minimises, what the generator minimises), in float64 from the papers
BY_HAND = {
    "minimax": (
        lambda r, f: -np.log(sigmoid(r)) - np.log(1 - sigmoid(f)),
        lambda f: np.log(1 - sigmoid(f)),
    ),
    "non_saturating": (
        lambda r, f: -np.log(sigmoid(r)) - np.log(1 - sigmoid(f)),
        lambda f: -np.log(sigmoid(f)),
    ),
    "lsgan": (lambda r, f: (r - 1) ** 2 / 2 + f**2 / 2, lambda f: (f - 1) ** 2 / 2),
    "lsgan_pearson": (lambda r, f: (r - 1) ** 2 / 2 + (f + 1) ** 2 / 2, lambda f: f**2 / 2),
    "wgan": (lambda r, f: f - r, lambda f: -f),
    "wgan_gp": (lambda r, f: f - r, lambda f: -f),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_by_hand(loss):
    r, f = np.random.default_rng(0).normal(size=(2, 50)) * 2
    critic, generator = BY_HAND[loss]
    np.testing.assert_allclose(LOSSES[loss].critic(r, f), critic(r, f), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(LOSSES[loss].generator(f), generator(f), rtol=1e-4, atol=1e-5)
    assert not np.allclose(critic(r, f), critic(f, r))  # the negative control: roles swapped


def linear_critic(norm):
    w = np.random.default_rng(0).normal(size=IMAGE_SHAPE)
    w = jnp.asarray(norm * w / np.linalg.norm(w), jnp.float32)
    return lambda x: jnp.sum(w * x, axis=(1, 2, 3)) + 3.0


@pytest.mark.parametrize("norm", [1.0, 0.25, 2.0])
def test_gradient_penalty_of_a_linear_critic(norm):
    penalty = gradient_penalty(linear_critic(norm), KEY, X, X[::-1])
    np.testing.assert_allclose(penalty, np.full(6, (norm - 1) ** 2), atol=1e-5)


def test_gradient_penalty_is_taken_between_the_images():
    """D(x) = ½‖x‖² has the gradient x: at share u of the way from 0 to 1s its norm is u √16."""

    def critic(x):
        return 0.5 * jnp.sum(jnp.square(x), axis=(1, 2, 3))

    ones = jnp.ones((200, *IMAGE_SHAPE))
    penalty = gradient_penalty(critic, KEY, ones, 0 * ones)
    share = np.random.default_rng(0).uniform(size=100_000)
    assert penalty.max() <= 9 + 1e-4
    assert float(penalty.mean()) == pytest.approx(np.mean((4 * share - 1) ** 2), rel=0.15)


def test_a_trained_wasserstein_critic_tells_the_exact_distance():
    """On 1×1 images the critic's gap tends to W₁ of the two samples on the line."""
    rng = np.random.default_rng(0)
    real, fake = rng.normal(0.7, 0.05, 400), rng.normal(0.4, 0.1, 400)
    x, y = (jnp.asarray(v, jnp.float32).reshape(-1, 1, 1, 1) for v in (real, fake))
    pair = PAIRS["mlp"]((1, 1, 1), (32,), 2)
    params, _ = pair.init(KEY)
    tx = optax.adam(3e-3)

    def critic(own, x):
        return pair.discriminate({"discriminator": own}, {}, x, True)[0][:, 0]

    def loss_fn(own, key):
        penalty = jnp.mean(gradient_penalty(partial(critic, own), key, x, y))
        return jnp.mean(LOSSES["wgan_gp"].critic(critic(own, x), critic(own, y))) + 10 * penalty

    def step(carry, key):
        own, state = carry
        updates, state = tx.update(jax.grad(loss_fn)(own, key), state)
        return (optax.apply_updates(own, updates), state), 0

    own = params["discriminator"]
    run = jax.jit(lambda carry: jax.lax.scan(step, carry, jax.random.split(KEY, 1500))[0])
    own, _ = run((own, tx.init(own)))
    gap = float(jnp.mean(critic(own, x)) - jnp.mean(critic(own, y)))
    exact = wasserstein_distance(real, fake)
    assert gap == pytest.approx(exact, rel=0.1)
    assert gap != pytest.approx(2 * exact, rel=0.1)


def test_weight_clipping_bounds_the_critic_and_nothing_else():
    family = FAMILIES["wgan"](IMAGE_SHAPE, hidden=(6,), latent=2, clip=0.05)
    critic, generator = family.players
    params, _ = random_params(family)
    clipped = critic.project_fn({"discriminator": params["discriminator"]})
    assert max(np.abs(w).max() for w in jax.tree.leaves(clipped)) == pytest.approx(0.05)
    inside = jax.tree.map(lambda w: 0.01 * jnp.sign(w), params)
    jax.tree.map(np.testing.assert_array_equal, clip_weights(0.05)(inside), inside)
    assert generator.project_fn is None and critic.num_updates == 5


def test_feature_matching_by_hand_and_in_the_loss():
    h_real, h = np.random.default_rng(0).normal(size=(2, 20, 3))
    expected = np.linalg.norm(h_real.mean(0) - h.mean(0)) ** 2
    assert float(matching(h_real, h)) == pytest.approx(expected, rel=1e-4)
    losses = []
    for weight in (0.0, 1.0, 2.0):
        family = FAMILIES["lsgan"](IMAGE_SHAPE, hidden=(6,), latent=2, feature_matching=weight)
        params, state = random_params(family)
        hparams = {k: jnp.asarray(v) for k, v in family.hparams.items()}
        losses.append(family.players[1].loss_fn(params, state, KEY, BATCH, hparams)[0])
    assert losses[1] > losses[0]
    assert float(losses[2] - losses[1]) == pytest.approx(float(losses[1] - losses[0]), rel=1e-3)


def test_a_conditional_generator_obeys_its_label():
    """Its samples follow the class frequencies that it has seen, which are in its state alone."""
    family = small("cgan")
    params, state = random_params(family)
    hparams = {k: jnp.asarray(v) for k, v in family.hparams.items()}
    _, new = family.players[1].loss_fn(params, state, KEY, BATCH, hparams)
    np.testing.assert_allclose(new["proportions"], 3 * [0.01 / 3], rtol=1e-5)
    labelled = params["generator"]["label_0"]["kernel"]
    loud = {**params["generator"], "label_0": {"kernel": 50 * labelled}}
    loud = {**params, "generator": loud}
    first, again, second = (
        family.sample(loud, {**state, "proportions": jnp.eye(3)[k]}, KEY, 4) for k in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - second).max() > 0.1


def test_mad_gan_by_hand():
    family = small("mad_gan")
    params, state = random_params(family)
    hparams = {k: jnp.asarray(v) for k, v in family.hparams.items()} | {"instance_noise": 0.0}
    own = jax.device_get(params)

    def dense(layer, x):
        return x @ layer["kernel"] + layer["bias"]

    def log_softmax(v):
        return v - np.log(np.exp(v).sum(-1, keepdims=True))

    def judge(x):
        d = own["discriminator"]
        h = dense(d["dense_0"], np.asarray(x).reshape(-1, 16))
        return log_softmax(dense(d["score"], np.where(h > 0, h, 0.2 * h)))

    def generate(i, z):
        g = own[f"generator{i}"]
        return sigmoid(dense(g["dense_1"], np.maximum(dense(g["dense_0"], z), 0)))

    z = np.asarray(jax.random.normal(jax.random.split(KEY)[0], (3, 6, 2)))
    deceived = -np.mean([judge(generate(i, z[i]))[:, 3].mean() for i in range(3)])
    value = family.players[1].loss_fn(params, state, KEY, BATCH, hparams)[0]
    assert float(value) == pytest.approx(deceived, rel=1e-4)
    fake_key = jax.random.split(KEY)[0]
    z = np.asarray(jax.random.normal(jax.random.split(fake_key)[0], (3, 6, 2)))
    told = np.mean([judge(generate(i, z[i]))[:, i].mean() for i in range(3)])
    value = family.players[0].loss_fn(params, state, KEY, BATCH, hparams)[0]
    assert float(value) == pytest.approx(-judge(X)[:, 3].mean() - told, rel=1e-4)


def test_a_gan_learns_both_modes():
    """Images of two brightnesses: the generator makes both, and nothing in between."""
    images = np.repeat(np.uint8([40, 215]), 50).reshape(-1, 1, 1, 1)
    images = jnp.asarray(np.tile(images, (1, *IMAGE_SHAPE)))
    data = MixtureData(images, jnp.array([0, 50]), jnp.array([50, 50]), images[::50], jnp.arange(2))
    family = FAMILIES["non_saturating"](IMAGE_SHAPE, hidden=(16,), latent=2)
    inputs = member_inputs(KEY, np.full((1, 2), 0.5), family, init="independent", hparams={})
    member = jax.jit(partial(train_member, task=Task(family, 1500, 32)))(
        jax.tree.map(lambda v: v[0], inputs), data
    )
    assert member.metrics["finite"]
    level = np.asarray(family.sample(member.params, member.state, KEY, 400)).mean((1, 2, 3))
    dark, bright = np.mean(level < 0.3), np.mean(level > 0.7)
    assert min(dark, bright) > 0.25 and dark + bright > 0.8
    untrained, state = family.init(KEY)
    level = np.asarray(family.sample(untrained, state, KEY, 400)).mean((1, 2, 3))
    assert np.mean((level < 0.3) | (level > 0.7)) < 0.2  # the negative control
