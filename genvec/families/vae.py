"""Variational autoencoder with a dense encoder and decoder."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from genvec.networks import MLP, mlp_axes
from genvec.registry import lookup
from genvec.types import Family, Params, Player, Spec


class GaussianEncoder(nn.Module):
    """x [B, H·W·C] → mean [B, Z], log-variance [B, Z] of q(z|x)."""

    hidden: Sequence[int]
    latent: int

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        for layer, width in enumerate(self.hidden):
            x = nn.relu(nn.Dense(width, name=f"dense_{layer}")(x))
        return nn.Dense(self.latent, name="mean")(x), nn.Dense(self.latent, name="log_var")(x)


def bernoulli_log_likelihood(x: jax.Array, logits: jax.Array, sigma: jax.Array) -> jax.Array:
    """log p(x|z) [B] in nats, pixels in [0, 1] as probabilities; `sigma` plays no part."""
    del sigma
    return -jnp.sum(optax.sigmoid_binary_cross_entropy(logits, x), axis=-1)


def gaussian_log_likelihood(x: jax.Array, mean: jax.Array, sigma: jax.Array) -> jax.Array:
    """log N(x; mean, sigma² I) [B] in nats."""
    log_density = -0.5 * jnp.square((x - mean) / sigma) - jnp.log(sigma) - 0.5 * np.log(2 * np.pi)
    return jnp.sum(log_density, axis=-1)


# likelihood → (log p(x|z), decoder output → mean image)
LIKELIHOODS = {
    "bernoulli": (bernoulli_log_likelihood, jax.nn.sigmoid),
    "gaussian": (gaussian_log_likelihood, lambda mean: jnp.clip(mean, 0.0, 1.0)),
}


def kl_to_standard_normal(mean: jax.Array, log_var: jax.Array) -> jax.Array:
    """KL(N(mean, exp(log_var)) ‖ N(0, I)) [B] in nats (Kingma & Welling, appendix B)."""
    return 0.5 * jnp.sum(jnp.square(mean) + jnp.exp(log_var) - 1.0 - log_var, axis=-1)


def vae(
    image_shape: Sequence[int],
    *,
    hidden: Sequence[int] = (32,),
    latent: int = 4,
    likelihood: str = "bernoulli",
) -> Family:
    """A VAE: one player, loss −ELBO with the KL weighted by `beta`.

    Args:
      image_shape: (H, W, C).
      hidden: widths of the encoder's hidden layers; the decoder has them in reverse.
      latent: Z, the number of latent variables.
      likelihood: "bernoulli" (decoder gives logits) or "gaussian" (decoder gives means, the
        standard deviation is the hyper-parameter `sigma`).

    Reference: Kingma & Welling 2013, arXiv 1312.6114, eq. 10; beta as in Higgins et al. 2017.
    """
    log_likelihood, mean_image = lookup(LIKELIHOODS, likelihood, kind="likelihood")
    pixels = int(np.prod(image_shape))
    encoder: Any = GaussianEncoder(tuple(hidden), latent)
    decoder: Any = MLP((*reversed(hidden), pixels))

    def init(key):
        encoder_key, decoder_key = jax.random.split(key)
        params = {
            "encoder": encoder.init(encoder_key, jnp.zeros((1, pixels)))["params"],
            "decoder": decoder.init(decoder_key, jnp.zeros((1, latent)))["params"],
        }
        return params, {}

    def decode(params: Params, z):
        return decoder.apply({"params": params["decoder"]}, z)

    def elbo_terms(params, key, x, hparams):
        x = x.reshape(x.shape[0], pixels)
        mean, log_var = encoder.apply({"params": params["encoder"]}, x)
        z = mean + jnp.exp(0.5 * log_var) * jax.random.normal(key, mean.shape)
        likelihood_term = log_likelihood(x, decode(params, z), hparams["sigma"])
        return likelihood_term, kl_to_standard_normal(mean, log_var)

    def loss_fn(params, state, key, batch, hparams):
        log_px, kl = elbo_terms(params, key, batch.x, hparams)
        return jnp.mean(hparams["beta"] * kl - log_px), state

    def encode(params, state, x):
        return encoder.apply({"params": params["encoder"]}, x.reshape(x.shape[0], pixels))[0]

    def sample(params, state, key, num):
        images = mean_image(decode(params, jax.random.normal(key, (num, latent))))
        return images.reshape(num, *image_shape)

    def evaluate(params, state, key, x, hparams):
        log_px, kl = elbo_terms(params, key, x, hparams)
        reconstruction = mean_image(decode(params, encode(params, state, x)))
        error = jnp.square(x.reshape(x.shape[0], pixels) - reconstruction)
        return {"elbo": log_px - kl, "reconstruction": jnp.mean(error, axis=-1)}

    return Family(
        name="vae",
        architecture={
            "image_shape": tuple(image_shape),
            "hidden": tuple(hidden),
            "latent": latent,
            "likelihood": likelihood,
        },
        spec=_spec(pixels, hidden, latent),
        hparams={"learning_rate": 1e-2, "beta": 1.0, "sigma": 0.3},
        init=init,
        players=(Player("vae", ("encoder", "decoder"), loss_fn, optax.scale_by_adam()),),
        encode=encode,
        sample=sample,
        evaluate=evaluate,
    )


def _spec(pixels: int, hidden: Sequence[int], latent: int) -> Spec:
    down = ["x", *(f"encoder_{i}" for i in range(len(hidden)))]
    up = ["z", *(f"decoder_{i}" for i in range(len(hidden))), "y"]
    sizes = [pixels, *hidden, latent, *reversed(hidden), pixels]
    axes = mlp_axes("encoder", down)
    for head in ("mean", "log_var"):  # both heads end in the same latent neurons: two edge features
        axes |= {f"encoder/{head}/kernel": (down[-1], "z"), f"encoder/{head}/bias": ("z",)}
    axes |= mlp_axes("decoder", up)
    return Spec(
        groups=dict(zip([*down, *up], sizes, strict=True)),
        fixed=("x", "y"),
        axes=axes,
        scaled=(*down[1:], *up[1:-1]),
        # the prior and the posterior's noise are symmetric; the log-variance knows no sign
        mirrored={"z": ("encoder/mean/kernel", "encoder/mean/bias", "decoder/dense_0/kernel")},
    )
