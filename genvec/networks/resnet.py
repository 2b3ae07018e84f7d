"""The residual classifier; its convolutions are not run under vmap, so they are Flax's own."""

from collections.abc import Sequence

import flax.linen as nn
import jax

from genvec.arguments import check_whole, check_widths


class ConvNorm(nn.Module):
    """A 3×3 convolution and its batch norm: [B, H, W, C] → [B, H/s, W/s, width].

    Batch statistics are updated where the caller makes the collection "batch_stats" mutable, that
    is in training; otherwise the running averages serve. So all classifiers are called alike.
    """

    width: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        init = nn.initializers.he_normal()
        strides = (self.stride, self.stride)
        x = nn.Conv(self.width, (3, 3), strides, use_bias=False, kernel_init=init, name="conv")(x)
        training = self.is_mutable_collection("batch_stats")
        return nn.BatchNorm(use_running_average=not training, momentum=0.9, name="norm")(x)


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions beside a plain shortcut: [B, H, W, C] → [B, H/s, W/s, width].

    Reference: He et al. 2015, arXiv 1512.03385, figure 2 and option A: where the shape changes, the
    shortcut takes every s-th pixel and fills the new channels with zeros.
    """

    width: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        h = nn.relu(ConvNorm(self.width, self.stride, name="conv_0")(x))
        h = ConvNorm(self.width, name="conv_1")(h)
        x = x[:, :: self.stride, :: self.stride]
        new_channels = self.width - x.shape[-1]
        return nn.relu(h + jax.numpy.pad(x, ((0, 0), (0, 0), (0, 0), (0, new_channels))))


class ResNet(nn.Module):
    """Images [B, H, W, C] in [0, 1] → logits [B, L], which are also the image's embedding.

    For training and evaluation see `ConvNorm`.
    Reference: He et al. 2015, arXiv 1512.03385, section 4.2; ResNet-20 is `blocks_per_stage=3`.
    """

    num_classes: int
    stage_widths: Sequence[int] = (16, 32, 64)  # not decreasing; the second and later halve H, W
    blocks_per_stage: int = 1

    def __post_init__(self):
        check_whole(num_classes=self.num_classes, blocks_per_stage=self.blocks_per_stage)
        check_widths(stage_widths=self.stage_widths, layers=1)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.relu(ConvNorm(self.stage_widths[0], name="stem")(x))
        for stage, width in enumerate(self.stage_widths):
            for block in range(self.blocks_per_stage):
                stride = 2 if stage > 0 and block == 0 else 1
                x = ResidualBlock(width, stride, name=f"stage_{stage}_block_{block}")(x)
        return nn.Dense(self.num_classes, name="output")(x.mean(axis=(1, 2)))
