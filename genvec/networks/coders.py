"""Encoder and decoder pairs that mirror each other, each with the symmetry of its neurons."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genvec.networks.conv import Conv, from_maps, to_maps
from genvec.networks.dense import MLP, mlp_axes
from genvec.types import Params, Spec


class Coder(NamedTuple):
    """An encoder x [B, H, W, C] → one [B, Z] for each head, and a decoder z [B, Z] → [B, H, W, C].

    The decoder ends linearly; in the spec x and y are fixed, hidden groups stand behind a ReLU.
    """

    encoder: Any
    decoder: Any
    spec: Spec

    def init(self, key: jax.Array, image_shape: Sequence[int], latent: int) -> Params:
        """First parameters {"encoder", "decoder"}."""
        encoder_key, decoder_key = jax.random.split(key)
        return {
            "encoder": self.encoder.init(encoder_key, jnp.zeros((1, *image_shape)))["params"],
            "decoder": self.decoder.init(decoder_key, jnp.zeros((1, latent)))["params"],
        }

    def encode(self, params: Params, x: jax.Array) -> tuple[jax.Array, ...]:
        """Images [B, H, W, C] → one [B, Z] for each head."""
        return self.encoder.apply({"params": params["encoder"]}, x)

    def decode(self, params: Params, z: jax.Array) -> jax.Array:
        """Codes [B, Z] → [B, H, W, C]."""
        return self.decoder.apply({"params": params["decoder"]}, z)


class DenseEncoder(nn.Module):
    """dense_0, dense_1, … with ReLU, then a dense layer for each head."""

    hidden: Sequence[int]
    latent: int
    heads: Sequence[str]

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, ...]:
        x = x.reshape(x.shape[0], -1)
        for layer, width in enumerate(self.hidden):
            x = nn.relu(nn.Dense(width, name=f"dense_{layer}")(x))
        return tuple(nn.Dense(self.latent, name=head)(x) for head in self.heads)


class DenseDecoder(MLP):
    """An `MLP` whose output is an image."""

    image_shape: Sequence[int] = ()

    def __call__(self, x: jax.Array) -> jax.Array:
        return super().__call__(x).reshape(x.shape[0], *self.image_shape)


def mlp_coder(
    image_shape: Sequence[int], hidden: Sequence[int], latent: int, heads: Sequence[str]
) -> Coder:
    """Dense layers of the `hidden` widths; the decoder has them in reverse."""
    pixels = int(np.prod(image_shape))
    down, up = _groups(hidden)
    sizes = [pixels, *hidden, latent, *reversed(hidden), pixels]
    axes = mlp_axes("encoder", down[:-1])
    for head in heads:  # all heads end in the same latent neurons: several edge features
        axes |= {f"encoder/{head}/kernel": (down[-2], "z"), f"encoder/{head}/bias": ("z",)}
    axes |= mlp_axes("decoder", up)
    return Coder(
        DenseEncoder(tuple(hidden), latent, tuple(heads)),
        DenseDecoder((*reversed(hidden), pixels), tuple(image_shape)),
        _spec(down, up, sizes, axes, heads, first="decoder/dense_0/kernel"),
    )


class ConvEncoder(nn.Module):
    """3×3 convolutions conv_0, … with stride 2 and ReLU; each head sees all that is left."""

    hidden: Sequence[int]
    latent: int
    heads: Sequence[str]

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, ...]:
        x = to_maps(x)
        for layer, features in enumerate(self.hidden):
            x = nn.relu(Conv(features, stride=2, name=f"conv_{layer}")(x))
        size = (x.shape[1], x.shape[2])
        codes = (Conv(self.latent, size, padding="VALID", name=head)(x) for head in self.heads)
        return tuple(code.reshape(self.latent, -1).T for code in codes)


class ConvDecoder(nn.Module):
    """conv_0 spreads the code over the smallest maps; then 3×3 convolutions upsample by 2 each."""

    hidden: Sequence[int]
    image_shape: Sequence[int]

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        *outer, smallest = _halved(self.image_shape[:2], len(self.hidden))
        spread = Conv(
            self.hidden[-1],
            smallest,
            max(smallest),
            padding="VALID",
            kind="transpose",
            name="conv_0",
        )
        x = spread(z.T[:, None, None])[:, : smallest[0], : smallest[1]]
        features = (*reversed(self.hidden[:-1]), self.image_shape[2])
        for layer, (num, size) in enumerate(zip(features, reversed(outer), strict=True), start=1):
            x = Conv(num, stride=2, kind="upsample", name=f"conv_{layer}")(nn.relu(x))
            x = x[:, : size[0], : size[1]]
        return from_maps(x)


def conv_coder(
    image_shape: Sequence[int], hidden: Sequence[int], latent: int, heads: Sequence[str]
) -> Coder:
    """Convolutions with the `hidden` channels, each halving H and W; the decoder in reverse.

    Raises:
      ValueError: there is no hidden layer.
    """
    if not hidden:
        raise ValueError("a convolutional network needs hidden channels, such as hidden=(16, 32)")
    channels = image_shape[2]
    down, up = _groups(hidden)
    sizes = [channels, *hidden, latent, *reversed(hidden), channels]
    axes = _conv_axes("encoder", [f"conv_{i}" for i in range(len(hidden))], down[:-1])
    for head in heads:
        axes |= _conv_axes("encoder", [head], down[-2:])
    axes |= _conv_axes("decoder", [f"conv_{i}" for i in range(len(hidden) + 1)], up)
    return Coder(
        ConvEncoder(tuple(hidden), latent, tuple(heads)),
        ConvDecoder(tuple(hidden), tuple(image_shape)),
        _spec(down, up, sizes, axes, heads, first="decoder/conv_0/kernel"),
    )


def _halved(size: Sequence[int], times: int) -> list[tuple[int, int]]:
    """H and W before and after each of the stride-2 convolutions."""
    height, width = size
    return [(-(-height // 2**n), -(-width // 2**n)) for n in range(times + 1)]


def _groups(hidden: Sequence[int]) -> tuple[list[str], list[str]]:
    """Names of the groups of neurons from x to z, and from z to y."""
    down = ["x", *(f"encoder_{i}" for i in range(len(hidden))), "z"]
    return down, ["z", *(f"decoder_{i}" for i in range(len(hidden))), "y"]


def _conv_axes(scope: str, layers: Sequence[str], groups: Sequence[str]) -> dict[str, Any]:
    axes: dict[str, tuple[str | None, ...]] = {}
    for layer, source, target in zip(layers, groups, groups[1:], strict=False):
        axes[f"{scope}/{layer}/kernel"] = (None, None, source, target)
        axes[f"{scope}/{layer}/bias"] = (target,)
    return axes


def _spec(down, up, sizes, axes, heads, first) -> Spec:
    return Spec(
        groups=dict(zip([*down, *up[1:]], sizes, strict=True)),
        fixed=("x", "y"),
        axes=axes,
        scaled=(*down[1:-1], *up[1:-1]),
        # the sign of a latent variable: in the first head, its mean, and where it is read
        mirrored={"z": (f"encoder/{heads[0]}/kernel", f"encoder/{heads[0]}/bias", first)},
    )


NETWORKS = {"mlp": mlp_coder, "conv": conv_coder}
