"""Linear models of the pixels: principal components, ordinary, probabilistic and Bayesian."""

from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from genvec.arguments import check_image_shape, is_whole
from genvec.families.log_variance import SMALLEST, bounded
from genvec.families.matrices import inverse_and_log_det, orthonormal_rows
from genvec.types import Family, Params, Player, Spec

MOMENT_DECAY = 0.99  # of the running moments of the code: they remember about 100 batches
FIRST_VARIANCE = 0.1  # of the noise: training brings it down, on the digits to about 0.03
SMALLEST_NORM = 1e-6  # of a column, squared: its precision d / ‖w‖² stays finite once it is pruned
PRUNED = 1e-2  # times the noise variance: smaller columns are gone; kept ones have about √(d/N)


def pca(image_shape: Sequence[int], *, latent: int = 4) -> Family:
    """Ordered principal components: row k of the kernel becomes the k-th axis, up to its sign.

    The loss is the squared error summed over the pixels, averaged over the number of components
    used, from none (which makes the bias the mean image) to all (the nesting orders them); after
    each update the rows are made orthonormal again. `sample` decodes independent Gaussians with
    the running moments of the training codes, the member's state.

    Args:
      image_shape: (H, W, C).
      latent: Z, the number of components.

    Raises:
      ValueError: `latent` is not between 1 and the number of pixels.

    Reference: Pearson 1901, Phil. Mag. 2:559; the nested losses: Oftadeh et al. 2020, ICML.
    """
    pixels = _check_latent("pca", image_shape, latent, spare=0)

    def init(key):
        state = {"code_mean": jnp.zeros(latent), "code_variance": jnp.ones(latent)}
        return orthonormalise(_first_params(key, latent, pixels)), state

    def encode(params, x):
        kernel, mean = _kernel_and_mean(params)
        return (x - mean) @ kernel.T

    def loss_fn(params, state, key, batch, hparams):
        kernel, mean = _kernel_and_mean(params)
        x = batch.x.reshape(-1, pixels)
        z = encode(params, x)
        rest = (x - mean)[:, None]
        rests = rest - jnp.cumsum(z[:, :, None] * kernel, axis=1)  # after 1, 2, … components
        errors = jnp.sum(jnp.square(jnp.concatenate([rest, rests], axis=1)), axis=-1)
        z = jax.lax.stop_gradient(z)
        code_mean = _running(state["code_mean"], jnp.mean(z, axis=0))
        # about the running mean: a batch's own variance about its own mean is too small
        square = jnp.mean(jnp.square(z - code_mean), axis=0)
        variance = _running(state["code_variance"], square)
        return jnp.mean(errors), {"code_mean": code_mean, "code_variance": variance}

    def draw(params, state, key, num):
        kernel, mean = _kernel_and_mean(params)
        noise = jax.random.normal(key, (num, latent))
        return (state["code_mean"] + jnp.sqrt(state["code_variance"]) * noise) @ kernel + mean

    player = Player(
        "linear", ("decoder",), loss_fn, optax.scale_by_adam(), project_fn=orthonormalise
    )
    return _family("pca", image_shape, latent, init, player, encode, draw)


def ppca(image_shape: Sequence[int], *, latent: int = 4) -> Family:
    """Probabilistic PCA, x = Wz + μ + σε: exact likelihood, its maximum found by gradients.

    Wᵀ is the kernel [Z, pixels], μ the bias, log σ² a scalar parameter. The likelihood leaves W
    free up to a rotation of the latent variables, of which the spec holds signs and orders only.

    Args:
      image_shape: (H, W, C).
      latent: Z, the number of latent variables.

    Raises:
      ValueError: `latent` is not between 1 and the number of pixels − 1.

    Reference: Tipping & Bishop 1999, J. R. Stat. Soc. B 61:611, eqs. 4 and 6.
    """
    pixels = _check_latent("ppca", image_shape, latent, spare=1)

    def init(key):
        params = _first_params(key, latent, pixels)
        params["decoder"]["log_variance"] = jnp.asarray(np.log(FIRST_VARIANCE), jnp.float32)
        return params, {}

    def log_likelihood(params, x):
        return marginal_log_likelihood(x, *_kernel_and_mean(params), _variance(params))

    def encode(params, x):  # the mean of the posterior, M⁻¹ Wᵀ (x − μ)
        kernel, mean = _kernel_and_mean(params)
        M = kernel @ kernel.T + _variance(params) * jnp.eye(latent)
        return (x - mean) @ kernel.T @ inverse_and_log_det(M)[0]

    def loss_fn(params, state, key, batch, hparams):
        return -jnp.mean(log_likelihood(params, batch.x.reshape(-1, pixels))), state

    def draw(params, state, key, num):
        kernel, mean = _kernel_and_mean(params)
        z, noise = jnp.split(jax.random.normal(key, (num, latent + pixels)), [latent], axis=1)
        return z @ kernel + mean + jnp.sqrt(_variance(params)) * noise

    player = Player("linear", ("decoder",), loss_fn, optax.scale_by_adam())
    family = _family("ppca", image_shape, latent, init, player, encode, draw, log_likelihood)
    axes = {**family.spec.axes, "decoder/log_variance": ()}
    return family._replace(spec=family.spec._replace(axes=axes))


def bayesian_pca(image_shape: Sequence[int], *, latent: int = 4) -> Family:
    """Probabilistic PCA that prunes the latent variables its data do not need.

    Column w_i of W has the prior N(0, I / α_i), and α_i = d / ‖w_i‖² (d pixels) is re-estimated at
    every step and kept in the state. The loss is that of `ppca` plus the prior's share of one
    image, ½ Σ α_i ‖w_i‖² / `num_images`: the hyper-parameter says for a data set of how many images
    the member stands. A column survives where the data have more than about σ² (1 + 2 √(d /
    `num_images`)) of variance; `effective_latents` counts them.

    Args:
      image_shape: (H, W, C).
      latent: Z, the number of latent variables before pruning.

    Raises:
      ValueError: `latent` is not between 1 and the number of pixels − 1.

    Reference: Bishop 1998, Bayesian PCA, NIPS 11, section 3.
    """
    pixels = _check_latent("bayesian_pca", image_shape, latent, spare=1)
    family = ppca(image_shape, latent=latent)
    (player,) = family.players

    def init(key):
        params, _ = family.init(key)
        return params, {"alpha": precisions(params)}

    def precisions(params):
        return pixels / jnp.maximum(_squared_norms(params), SMALLEST_NORM)

    def loss_fn(params, state, key, batch, hparams):
        loss, _ = player.loss_fn(params, state, key, batch, hparams)
        alpha = jax.lax.stop_gradient(precisions(params))
        penalty = 0.5 * jnp.sum(alpha * _squared_norms(params)) / hparams["num_images"]
        return loss + penalty, {"alpha": alpha}

    return family._replace(
        name="bayesian_pca",
        hparams={**family.hparams, "num_images": 500.0},
        init=init,
        players=(player._replace(loss_fn=loss_fn),),
    )


def effective_latents(params: Params) -> jax.Array:
    """How many columns of W one member of `ppca` or `bayesian_pca` has kept, a scalar int."""
    return jnp.sum(_squared_norms(params) > PRUNED * _variance(params))


def marginal_log_likelihood(
    x: jax.Array, kernel: jax.Array, mean: jax.Array, variance: jax.Array
) -> jax.Array:
    """log N(x; mean, kernelᵀ kernel + variance · I) [B] in nats; no matrix is pixels × pixels.

    Args:
      x: [B, d] pixels.
      kernel: [Z, d], the transpose of W.
      mean: [d].
      variance: σ², a scalar > 0.

    Reference: Tipping & Bishop 1999, eq. 4; C⁻¹ = (I − W M⁻¹ Wᵀ) / σ² and |C| = σ²^(d−Z) |M|.
    """
    (Z, d), centred = kernel.shape, x - mean
    chex.assert_shape(x, (None, d))
    inverse, log_det_M = inverse_and_log_det(kernel @ kernel.T + variance * jnp.eye(Z))
    projected = centred @ kernel.T
    explained = jnp.sum(projected * (projected @ inverse), axis=1)
    distance = (jnp.sum(jnp.square(centred), axis=1) - explained) / variance
    log_det = (d - Z) * jnp.log(variance) + log_det_M
    return -0.5 * (d * np.log(2 * np.pi) + log_det + distance)


def orthonormalise(params: Params) -> Params:
    """The rows of the kernel made orthonormal, see `orthonormal_rows`."""
    kernel, mean = _kernel_and_mean(params)
    return {"decoder": {"dense_0": {"kernel": orthonormal_rows(kernel), "bias": mean}}}


def _check_latent(name: str, image_shape: Sequence[int], latent: int, *, spare: int) -> int:
    """The number of pixels."""
    check_image_shape(image_shape)
    pixels = int(np.prod(image_shape))
    if not is_whole(latent) or not 1 <= latent <= pixels - spare:
        why = "the noise needs a direction of its own" if spare else "there are no more axes"
        raise ValueError(
            f"{name} has latent={latent}; allowed: 1 to {pixels - spare}, "
            f"for images of {pixels} pixels ({why})"
        )
    return pixels


def _first_params(key: jax.Array, latent: int, pixels: int) -> dict:
    kernel = jax.random.normal(key, (latent, pixels)) / np.sqrt(pixels)
    return {"decoder": {"dense_0": {"kernel": kernel, "bias": jnp.full(pixels, 0.5, jnp.float32)}}}


def _kernel_and_mean(params: Params) -> tuple[jax.Array, jax.Array]:
    dense = params["decoder"]["dense_0"]
    return dense["kernel"], dense["bias"]


def _squared_norms(params: Params) -> jax.Array:
    return jnp.sum(jnp.square(params["decoder"]["dense_0"]["kernel"]), axis=1)


def _variance(params: Params) -> jax.Array:
    return jnp.exp(bounded(params["decoder"]["log_variance"], SMALLEST))


def _running(old: jax.Array, new: jax.Array) -> jax.Array:
    return MOMENT_DECAY * old + (1 - MOMENT_DECAY) * new


def _family(name, image_shape, latent, init, player, encode, draw, log_likelihood=None) -> Family:
    """What the three share; `encode`, `draw` and `log_likelihood` know pixels [B, d] only."""
    pixels = int(np.prod(image_shape))

    def encode_images(params, state, x):
        return encode(params, x.reshape(x.shape[0], pixels))

    def sample(params, state, key, num):
        return jnp.clip(draw(params, state, key, num), 0.0, 1.0).reshape(num, *image_shape)

    def evaluate(params, state, key, x, hparams):
        x = x.reshape(x.shape[0], pixels)
        kernel, mean = _kernel_and_mean(params)
        error = x - encode(params, x) @ kernel - mean
        values = {"reconstruction": jnp.mean(jnp.square(error), axis=-1)}
        if log_likelihood is not None:
            values["log_likelihood"] = log_likelihood(params, x)
        return values

    kernel = "decoder/dense_0/kernel"
    return Family(
        name=name,
        architecture={"image_shape": tuple(image_shape), "latent": latent},
        spec=Spec(
            groups={"z": latent, "y": pixels},
            fixed=("y",),
            axes={kernel: ("z", "y"), "decoder/dense_0/bias": ("y",)},
            mirrored={"z": (kernel,)},
        ),
        hparams={"learning_rate": 2e-2},
        init=init,
        players=(player,),
        encode=encode_images,
        sample=sample,
        evaluate=evaluate,
    )
