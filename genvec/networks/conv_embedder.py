"""The small convolutional network of few-shot learning, of Flax's own layers: no vmap here."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from genvec.arguments import check_whole, check_widths
from genvec.networks.resnet import ConvNorm


class ConvEmbedder(nn.Module):
    """Images [B, H, W, C] in [0, 1] → vectors [B, num_outputs].

    Blocks of a 3×3 convolution, batch norm, ReLU and 2×2 max pooling, then one dense layer; for
    training and evaluation see `ConvNorm`.
    Reference: Vinyals et al. 2016, arXiv 1606.04080, section 4.1 (four blocks of 64).

    With `output_norm` the vectors are batch-normed as well, as those that ArcFace compares are
    (arXiv 1801.07698, section 3.1). After ReLUs and a dense layer alone all vectors point one way,
    and objectives of angles start from cosines near one.
    """

    num_outputs: int
    widths: Sequence[int] = (64, 64, 64, 64)
    output_norm: bool = False

    def __post_init__(self):
        check_whole(num_outputs=self.num_outputs)
        check_widths(widths=self.widths)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for i, width in enumerate(self.widths):
            x = max_pool(nn.relu(ConvNorm(width, name=f"block_{i}")(x)))
        x = nn.Dense(self.num_outputs, name="output")(x.reshape(len(x), -1))
        if not self.output_norm:
            return x
        training = self.is_mutable_collection("batch_stats")
        return nn.BatchNorm(not training, momentum=0.9, name="output_norm")(x)


def max_pool(x: jax.Array) -> jax.Array:
    """Maxima over 2×2 blocks: [B, H, W, C] → [B, H/2, W/2, C]; an odd last row or column is cut.

    A side of one stays. Of equal values one gets the whole gradient, so it needs no count of them:
    `jnp.max` divides by one, which is zero where XLA computes x twice and rounds it differently.
    Nor is it `nn.max_pool`, whose gradient XLA scatters pixel by pixel on the CPU.
    """
    num, height, width, channels = x.shape
    if height > 1:
        rows = x[:, : height // 2 * 2].reshape(num, height // 2, 2, width, channels)
        x = _larger(rows[:, :, 0], rows[:, :, 1])
    if width > 1:
        columns = x[:, :, : width // 2 * 2].reshape(num, -1, width // 2, 2, channels)
        x = _larger(columns[:, :, :, 0], columns[:, :, :, 1])
    return x


def _larger(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.where(a > b, a, b)
