"""Dense Flax blocks that the families, the classifier and the encoders share."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax

from genvec.arguments import check_whole, check_widths


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

    def __post_init__(self):
        check_whole(num_classes=self.num_classes)
        check_widths(hidden_widths=self.hidden_widths)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return MLP((*self.hidden_widths, self.num_classes), name="mlp")(x.reshape(x.shape[0], -1))
