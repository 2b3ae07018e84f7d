"""Variational autoencoder of any of the networks."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from genvec.arguments import check_network
from genvec.families.log_variance import bounded
from genvec.networks import NETWORKS
from genvec.registry import lookup
from genvec.types import Family, Player


def bernoulli_log_likelihood(x: jax.Array, logits: jax.Array, sigma: jax.Array) -> jax.Array:
    """log p(x|z) [B] in nats, pixels in [0, 1] as probabilities; `sigma` plays no part."""
    del sigma
    softplus = jnp.maximum(logits, 0.0) + jnp.log1p(jnp.exp(-jnp.abs(logits)))
    return jnp.sum(x * logits - softplus, axis=-1)


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
    network: str = "mlp",
) -> Family:
    """A VAE: one player, loss −ELBO with the KL weighted by `beta`.

    Args:
      image_shape: (H, W, C).
      hidden: widths, or channels, of the encoder's hidden layers; the decoder has them in reverse.
      latent: Z, the number of latent variables.
      likelihood: "bernoulli" (decoder gives logits) or "gaussian" (decoder gives means, the
        standard deviation is the hyper-parameter `sigma`).
      network: one of `NETWORKS`.

    Reference: Kingma & Welling 2013, arXiv 1312.6114, eq. 10; beta as in Higgins et al. 2017.
    """
    check_network(image_shape, hidden, latent)
    log_likelihood, mean_image = lookup(LIKELIHOODS, likelihood, kind="likelihood")
    pixels = int(np.prod(image_shape))
    heads = ("mean", "log_var")
    coder = lookup(NETWORKS, network, kind="network")(image_shape, hidden, latent, heads)

    def init(key):
        return coder.init(key, image_shape, latent), {}

    def pixel_parameters(params, z):
        return coder.decode(params, z).reshape(z.shape[0], pixels)

    def decode(params, state, z):
        return mean_image(pixel_parameters(params, z)).reshape(-1, *image_shape)

    def elbo_terms(params, key, x, hparams):
        mean, log_var = coder.encode(params, x)
        log_var = bounded(log_var)
        z = mean + jnp.exp(0.5 * log_var) * jax.random.normal(key, mean.shape)
        x = x.reshape(x.shape[0], pixels)
        likelihood_term = log_likelihood(x, pixel_parameters(params, z), hparams["sigma"])
        return likelihood_term, kl_to_standard_normal(mean, log_var)

    def loss_fn(params, state, key, batch, hparams):
        log_px, kl = elbo_terms(params, key, batch.x, hparams)
        return jnp.mean(hparams["beta"] * kl - log_px), state

    def encode(params, state, x):
        return coder.encode(params, x)[0]

    def sample(params, state, key, num):
        return decode(params, state, jax.random.normal(key, (num, latent)))

    def evaluate(params, state, key, x, hparams):
        log_px, kl = elbo_terms(params, key, x, hparams)
        error = jnp.square(x - decode(params, state, encode(params, state, x)))
        return {"elbo": log_px - kl, "reconstruction": jnp.mean(error, axis=(1, 2, 3))}

    return Family(
        name="vae",
        architecture={
            "image_shape": tuple(image_shape),
            "hidden": tuple(hidden),
            "latent": latent,
            "likelihood": likelihood,
            "network": network,
        },
        spec=coder.spec,
        hparams={"learning_rate": 1e-2, "beta": 1.0, "sigma": 0.3},
        init=init,
        players=(Player("vae", ("encoder", "decoder"), loss_fn, optax.scale_by_adam()),),
        encode=encode,
        sample=sample,
        evaluate=evaluate,
        decode=decode,
    )
