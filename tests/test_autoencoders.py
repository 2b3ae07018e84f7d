"""The autoencoders: what each adds to the squared error, against an independent computation."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import IMAGE_SHAPE, random_params, small

from genvec.families import FAMILIES
from genvec.families.contractive_ae import squared_jacobian
from genvec.families.denoising_ae import CORRUPTIONS, score
from genvec.families.sparse_ae import NORMS, bound_atoms
from genvec.mixtures import MixtureData
from genvec.types import Batch
from genvec.zoo import Task, member_inputs, train_member

X = jax.random.uniform(jax.random.key(1), (5, *IMAGE_SHAPE))
BATCH = Batch(X, jnp.zeros(5, int))


def difference(family, name, low=0.0, high=1.0):
    """What the loss gains where one hyper-parameter goes from `low` to `high`."""
    params, state = random_params(family)
    hparams = {k: jnp.asarray(v) for k, v in family.hparams.items()}
    loss_fn = jax.jit(lambda h: family.players[-1].loss_fn(params, state, KEY, BATCH, h)[0])
    return float(loss_fn({**hparams, name: high}) - loss_fn({**hparams, name: low})), params, state


KEY = jax.random.key(3)


@pytest.mark.parametrize("norm", NORMS)
def test_sparsity_is_the_norm_of_the_code(norm):
    family = FAMILIES["sparse_ae"](IMAGE_SHAPE, hidden=(6,), latent=20, norm=norm)
    added, params, state = difference(family, "sparsity")
    z = np.asarray(family.encode(params, state, X), np.float64)
    expected = {"l1": np.abs(z).sum(1).mean(), "l2": (z**2).sum(1).mean()}
    assert added == pytest.approx(expected[norm], rel=1e-4)
    assert added != pytest.approx(expected["l1" if norm == "l2" else "l2"], rel=1e-2)


def test_atoms_of_the_sparse_code_stay_within_the_unit_ball():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 4, 7)) * [[0.01], [1.0], [2.0], [0.02]]
    bounded = np.asarray(bound_atoms(jnp.asarray(kernel)))
    before, after = (np.sqrt((k**2).sum((0, 1, 3))) for k in (kernel, bounded))
    np.testing.assert_allclose(after, np.minimum(before, 1), rtol=1e-5)
    np.testing.assert_allclose(bounded[:, :, 0], kernel[:, :, 0], rtol=1e-5)  # small ones stay
    params, _ = random_params(small("sparse_ae"))
    project_fn = small("sparse_ae").players[0].project_fn
    projected = project_fn(params)["decoder"]["dense_0"]["kernel"]
    assert np.linalg.norm(projected, axis=1).max() <= 1 + 1e-6


def test_contraction_is_the_squared_frobenius_norm_of_the_jacobian():
    added, params, state = difference(family := small("contractive_ae"), "contraction")
    jacobian = jax.vmap(jax.jacfwd(lambda x: family.encode(params, state, x[None])[0]))(X)
    expected = jnp.sum(jnp.square(jacobian), axis=(1, 2, 3, 4))
    encode = partial(family.encode, params, state)
    np.testing.assert_allclose(squared_jacobian(encode, X), expected, rtol=1e-4)
    assert added == pytest.approx(float(expected.mean()), rel=1e-3)
    doubled = squared_jacobian(lambda x: 2 * encode(x), X)  # the negative control
    np.testing.assert_allclose(doubled, 4 * expected, rtol=1e-4)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruptions_change_what_they_say(name):
    x = jnp.full((4, 50, 50, 1), 0.5)
    corrupted = np.asarray(CORRUPTIONS[name](KEY, x, jnp.asarray(0.2)))
    if name == "gaussian":
        assert np.std(corrupted - 0.5) == pytest.approx(0.2, rel=0.05)
    else:
        changed = corrupted != 0.5
        assert changed.mean() == pytest.approx(0.2, abs=0.02)
        ones = (corrupted[changed] == 1).mean()
        assert ones == pytest.approx(0.5 if name == "salt_and_pepper" else 0, abs=0.05)
    assert np.array_equal(CORRUPTIONS[name](KEY, x, jnp.asarray(0.0)), x)


def test_the_denoising_score_of_a_gaussian():
    """Data N(m, s²) in both pixels: the score of the noisy density is (m − x) / (s² + σ²)."""
    s, noise = 0.1, 0.1
    images = np.random.default_rng(0).normal(0.5, s, (4000, 1, 2, 1)).clip(0, 1)
    images = jnp.asarray(np.round(images * 255), jnp.uint8)
    one = jnp.ones(1, jnp.int32)
    data = MixtureData(images, 0 * one, 4000 * one, images[:10], jnp.zeros(10, jnp.int32))
    family = FAMILIES["denoising_ae"]((1, 2, 1), hidden=(16,), latent=2)
    hparams = {"noise": noise, "learning_rate": 1e-2}
    inputs = member_inputs(KEY, np.ones((1, 1)), family, init="independent", hparams=hparams)
    task = Task(family, 4000, 128)
    member = jax.jit(partial(train_member, task=task))(jax.tree.map(lambda v: v[0], inputs), data)
    grid = np.stack(np.meshgrid(*[np.linspace(0.35, 0.65, 5)] * 2), -1).reshape(-1, 1, 2, 1)
    told = score(family, member.params, member.state, jnp.asarray(grid), noise)
    true = (0.5 - grid) / (s**2 + noise**2)
    error = np.sqrt(np.mean((told - true) ** 2) / np.mean(true**2))
    assert error < 0.15
    clean = (0.5 - grid) / s**2  # the negative control: twice as steep
    assert np.sqrt(np.mean((told - clean) ** 2) / np.mean(clean**2)) > 0.3


def test_wae_adds_the_discrepancy_of_the_codes_to_the_prior():
    family = small("wae")
    added, params, state = difference(family, "divergence")
    z = np.asarray(family.encode(params, state, X), np.float64)
    prior = np.asarray(jax.random.normal(KEY, z.shape), np.float64)

    def kernel(a, b):  # C / (C + ‖a − b‖²), C = 2 Z
        return 4.0 / (4.0 + ((a[:, None] - b[None]) ** 2).sum(-1))

    within = [(kernel(a, a).sum() - len(a)) / (len(a) * (len(a) - 1)) for a in (z, prior)]
    assert added == pytest.approx(sum(within) - 2 * kernel(z, prior).mean(), abs=1e-4)


def test_aae_players_pull_the_score_of_codes_apart():
    family = small("aae")
    params, state = random_params(family)
    hparams = {k: jnp.asarray(v) for k, v in family.hparams.items()}
    z = family.encode(params, state, X)

    def score(z):
        own = jax.device_get(params["discriminator"])
        h = np.maximum(np.asarray(z) @ own["dense_0"]["kernel"] + own["dense_0"]["bias"], 0)
        return h @ own["dense_1"]["kernel"] + own["dense_1"]["bias"]

    f, r = score(z), score(jax.random.normal(KEY, z.shape))
    critic, auto = (p.loss_fn(params, state, KEY, BATCH, hparams)[0] for p in family.players)
    expected = np.mean(np.log1p(np.exp(-r)) + np.log1p(np.exp(f)))
    assert float(critic) == pytest.approx(expected, rel=1e-4)
    without = dict(hparams, adversarial=jnp.asarray(0.0))
    rest = family.players[1].loss_fn(params, state, KEY, BATCH, without)[0]
    assert float(auto - rest) == pytest.approx(np.mean(np.log1p(np.exp(-f))), rel=1e-3)
