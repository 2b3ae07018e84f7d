"""Encoders of tokens [T, F], one for each free neuron."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genvec.arguments import check_whole, check_widths
from genvec.geometry import to_sphere
from genvec.networks import MLP
from genvec.types import Spec


class SetEncoder(nn.Module):
    """Every group of neurons as a set: an MLP for each group, the mean over its neurons, an MLP.

    Reference: Zaheer et al. 2017, arXiv 1703.06114, theorem 2 (sums; the mean does not grow with
    the group).
    """

    spec: Spec
    num_outputs: int
    width: int = 128
    hidden: Sequence[int] = (256,)

    def __post_init__(self):
        check_widths(hidden=self.hidden)
        check_whole(width=self.width)
        super().__post_init__()

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        sets = [
            jnp.mean(nn.relu(MLP((self.width, self.width), name=group)(part)), axis=0)
            for group, part in _by_group(self.spec, tokens).items()
        ]
        logits = MLP((*self.hidden, self.num_outputs), name="read")(jnp.concatenate(sets))
        return to_sphere(nn.softmax(logits))


class TransformerEncoder(nn.Module):
    """Self-attention over all tokens, each with a learned code of its place; their mean is read.

    Layers are normalised before attention and MLP.
    Reference: Schürholt et al. 2024, arXiv 2406.09997, section 3 (a transformer on tokens of
    aligned weights with codes of their places).
    """

    spec: Spec
    num_outputs: int
    width: int = 64
    num_layers: int = 2
    num_heads: int = 4

    def __post_init__(self):
        check_whole(width=self.width, num_heads=self.num_heads)
        check_whole(num_layers=self.num_layers, least=0)
        if self.width % self.num_heads:
            raise ValueError(
                f"num_heads is {self.num_heads}; allowed: a divisor of width, {self.width}"
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        parts = [
            nn.Dense(self.width, name=f"embed_{group}")(part)
            for group, part in _by_group(self.spec, tokens).items()
        ]
        x = jnp.concatenate(parts)
        x = x + self.param("places", nn.initializers.normal(0.02), x.shape)
        for layer in range(self.num_layers):
            h = nn.LayerNorm(name=f"attention_norm_{layer}")(x)
            attend = nn.MultiHeadDotProductAttention(self.num_heads, name=f"attention_{layer}")
            x = x + attend(h)
            h = nn.LayerNorm(name=f"mlp_norm_{layer}")(x)
            x = x + MLP((4 * self.width, self.width), name=f"mlp_{layer}")(h)
        x = jnp.mean(nn.LayerNorm(name="read_norm")(x), axis=0)
        return to_sphere(nn.softmax(nn.Dense(self.num_outputs, name="read")(x)))


def _by_group(spec: Spec, tokens: jax.Array) -> dict[str, jax.Array]:
    """Free group → its tokens, in the order in which they stand."""
    sizes = {group: num for group, num in spec.groups.items() if group not in spec.fixed}
    if len(tokens) != sum(sizes.values()):
        raise ValueError(f"{len(tokens)} tokens for {sum(sizes.values())} free neurons")
    parts = jnp.split(tokens, np.cumsum(list(sizes.values()))[:-1])
    return dict(zip(sizes, parts, strict=True))
