"""Denoising autoencoder, and the score of the data's density that it tells."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from genvec.families.autoencoder import autoencoder
from genvec.registry import lookup
from genvec.types import Family, Params, Player, State


def gaussian(key: jax.Array, x: jax.Array, noise: jax.Array) -> jax.Array:
    """x + N(0, noise²) in every pixel; it may leave [0, 1]."""
    return x + noise * jax.random.normal(key, x.shape)


def masking(key: jax.Array, x: jax.Array, noise: jax.Array) -> jax.Array:
    """A share `noise` of the pixels set to 0."""
    return jnp.where(jax.random.uniform(key, x.shape) < noise, 0.0, x)


def salt_and_pepper(key: jax.Array, x: jax.Array, noise: jax.Array) -> jax.Array:
    """A share `noise` of the pixels set to 0 or 1, as a fair coin falls."""
    u = jax.random.uniform(key, x.shape)
    return jnp.where(u < noise, (u < noise / 2).astype(x.dtype), x)


CORRUPTIONS = {"gaussian": gaussian, "masking": masking, "salt_and_pepper": salt_and_pepper}


def denoising_ae(
    image_shape: Sequence[int],
    *,
    hidden: Sequence[int] = (32,),
    latent: int = 4,
    corruption: str = "gaussian",
    network: str = "mlp",
) -> Family:
    """An autoencoder that sees a corrupted image and is to give back the clean one.

    Args:
      image_shape: (H, W, C).
      hidden: widths, or channels, of the encoder's hidden layers; the decoder has them in reverse.
      latent: Z, the size of the code.
      corruption: one of `CORRUPTIONS`; the hyper-parameter `noise` is its strength.
      network: one of `NETWORKS`.

    Reference: Vincent et al. 2010, JMLR 11:3371, section 3.
    """
    parts = autoencoder(image_shape, hidden, latent, network, prior=False)
    corrupt_fn = lookup(CORRUPTIONS, corruption, kind="corruption")

    def loss_fn(params, state, key, batch, hparams):
        z = parts.encode(params, state, corrupt_fn(key, batch.x, hparams["noise"]))
        # what is sampled later follows the codes of noisy images: they are those that it decodes
        return jnp.mean(parts.squared_error(params, batch.x, z)), parts.observe(state, z)

    player = Player("denoising_ae", ("encoder", "decoder"), loss_fn, optax.scale_by_adam())
    hparams = {"learning_rate": 1e-2, "noise": 0.2}
    return parts.family("denoising_ae", hparams, player, corruption=corruption)


def score(
    family: Family, params: Params, state: State, x: jax.Array, noise: float | jax.Array
) -> jax.Array:
    """(r(x) − x) / noise² ≈ ∇ log p(x) [B, H, W, C], with r(x) the reconstruction.

    Of a member trained with Gaussian corruption. It is exact, for the density of the noisy images,
    where r is the best there is; as the noise goes to zero that becomes the density of the data.

    Args:
      family: the member's `denoising_ae`.
      noise: the standard deviation that it was trained with.

    Reference: Alain & Bengio 2014, arXiv 1211.4246, eq. 10 and theorem 1.
    """
    parts = autoencoder(
        *(family.architecture[name] for name in ("image_shape", "hidden", "latent", "network")),
        prior=False,
    )
    return (parts.decode(params, parts.encode(params, state, x)) - x) / noise**2
