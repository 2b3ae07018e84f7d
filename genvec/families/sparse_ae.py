"""Sparse autoencoder: a code of which few entries are large."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from genvec.families.autoencoder import autoencoder
from genvec.registry import lookup
from genvec.types import Family, Params, Player

# norm → Σ over the code [B, Z] → [B]
NORMS = {
    "l1": lambda z: jnp.sum(jnp.abs(z), axis=-1),
    "l2": lambda z: jnp.sum(jnp.square(z), axis=-1),
}


def sparse_ae(
    image_shape: Sequence[int],
    *,
    hidden: Sequence[int] = (32,),
    latent: int = 16,
    norm: str = "l1",
    network: str = "mlp",
) -> Family:
    """An autoencoder with `sparsity` · ‖z‖₁, or ‖z‖₂², added to the squared error.

    The code may be larger than the image. What the decoder's first layer makes of one entry of the
    code has at most unit norm: a small code with large weights behind it would escape the penalty.

    Args:
      image_shape: (H, W, C).
      hidden: widths, or channels, of the encoder's hidden layers; the decoder has them in reverse.
      latent: Z, the size of the code.
      norm: "l1" or "l2".
      network: one of `NETWORKS`.

    Reference: Goodfellow, Bengio & Courville 2016, "Deep Learning", section 14.2.1; the bound is
    that of dictionaries, Mairal et al. 2009, eq. 3.
    """
    parts = autoencoder(image_shape, hidden, latent, network, prior=False)
    norm_fn = lookup(NORMS, norm, kind="norm")
    first = "dense_0" if network == "mlp" else "conv_0"

    def loss_fn(params, state, key, batch, hparams):
        z = parts.encode(params, state, batch.x)
        loss = parts.squared_error(params, batch.x, z) + hparams["sparsity"] * norm_fn(z)
        return jnp.mean(loss), parts.observe(state, z)

    def project_fn(params: Params) -> Params:
        layer = params["decoder"][first]
        bounded = {**layer, "kernel": bound_atoms(layer["kernel"])}
        return {**params, "decoder": {**params["decoder"], first: bounded}}

    player = Player(
        "sparse_ae", ("encoder", "decoder"), loss_fn, optax.scale_by_adam(), project_fn=project_fn
    )
    hparams = {"learning_rate": 1e-2, "sparsity": 0.05}
    return parts.family("sparse_ae", hparams, player, norm=norm)


def bound_atoms(kernel: jax.Array) -> jax.Array:
    """Scales what belongs to one input of a kernel [.., Z, O] to a norm of at most one."""
    axes = tuple(axis for axis in range(kernel.ndim) if axis != kernel.ndim - 2)
    squared = jnp.sum(jnp.square(kernel), axis=axes, keepdims=True)
    return kernel / jnp.sqrt(jnp.maximum(squared, 1.0))
