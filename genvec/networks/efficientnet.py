"""EfficientNet: one table of blocks, widened and deepened together."""

import math
from typing import NamedTuple

import flax.linen as nn
import jax

from genvec.arguments import check_whole, is_number
from genvec.registry import lookup


class Stage(NamedTuple):
    """A row of table 1: `repeats` blocks, of which the first has the stride."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    filters: int


class Scale(NamedTuple):
    """How a variant departs from table 1; `resolution` is the paper's H = W, any other will do."""

    width: float
    depth: float
    resolution: int
    dropout: float


def round_filters(filters: int, width: float) -> int:
    """`filters` · `width` to the nearest multiple of 8, or the next if more than 10 % were lost."""
    scaled = filters * width
    nearest = max(8, 8 * math.floor(scaled / 8 + 0.5))
    return nearest + 8 if nearest < 0.9 * scaled else nearest


def round_repeats(repeats: int, depth: float) -> int:
    """`repeats` · `depth`, rounded up."""
    return math.ceil(repeats * depth)


def is_random(module: nn.Module) -> bool:
    """Whether to drop at random: in training, and where the caller gave an rng "dropout"."""
    return module.is_mutable_collection("batch_stats") and module.has_rng("dropout")


class ConvNorm(nn.Module):
    """A convolution and its batch norm: [B, H, W, C] → [B, ⌈H/s⌉, ⌈W/s⌉, width].

    The weights come from N(0, 2/fan_out) and the norm's constants are the authors'. Their fan_out
    of a depthwise kernel is k·k, which for Flax, whose kernel is [k, k, 1, C], is the fan_in.
    Reference: github.com/tensorflow/tpu, models/official/efficientnet.
    """

    width: int
    kernel: int = 1
    stride: int = 1
    depthwise: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        fan = "fan_in" if self.depthwise else "fan_out"
        x = nn.Conv(
            self.width,
            (self.kernel, self.kernel),
            (self.stride, self.stride),
            padding="SAME",
            feature_group_count=self.width if self.depthwise else 1,
            use_bias=False,
            kernel_init=nn.initializers.variance_scaling(2.0, fan, "normal"),
            name="conv",
        )(x)
        averages = not self.is_mutable_collection("batch_stats")
        norm = nn.BatchNorm(use_running_average=averages, momentum=0.99, epsilon=1e-3, name="norm")
        return norm(x)


class SqueezeExcitation(nn.Module):
    """A gate for each channel, read from the means of all: [B, H, W, C] → [B, H, W, C].

    Reference: Hu et al. 2017, arXiv 1709.01507, eq. 2-4, with swish in place of ReLU.
    """

    squeezed: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
        gate = nn.Dense(self.squeezed, kernel_init=init, name="squeeze")(x.mean(axis=(1, 2)))
        gate = nn.Dense(x.shape[-1], kernel_init=init, name="excite")(nn.swish(gate))
        return x * nn.sigmoid(gate)[:, None, None]


class MBConv(nn.Module):
    """Expand, filter each channel, gate, project: [B, H, W, C] → [B, ⌈H/s⌉, ⌈W/s⌉, filters].

    Where the shape stays, x is added to the branch. The branch survives, sample by sample, with
    the probability `survival` and is then divided by it, so that evaluation needs no factor.
    Reference: Sandler et al. 2018, arXiv 1801.04381, figure 3b; Huang et al. 2016,
    arXiv 1603.09382, who multiply by it in evaluation instead.
    """

    filters: int
    kernel: int
    stride: int
    expansion: int
    survival: float = 1.0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        inputs = x.shape[-1]
        h, width = x, inputs * self.expansion
        if self.expansion > 1:
            h = nn.swish(ConvNorm(width, name="expand")(h))
        h = ConvNorm(width, self.kernel, self.stride, depthwise=True, name="depthwise")(h)
        h = SqueezeExcitation(max(1, inputs // 4), name="gate")(nn.swish(h))
        h = ConvNorm(self.filters, name="project")(h)
        if self.stride > 1 or inputs != self.filters:
            return h
        # one draw for a sample, shared by its pixels and channels
        drop = nn.Dropout(1 - self.survival, broadcast_dims=(1, 2, 3), name="drop")
        return x + drop(h, deterministic=not is_random(self))


class EfficientNet(nn.Module):
    """Images [B, H, W, C] in [0, 1] → an embedding or logits [B, num_outputs].

    Training is where the caller makes "batch_stats" mutable, as for `ResNet`. Then block l of L
    survives with the probability 1 − l/L · (1 − survival), and the head has the variant's dropout;
    both draw from the rng "dropout", and without it both are off.
    Reference: Tan & Le 2019, arXiv 1905.11946, table 1 and eq. 3; Huang et al. 2016,
    arXiv 1603.09382, eq. 4.

    Raises:
      KeyError: the variant is not one of `SCALES`.
      ValueError: `survival` is no probability.
    """

    num_outputs: int
    variant: str = "b2"
    survival: float = 0.8  # of the last block

    def __post_init__(self):
        check_whole(num_outputs=self.num_outputs)
        lookup(SCALES, self.variant, kind="EfficientNet variant")
        if not is_number(self.survival) or not 0 <= self.survival <= 1:
            raise ValueError(f"survival is a probability, not {self.survival}")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = SCALES[self.variant]
        repeats = [round_repeats(stage.repeats, scale.depth) for stage in STAGES]
        x = nn.swish(ConvNorm(round_filters(32, scale.width), 3, 2, name="stem")(x))
        l, L = 0, sum(repeats)
        for number, stage in enumerate(STAGES):
            for block in range(repeats[number]):
                l += 1
                x = MBConv(
                    round_filters(stage.filters, scale.width),
                    stage.kernel,
                    stage.stride if block == 0 else 1,
                    stage.expansion,
                    1 - l / L * (1 - self.survival),
                    name=f"stage_{number}_block_{block}",
                )(x)
        x = nn.swish(ConvNorm(round_filters(1280, scale.width), name="head")(x))
        dropout = nn.Dropout(scale.dropout, name="dropout")
        x = dropout(x.mean(axis=(1, 2)), deterministic=not is_random(self))
        # the authors' too: uniform within ±1/√num_outputs
        init = nn.initializers.variance_scaling(1 / 3, "fan_out", "uniform")
        return nn.Dense(self.num_outputs, kernel_init=init, name="output")(x)


STAGES = (  # repeats, kernel, stride, expansion, filters
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
SCALES = {  # width, depth, resolution, dropout; as the authors' code has them
    "b0": Scale(1.0, 1.0, 224, 0.2),
    "b1": Scale(1.0, 1.1, 240, 0.2),
    "b2": Scale(1.1, 1.2, 260, 0.3),
    "b3": Scale(1.2, 1.4, 300, 0.3),
    "b4": Scale(1.4, 1.8, 380, 0.4),
    "b5": Scale(1.6, 2.2, 456, 0.4),
    "b6": Scale(1.8, 2.6, 528, 0.5),
    "b7": Scale(2.0, 3.1, 600, 0.5),
}
