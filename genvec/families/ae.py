"""Undercomplete autoencoder of any of the networks."""

from collections.abc import Sequence

import jax.numpy as jnp
import optax

from genvec.families.autoencoder import autoencoder
from genvec.types import Family, Player


def ae(
    image_shape: Sequence[int],
    *,
    hidden: Sequence[int] = (32,),
    latent: int = 4,
    network: str = "mlp",
) -> Family:
    """An autoencoder: one player, squared error summed over the pixels.

    Args:
      image_shape: (H, W, C).
      hidden: widths, or channels, of the encoder's hidden layers; the decoder has them in reverse.
      latent: Z, the size of the code.
      network: one of `NETWORKS`.

    Reference: Hinton & Salakhutdinov 2006, Science 313:504.
    """
    parts = autoencoder(image_shape, hidden, latent, network, prior=False)

    def loss_fn(params, state, key, batch, hparams):
        z = parts.encode(params, state, batch.x)
        return jnp.mean(parts.squared_error(params, batch.x, z)), parts.observe(state, z)

    player = Player("ae", ("encoder", "decoder"), loss_fn, optax.scale_by_adam())
    return parts.family("ae", {"learning_rate": 1e-2}, player)
