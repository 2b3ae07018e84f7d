import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import IMAGE_SHAPE, random_params
from scipy import stats

from genvec.families import FAMILIES
from genvec.mixtures import group_by_class
from genvec.registry import UnknownNameError
from genvec.symmetry import check_spec, spec_from_json, spec_to_json
from genvec.trees import all_finite
from genvec.types import Batch

HPARAMS = {"beta": jnp.array(1.0), "sigma": jnp.array(0.4)}


def test_one_skeleton(every_family):
    """One jitted program, as compiling operation by operation takes longer."""
    family = every_family
    hparams = {name: jnp.asarray(v) for name, v in family.hparams.items()}
    x = jax.random.uniform(jax.random.key(1), (5, *IMAGE_SHAPE))
    batch = Batch(x, jnp.array([0, 1, 2, 0, 1]))

    @jax.jit
    def run(keys):
        params, state = family.init(keys[0])
        code = family.encode(params, state, x)
        images = family.sample(params, state, keys[1], 7)
        values = family.evaluate(params, state, keys[2], x, hparams)
        losses = [p.loss_fn(params, state, keys[3], batch, hparams) for p in family.players]
        return params, state, code, images, values, losses

    params, state, code, images, values, losses = run(jax.random.split(jax.random.key(0), 4))
    assert code.shape[0] == 5 and code.ndim == 2
    assert images.shape == (7, *IMAGE_SHAPE)
    assert (images >= 0).all() and (images <= 1).all()
    assert values and all(value.shape == (5,) for value in values.values())
    assert {name for player in family.players for name in player.owns} == set(params)
    assert all(player.learning_rate in family.hparams for player in family.players)
    for loss, new_state in losses:
        assert loss.shape == () and np.isfinite(loss)
        assert jax.tree.map(jnp.shape, new_state) == jax.tree.map(jnp.shape, state)
    assert all_finite((params, code, images))


def test_what_decodes_gives_back_what_evaluation_compares(every_family):
    family = every_family
    if family.decode is None:
        return
    (params, state), hparams = random_params(family), dict(family.hparams)
    x = jax.random.uniform(jax.random.key(1), (5, *IMAGE_SHAPE))
    images = family.decode(params, state, family.encode(params, state, x))
    assert images.shape == x.shape and (images >= 0).all() and (images <= 1).all()
    found = family.evaluate(params, state, jax.random.key(0), x, hparams)["reconstruction"]
    error = np.square(np.asarray(images - x, np.float64))
    np.testing.assert_allclose(found, error.mean(axis=(1, 2, 3)), rtol=1e-5)
    other = np.square(np.asarray(images[::-1] - x, np.float64)).mean(axis=(1, 2, 3))
    assert not np.allclose(found, other, rtol=1e-3), "control: the codes of other images"


def test_decode_is_what_sample_draws(vae):
    params, state = random_params(vae)
    key = jax.random.key(1)
    decoded = vae.decode(params, state, jax.random.normal(key, (3, 2)))
    np.testing.assert_allclose(decoded, vae.sample(params, state, key, 3), atol=1e-6)


def test_the_spec_fits_the_parameters(every_family):
    params, _ = jax.eval_shape(every_family.init, jax.random.key(0))
    check_spec(every_family.spec, params)
    assert spec_from_json(json.loads(json.dumps(spec_to_json(every_family.spec)))) == (
        every_family.spec
    )


def test_architecture_rebuilds_the_family(every_family):
    plain = json.loads(json.dumps(every_family.architecture))  # as it stands in a manifest
    again = FAMILIES[every_family.name](**plain)
    shapes = [jax.eval_shape(f.init, jax.random.key(0)) for f in (every_family, again)]
    assert jax.tree.map(jnp.shape, shapes[0]) == jax.tree.map(jnp.shape, shapes[1])
    assert again.spec == every_family.spec


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("cgan", {}, "num_classes is 0.*labelled data"),
        ("hyper_vae", {"num_classes": 1}, "num_classes"),
        ("pca", {"latent": 17}, "latent.*17.*16"),
        ("ppca", {"latent": 16}, "latent.*16.*15"),
        ("non_saturating", {"network": "dcgan", "hidden": (2, 2, 2)}, "cannot be halved"),
        ("wgan_gp", {"network": "dcgan", "hidden": (2,)}, "network='mlp' or 'progan'"),
        ("mad_gan", {"num_generators": 1}, "num_generators is 1"),
        ("density", {"head": "poisson"}, "unknown head 'poisson'; known: gaussian_mixture"),
        ("sparse_ae", {"norm": "l0"}, "unknown norm 'l0'; known: l1, l2"),
        ("denoising_ae", {"corruption": "rain"}, "unknown corruption 'rain'"),
    ],
)
def test_what_cannot_work_is_refused_with_what_would(name, args, message):
    with pytest.raises((KeyError, ValueError), match=message):
        FAMILIES[name](IMAGE_SHAPE, **args)


def test_images_outside_of_their_range_are_refused(dataset):
    with pytest.raises(ValueError, match=r"images of rows are float32, from .* give uint8"):
        group_by_class(dataset._replace(images=dataset.images.astype(np.float32)), (0, 1))


def linear_gaussian_vae(decoder_scale):
    """A VAE without hidden layers whose exact posterior is known: W with orthogonal columns."""
    family = FAMILIES["vae"](IMAGE_SHAPE, hidden=(), latent=2, likelihood="gaussian")
    rng = np.random.default_rng(0)
    w = np.linalg.qr(rng.normal(size=(16, 2)))[0] * decoder_scale  # [pixels, Z]
    b, sigma = rng.uniform(0.2, 0.8, 16), 0.4
    precision = 1 + np.sum(w**2, 0) / sigma**2  # of the posterior, diagonal
    kernel = w / sigma**2 / precision
    params = {
        "encoder": {
            "mean": {"kernel": kernel, "bias": -b @ kernel},
            "log_var": {"kernel": np.zeros((16, 2)), "bias": -np.log(precision)},
        },
        "decoder": {"dense_0": {"kernel": w.T, "bias": b}},
    }
    marginal = stats.multivariate_normal(b, w @ w.T + sigma**2 * np.eye(16))
    return family, jax.tree.map(jnp.float32, params), marginal


def mean_elbo(family, params, x, num=4000):
    repeated = jnp.tile(jnp.asarray(x, jnp.float32).reshape(1, *IMAGE_SHAPE), (num, 1, 1, 1))
    return family.evaluate(params, {}, jax.random.key(0), repeated, HPARAMS)["elbo"].mean()


def test_elbo_at_the_exact_posterior_is_the_log_likelihood():
    family, params, marginal = linear_gaussian_vae(1.5)
    for x in np.random.default_rng(1).uniform(0, 1, (3, 16)):
        assert mean_elbo(family, params, x) == pytest.approx(marginal.logpdf(x), abs=0.05)


def test_elbo_elsewhere_is_below_it_by_the_kl_to_the_posterior():
    family, params, marginal = linear_gaussian_vae(1.5)
    shift = jnp.array([0.3, -0.2])
    params["encoder"]["mean"]["bias"] += shift
    variance = jnp.exp(params["encoder"]["log_var"]["bias"])
    gap = float(0.5 * jnp.sum(shift**2 / variance))  # KL of Gaussians with one covariance
    x = np.full(16, 0.5)
    assert gap > 0.3
    assert mean_elbo(family, params, x) == pytest.approx(marginal.logpdf(x) - gap, abs=0.05)


def test_bernoulli_likelihood_against_scipy(vae):
    from genvec.families.vae import bernoulli_log_likelihood

    logits = np.random.default_rng(0).normal(size=(4, 9)).astype(np.float32)
    x = np.random.default_rng(1).integers(0, 2, (4, 9))
    expected = stats.bernoulli(1 / (1 + np.exp(-logits))).logpmf(x).sum(1)
    actual = bernoulli_log_likelihood(
        jnp.asarray(x, jnp.float32), jnp.asarray(logits), jnp.ones(())
    )
    np.testing.assert_allclose(actual, expected, rtol=1e-4)


def test_kl_against_sampling():
    from genvec.families.vae import kl_to_standard_normal

    mean, log_var = jnp.array([[0.5, -1.0]]), jnp.array([[0.3, -0.7]])
    scale = np.exp(0.5 * np.asarray(log_var))
    z = np.random.default_rng(0).normal(mean, scale, (200_000, 2))
    log_ratio = stats.norm(mean, scale).logpdf(z) - stats.norm().logpdf(z)
    assert kl_to_standard_normal(mean, log_var)[0] == pytest.approx(
        log_ratio.sum(1).mean(), abs=0.01
    )


def test_beta_weighs_the_kl(vae):
    params, _ = random_params(vae)
    batch = Batch(jax.random.uniform(jax.random.key(1), (5, *IMAGE_SHAPE)), jnp.zeros(5, int))
    loss_fn = vae.players[0].loss_fn
    losses = [
        loss_fn(params, {}, jax.random.key(0), batch, HPARAMS | {"beta": jnp.array(b)})[0]
        for b in (0.0, 1.0, 2.0)
    ]
    assert losses[1] - losses[0] > 0.01
    np.testing.assert_allclose(losses[2] - losses[1], losses[1] - losses[0], rtol=1e-3)


def test_ae_samples_follow_the_codes_it_has_seen():
    family = FAMILIES["ae"](IMAGE_SHAPE, hidden=(), latent=2)
    params, _ = family.init(jax.random.key(0))
    state = {
        "code_mean": jnp.array([5.0, 5.0]),
        "code_covariance": jnp.array([[1e-6, 0], [0, 1e-6]]),
    }
    images = family.sample(params, state, jax.random.key(1), 3)
    decoder = params["decoder"]["dense_0"]
    expected = jax.nn.sigmoid(state["code_mean"] @ decoder["kernel"] + decoder["bias"])
    np.testing.assert_allclose(images.reshape(3, 16), jnp.tile(expected, (3, 1)), atol=1e-2)


def test_ae_state_moves_towards_the_moments_of_the_batch():
    family = FAMILIES["ae"](IMAGE_SHAPE, hidden=(), latent=2)
    params, state = family.init(jax.random.key(0))
    x = jax.random.uniform(jax.random.key(1), (50, *IMAGE_SHAPE))
    _, new = family.players[0].loss_fn(params, state, jax.random.key(2), Batch(x, None), {})
    codes = family.encode(params, state, x)
    np.testing.assert_allclose(new["code_mean"], 0.01 * codes.mean(0), rtol=1e-4)
    expected = 0.99 * np.eye(2) + 0.01 * np.cov(codes.T, bias=True)
    np.testing.assert_allclose(new["code_covariance"], expected, rtol=1e-4, atol=1e-6)


def test_unknown_likelihood_lists_the_known_ones():
    with pytest.raises(UnknownNameError, match="'poisson'; known: bernoulli, gaussian"):
        FAMILIES["vae"](IMAGE_SHAPE, likelihood="poisson")
