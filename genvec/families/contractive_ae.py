"""Contractive autoencoder: a code that moves little when the image does."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import optax

from genvec.families.autoencoder import autoencoder
from genvec.types import Family, Player


def squared_jacobian(encode: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """‖∂z/∂x‖²_F [B], exact, of a function x [B, H, W, C] → z [B, Z] that takes each image alone.

    One reverse pass for each of the Z rows of the Jacobian, all from one forward pass.
    """
    z, pull_back = jax.vjp(encode, x)
    rows = jnp.broadcast_to(jnp.eye(z.shape[1])[:, None], (z.shape[1], *z.shape))
    gradients = jax.vmap(lambda row: pull_back(row)[0])(rows)  # [Z, B, H, W, C]
    return jnp.sum(jnp.square(gradients), axis=(0, 2, 3, 4))


def contractive_ae(
    image_shape: Sequence[int],
    *,
    hidden: Sequence[int] = (32,),
    latent: int = 4,
    network: str = "mlp",
) -> Family:
    """An autoencoder with `contraction` · ‖∂z/∂x‖²_F added to the squared error.

    The paper ties the decoder's weights to the encoder's, so that a code which shrinks does not
    escape the penalty. Here they are free, as in the other families, and `contraction` is small.

    Args:
      image_shape: (H, W, C).
      hidden: widths, or channels, of the encoder's hidden layers; the decoder has them in reverse.
      latent: Z, the size of the code.
      network: one of `NETWORKS`.

    Reference: Rifai et al. 2011, ICML, eq. 1-2.
    """
    parts = autoencoder(image_shape, hidden, latent, network, prior=False)

    def loss_fn(params, state, key, batch, hparams):
        z = parts.encode(params, state, batch.x)
        penalty = squared_jacobian(lambda x: parts.encode(params, state, x), batch.x)
        loss = parts.squared_error(params, batch.x, z) + hparams["contraction"] * penalty
        return jnp.mean(loss), parts.observe(state, z)

    player = Player("contractive_ae", ("encoder", "decoder"), loss_fn, optax.scale_by_adam())
    return parts.family("contractive_ae", {"learning_rate": 1e-2, "contraction": 0.1}, player)
