"""Adversarial autoencoder: a discriminator draws the codes to the prior."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from genvec.arguments import check_widths
from genvec.families.autoencoder import autoencoder
from genvec.networks import MLP, mlp_axes
from genvec.types import Family, Player


def aae(
    image_shape: Sequence[int],
    *,
    hidden: Sequence[int] = (32,),
    latent: int = 4,
    critic_hidden: Sequence[int] = (32,),
    network: str = "mlp",
) -> Family:
    """Two players: a discriminator tells codes from draws of N(0, I), the autoencoder deceives it.

    The autoencoder's loss is the squared error + `adversarial` · −log D(z), the reconstruction and
    the regularisation phase of the paper in one update.

    Args:
      image_shape: (H, W, C).
      hidden: widths, or channels, of the encoder's hidden layers; the decoder has them in reverse.
      latent: Z, the size of the code.
      critic_hidden: widths of the discriminator's hidden layers.
      network: one of `NETWORKS`.

    Reference: Makhzani et al. 2015, arXiv 1511.05644, section 2 and figure 1.
    """
    parts = autoencoder(image_shape, hidden, latent, network, prior=True)
    check_widths(critic_hidden=critic_hidden)
    discriminator = MLP((*critic_hidden, 1))
    groups = [f"discriminator_{i}" for i in range(len(critic_hidden))]
    sizes = dict(zip([*groups, "score"], [*critic_hidden, 1], strict=True))
    z_signs = (*parts.spec.mirrored["z"], "discriminator/dense_0/kernel")
    spec = parts.spec._replace(
        groups={**parts.spec.groups, **sizes},
        fixed=(*parts.spec.fixed, "score"),
        axes={**parts.spec.axes, **mlp_axes("discriminator", ["z", *groups, "score"])},
        scaled=(*parts.spec.scaled, *groups),
        mirrored={"z": z_signs},
    )

    def init(key):
        coder_key, critic_key = jax.random.split(key)
        params, state = parts.init(coder_key)
        first = discriminator.init(critic_key, jnp.zeros((1, latent)))["params"]
        return {**params, "discriminator": first}, state

    def discriminate(params, z) -> Any:
        return discriminator.apply({"params": params["discriminator"]}, z)

    def autoencoder_loss(params, state, key, batch, hparams):
        z = parts.encode(params, state, batch.x)
        deceived = jnp.mean(jax.nn.softplus(-discriminate(params, z)))
        error = jnp.mean(parts.squared_error(params, batch.x, z))
        return error + hparams["adversarial"] * deceived, state

    def discriminator_loss(params, state, key, batch, hparams):
        z = parts.encode(params, state, batch.x)
        real = discriminate(params, jax.random.normal(key, z.shape))
        loss = jnp.mean(jax.nn.softplus(-real) + jax.nn.softplus(discriminate(params, z)))
        return loss, state

    players = (
        Player(
            "discriminator",
            ("discriminator",),
            discriminator_loss,
            optax.scale_by_adam(b1=0.5),
            learning_rate="critic_learning_rate",
        ),
        Player("autoencoder", ("encoder", "decoder"), autoencoder_loss, optax.scale_by_adam()),
    )
    hparams = {"learning_rate": 1e-2, "critic_learning_rate": 3e-3, "adversarial": 1.0}
    return parts._replace(spec=spec, init=init).family(
        "aae", hparams, *players, critic_hidden=tuple(critic_hidden)
    )
