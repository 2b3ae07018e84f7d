"""Flax blocks that the families, the classifier and the encoders share."""

from collections.abc import Sequence

import flax.linen as nn
import jax


class MLP(nn.Module):
    """Dense layers with ReLU between them: [.., F] → [.., widths[-1]]; layers are named dense_0, dense_1, …"""

    widths: Sequence[int]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for layer, width in enumerate(self.widths):
            x = nn.Dense(width, name=f"dense_{layer}")(x if layer == 0 else nn.relu(x))
        return x


def mlp_axes(scope: str, groups: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The symmetry axes of an `MLP` named `scope` whose layers join consecutive `groups`."""
    axes: dict[str, tuple[str, ...]] = {}
    for layer, (source, target) in enumerate(zip(groups, groups[1:], strict=False)):
        axes[f"{scope}/dense_{layer}/kernel"] = (source, target)
        axes[f"{scope}/dense_{layer}/bias"] = (target,)
    return axes
