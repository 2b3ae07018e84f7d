"""The small convolutional network of few-shot learning, of Flax's own layers: no vmap here."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from genvec.networks.resnet import ConvNorm


class ConvEmbedder(nn.Module):
    """Images [B, H, W, C] in [0, 1] → vectors [B, num_outputs].

    Blocks of a 3×3 convolution, batch norm, ReLU and 2×2 max pooling, then one dense layer; for
    training and evaluation see `ConvNorm`.
    Reference: Vinyals et al. 2016, arXiv 1606.04080, section 4.1 (four blocks of 64).
    """

    num_outputs: int
    widths: Sequence[int] = (64, 64, 64, 64)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for i, width in enumerate(self.widths):
            x = max_pool(nn.relu(ConvNorm(width, name=f"block_{i}")(x)))
        return nn.Dense(self.num_outputs, name="output")(x.reshape(len(x), -1))


def max_pool(x: jax.Array) -> jax.Array:
    """Maxima over 2×2 blocks: [B, H, W, C] → [B, H/2, W/2, C]; an odd last row or column is cut.

    Not `nn.max_pool`, whose gradient XLA scatters pixel by pixel on the CPU. A side of one stays.
    """
    num, height, width, channels = x.shape
    down, right = min(2, height), min(2, width)
    x = x[:, : height // down * down, : width // right * right]
    blocks = x.reshape(num, height // down, down, width // right, right, channels)
    return jnp.max(blocks, axis=(2, 4))
