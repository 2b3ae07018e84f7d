"""Undercomplete autoencoder of any of the networks."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from genvec.networks import NETWORKS
from genvec.registry import lookup
from genvec.types import Family, Player

MOMENT_DECAY = 0.99  # of the running moments of the code: they remember about 100 batches


def ae(
    image_shape: Sequence[int],
    *,
    hidden: Sequence[int] = (32,),
    latent: int = 4,
    network: str = "mlp",
) -> Family:
    """An autoencoder: one player, squared error summed over the pixels.

    It has no prior of its own: `sample` decodes a Gaussian fitted to the codes of the training
    batches, whose running moments are the member's state.

    Args:
      image_shape: (H, W, C).
      hidden: widths, or channels, of the encoder's hidden layers; the decoder has them in reverse.
      latent: Z, the size of the code.
      network: one of `NETWORKS`.

    Reference: Hinton & Salakhutdinov 2006, Science 313:504; sampling as in Ghosh et al. 2020,
    arXiv 1903.12436, section 4 (ex-post density estimation).
    """
    head = f"dense_{len(hidden)}" if network == "mlp" else "code"
    coder = lookup(NETWORKS, network, kind="network")(image_shape, hidden, latent, (head,))

    def init(key):
        params = coder.init(key, image_shape, latent)
        return params, {"code_mean": jnp.zeros(latent), "code_covariance": jnp.eye(latent)}

    def encode(params, state, x):
        return coder.encode(params, x)[0]

    def decode(params, z):
        return jax.nn.sigmoid(coder.decode(params, z))

    def squared_error(params, x, z):
        return jnp.sum(jnp.square(x - decode(params, z)), axis=(1, 2, 3))

    def loss_fn(params, state, key, batch, hparams):
        z = encode(params, state, batch.x)
        observed = {"code_mean": jnp.mean(z, axis=0), "code_covariance": _covariance(z)}
        observed = jax.lax.stop_gradient(observed)
        state = jax.tree.map(
            lambda old, new: MOMENT_DECAY * old + (1 - MOMENT_DECAY) * new, state, observed
        )
        return jnp.mean(squared_error(params, batch.x, z)), state

    def sample(params, state, key, num):
        z = jax.random.multivariate_normal(
            key, state["code_mean"], state["code_covariance"], (num,), method="eigh"
        )
        return decode(params, z)

    def evaluate(params, state, key, x, hparams):
        error = squared_error(params, x, encode(params, state, x))
        return {"reconstruction": error / np.prod(image_shape)}

    # the code is linear, so it may be rescaled as well
    free = tuple(group for group in coder.spec.groups if group not in coder.spec.fixed)
    return Family(
        name="ae",
        architecture={
            "image_shape": tuple(image_shape),
            "hidden": tuple(hidden),
            "latent": latent,
            "network": network,
        },
        spec=coder.spec._replace(scaled=free),
        hparams={"learning_rate": 1e-2},
        init=init,
        players=(Player("ae", ("encoder", "decoder"), loss_fn, optax.scale_by_adam()),),
        encode=encode,
        sample=sample,
        evaluate=evaluate,
    )


def _covariance(z: jax.Array) -> jax.Array:
    centred = z - jnp.mean(z, axis=0)
    return centred.T @ centred / z.shape[0]
