"""What the autoencoders share: a coder, the squared error, and codes to sample from."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genvec.arguments import check_network
from genvec.networks import NETWORKS
from genvec.registry import lookup
from genvec.types import Family, Params, Player, Spec, State

MOMENT_DECAY = 0.99  # of the running moments of the code: they remember about 100 batches


class Autoencoder(NamedTuple):
    """The parts of a family that reconstructs images from one code each."""

    architecture: Mapping[str, Any]
    spec: Spec
    init: Callable[[jax.Array], tuple[Params, State]]
    encode: Callable[[Params, State, jax.Array], jax.Array]  # x → code [B, Z]
    decode: Callable[[Params, jax.Array], jax.Array]  # code [B, Z] → images in [0, 1]
    observe: Callable[[State, jax.Array], State]  # codes [B, Z] of a batch into the state
    sample: Callable[..., jax.Array]
    evaluate: Callable[..., dict[str, jax.Array]]

    def squared_error(self, params: Params, x: jax.Array, z: jax.Array) -> jax.Array:
        """Σ over the pixels of (x − decode(z))² [B]."""
        return jnp.sum(jnp.square(x - self.decode(params, z)), axis=(1, 2, 3))

    def family(
        self, name: str, hparams: Mapping[str, float], *players: Player, **architecture: Any
    ) -> Family:
        """The family of these parts; `architecture` is what it has of its own."""
        return Family(
            name=name,
            architecture={**self.architecture, **architecture},
            spec=self.spec,
            hparams=hparams,
            init=self.init,
            players=players,
            encode=self.encode,
            sample=self.sample,
            evaluate=self.evaluate,
            decode=lambda params, _, z: self.decode(params, z),
        )


def autoencoder(
    image_shape: Sequence[int], hidden: Sequence[int], latent: int, network: str, *, prior: bool
) -> Autoencoder:
    """The parts for a coder of `NETWORKS` with one head and a sigmoid over the pixels.

    Args:
      image_shape: (H, W, C).
      hidden: widths, or channels, of the encoder's hidden layers; the decoder has them in reverse.
      latent: Z, the size of the code.
      network: one of `NETWORKS`.
      prior: True where the codes are made to follow N(0, I), which is then what `sample` decodes;
        without, it decodes a Gaussian fitted to the codes of the training batches, whose running
        moments are the member's state (ex-post density estimation: Ghosh et al. 2020,
        arXiv 1903.12436, section 4).
    """
    check_network(image_shape, hidden, latent)
    head = f"dense_{len(hidden)}" if network == "mlp" else "code"
    coder = lookup(NETWORKS, network, kind="network")(image_shape, hidden, latent, (head,))

    def init(key):
        moments = {"code_mean": jnp.zeros(latent), "code_covariance": jnp.eye(latent)}
        return coder.init(key, image_shape, latent), {} if prior else moments

    def encode(params, state, x):
        return coder.encode(params, x)[0]

    def decode(params, z):
        return jax.nn.sigmoid(coder.decode(params, z))

    def observe(state, z):
        if prior:
            return state
        z = jax.lax.stop_gradient(z)
        observed = {"code_mean": jnp.mean(z, axis=0), "code_covariance": _covariance(z)}
        return jax.tree.map(
            lambda old, new: MOMENT_DECAY * old + (1 - MOMENT_DECAY) * new, state, observed
        )

    def sample(params, state, key, num):
        if prior:
            return decode(params, jax.random.normal(key, (num, latent)))
        noise = jax.random.normal(key, (num, latent))
        return decode(params, correlated(noise, state["code_mean"], state["code_covariance"]))

    def evaluate(params, state, key, x, hparams):
        error = jnp.square(x - decode(params, encode(params, state, x)))
        return {"reconstruction": jnp.mean(error, axis=(1, 2, 3))}

    spec = coder.spec
    if not prior:  # the code is linear, so it may be rescaled as well
        free = (group for group in spec.groups if group not in spec.fixed)
        spec = spec._replace(scaled=tuple(free))
    return Autoencoder(
        {
            "image_shape": tuple(image_shape),
            "hidden": tuple(hidden),
            "latent": latent,
            "network": network,
        },
        spec,
        init,
        encode,
        decode,
        observe,
        sample,
        evaluate,
    )


def correlated(noise: jax.Array, mean: jax.Array, covariance: jax.Array) -> jax.Array:
    """Standard normal draws [num, Z] → draws of N(mean, covariance).

    As `jax.random.multivariate_normal` with "eigh", whose draws are NaN where codes do not vary in
    a direction and its eigenvalue is rounded to below zero.
    """
    values, vectors = jnp.linalg.eigh(covariance)
    factor = vectors * jnp.sqrt(jnp.maximum(values, 0))
    return mean + jnp.einsum("...ij,...j->...i", factor, noise)


def _covariance(z: jax.Array) -> jax.Array:
    centred = z - jnp.mean(z, axis=0)
    return centred.T @ centred / z.shape[0]
