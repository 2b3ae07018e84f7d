"""An encoder that runs the member: what it makes of learned images."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax

from genvec.arguments import check_whole, check_widths
from genvec.geometry import to_sphere
from genvec.networks import MLP

CODE = 32  # numbers that an image is learned from, and that are kept of what comes out


class ProbeEncoder(nn.Module):
    """Learned images go through the member, and an MLP reads what comes out of it.

    The images are a linear function of a few learned numbers each, which keeps them smooth where
    independent pixels would fit the training members. What comes out is standardised, image by
    image, and a few numbers of each are read by one linear map and standardised again: all pixels
    side by side are so many that a step of their weights saturates the softmax. No symmetry of the
    member is seen.

    Reference: Kahana et al. 2024, arXiv 2410.10811, section 4 (ProbeGen).
    """

    run: Callable[[Mapping[str, Any], jax.Array], jax.Array]  # (member, x [B, H, W, C]) → [B, ..]
    image_shape: Sequence[int]
    num_outputs: int
    num_probes: int = 16
    hidden: Sequence[int] = (256, 256)

    def __post_init__(self):
        check_widths(hidden=self.hidden)
        check_whole(num_probes=self.num_probes)
        super().__post_init__()

    @nn.compact
    def __call__(self, member: Mapping[str, Any]) -> jax.Array:
        codes = self.param("codes", nn.initializers.normal(1.0), (self.num_probes, CODE))
        height, width, channels = self.image_shape
        images = nn.Dense(height * width * channels, name="images")(codes)
        x = nn.sigmoid(images).reshape(-1, height, width, channels)
        seen = self.run(member, x).reshape(self.num_probes, -1)
        seen = nn.LayerNorm(use_bias=False, use_scale=False)(seen)
        read = nn.LayerNorm()(nn.Dense(CODE, name="read")(seen).reshape(-1))
        return to_sphere(nn.softmax(MLP((*self.hidden, self.num_outputs))(read)))
