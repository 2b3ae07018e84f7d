"""Wasserstein autoencoder whose codes are drawn to the prior by the maximum mean discrepancy."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from genvec.families.autoencoder import autoencoder
from genvec.quality import mmd
from genvec.types import Family, Player


def wae(
    image_shape: Sequence[int],
    *,
    hidden: Sequence[int] = (32,),
    latent: int = 4,
    network: str = "mlp",
) -> Family:
    """WAE-MMD: squared error + `divergence` · MMD²(codes of the batch, N(0, I)).

    Args:
      image_shape: (H, W, C).
      hidden: widths, or channels, of the encoder's hidden layers; the decoder has them in reverse.
      latent: Z, the size of the code.
      network: one of `NETWORKS`.

    Reference: Tolstikhin et al. 2018, arXiv 1711.01558, algorithm 2; the kernel is C / (C + ‖·‖²)
    with C = 2 Z, what two draws of the prior are apart on average.
    """
    parts = autoencoder(image_shape, hidden, latent, network, prior=True)

    def loss_fn(params, state, key, batch, hparams):
        z = parts.encode(params, state, batch.x)
        prior = jax.random.normal(key, z.shape)
        apart = mmd(z, prior, kernel="inverse_multiquadratic", scales=(2.0 * latent,))
        loss = jnp.mean(parts.squared_error(params, batch.x, z)) + hparams["divergence"] * apart
        return loss, state

    player = Player("wae", ("encoder", "decoder"), loss_fn, optax.scale_by_adam())
    return parts.family("wae", {"learning_rate": 1e-2, "divergence": 30.0}, player)
