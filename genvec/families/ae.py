"""Undercomplete autoencoder with a dense encoder and decoder."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from genvec.networks import MLP, mlp_axes
from genvec.types import Family, Player, Spec

MOMENT_DECAY = 0.99  # of the running moments of the code: they remember about 100 batches


def ae(image_shape: Sequence[int], *, hidden: Sequence[int] = (32,), latent: int = 4) -> Family:
    """An autoencoder: one player, squared error summed over the pixels.

    It has no prior of its own: `sample` decodes a Gaussian fitted to the codes of the training
    batches, whose running moments are the member's state.

    Args:
      image_shape: (H, W, C).
      hidden: widths of the encoder's hidden layers; the decoder has them in reverse.
      latent: Z, the size of the code.

    Reference: Hinton & Salakhutdinov 2006, Science 313:504; sampling as in Ghosh et al. 2020,
    arXiv 1903.12436, section 4 (ex-post density estimation).
    """
    pixels = int(np.prod(image_shape))
    encoder: Any = MLP((*hidden, latent))
    decoder: Any = MLP((*reversed(hidden), pixels))

    def init(key):
        encoder_key, decoder_key = jax.random.split(key)
        params = {
            "encoder": encoder.init(encoder_key, jnp.zeros((1, pixels)))["params"],
            "decoder": decoder.init(decoder_key, jnp.zeros((1, latent)))["params"],
        }
        return params, {"code_mean": jnp.zeros(latent), "code_covariance": jnp.eye(latent)}

    def encode(params, state, x):
        return encoder.apply({"params": params["encoder"]}, x.reshape(x.shape[0], pixels))

    def decode(params, z):
        return jax.nn.sigmoid(decoder.apply({"params": params["decoder"]}, z))

    def squared_error(params, x, z):
        return jnp.sum(jnp.square(x.reshape(x.shape[0], pixels) - decode(params, z)), axis=-1)

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
        return decode(params, z).reshape(num, *image_shape)

    def evaluate(params, state, key, x, hparams):
        return {"reconstruction": squared_error(params, x, encode(params, state, x)) / pixels}

    down = ["x", *(f"encoder_{i}" for i in range(len(hidden))), "z"]
    up = ["z", *(f"decoder_{i}" for i in range(len(hidden))), "y"]
    sizes = [pixels, *hidden, latent, *reversed(hidden), pixels]
    last = f"encoder/dense_{len(hidden)}"
    spec = Spec(
        groups=dict(zip([*down, *up[1:]], sizes, strict=True)),
        fixed=("x", "y"),
        axes=mlp_axes("encoder", down) | mlp_axes("decoder", up),
        scaled=(*down[1:], *up[1:-1]),  # the code is linear, so it may be rescaled as well
        mirrored={"z": (f"{last}/kernel", f"{last}/bias", "decoder/dense_0/kernel")},
    )
    return Family(
        name="ae",
        architecture={
            "image_shape": tuple(image_shape),
            "hidden": tuple(hidden),
            "latent": latent,
        },
        spec=spec,
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
