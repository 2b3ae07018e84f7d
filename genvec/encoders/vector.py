"""The encoder of vectors."""

from collections.abc import Sequence

import flax.linen as nn
import jax

from genvec.arguments import check_widths
from genvec.geometry import to_sphere
from genvec.networks import MLP
from genvec.types import Spec


class MLPEncoder(nn.Module):
    """Dense layers on any vector representation."""

    spec: Spec
    num_outputs: int
    hidden: Sequence[int] = (256, 256)

    def __post_init__(self):
        check_widths(hidden=self.hidden)
        super().__post_init__()

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        return to_sphere(nn.softmax(MLP((*self.hidden, self.num_outputs))(features)))
