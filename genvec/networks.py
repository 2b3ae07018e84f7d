"""Flax blocks that the families, the classifier and the encoders share."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax


def initialise(module: nn.Module, key: jax.Array, *inputs: Any) -> Mapping[str, Any]:
    """`module.init(key, *inputs)`, compiled as one program and without optimisation.

    It runs once, and optimising the code of random draws takes longer than all else: on a CPU 6 s
    against 1 s for a small ResNet.
    """
    init = jax.jit(module.init, compiler_options={"xla_backend_optimization_level": 0})
    return init(key, *inputs)


class MLP(nn.Module):
    """Dense layers dense_0, dense_1, … with ReLU between them: [.., F] → [.., widths[-1]]."""

    widths: Sequence[int]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for layer, width in enumerate(self.widths):
            x = nn.Dense(width, name=f"dense_{layer}")(x if layer == 0 else nn.relu(x))
        return x


def mlp_axes(scope: str, groups: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The symmetry axes of an `MLP` named `scope` whose layers join consecutive `groups`."""
    axes: dict[str, tuple[str, ...]] = {}
    for layer, (source, target) in enumerate(itertools.pairwise(groups)):
        axes[f"{scope}/dense_{layer}/kernel"] = (source, target)
        axes[f"{scope}/dense_{layer}/bias"] = (target,)
    return axes


class MLPClassifier(nn.Module):
    """Images [B, H, W, C] in [0, 1], flattened → logits [B, L]."""

    num_classes: int
    hidden_widths: Sequence[int] = (128,)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return MLP((*self.hidden_widths, self.num_classes), name="mlp")(x.reshape(x.shape[0], -1))


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

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.relu(ConvNorm(self.stage_widths[0], name="stem")(x))
        for stage, width in enumerate(self.stage_widths):
            for block in range(self.blocks_per_stage):
                stride = 2 if stage > 0 and block == 0 else 1
                x = ResidualBlock(width, stride, name=f"stage_{stage}_block_{block}")(x)
        return nn.Dense(self.num_classes, name="output")(x.mean(axis=(1, 2)))
