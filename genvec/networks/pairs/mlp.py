"""A pair of dense networks."""

import itertools
from collections.abc import Sequence

import jax
import numpy as np

from genvec.networks.pairs.base import GROWN, SLOPE, Layout, Pair, add_label, check_size, judge


def mlp(
    image_shape: Sequence[int],
    hidden: Sequence[int],
    latent: int,
    *,
    outputs: int = 1,
    labels: int = 0,
    minibatch: int = 0,
) -> Pair:
    """Dense layers of the `hidden` widths, in the generator in reverse.

    The generator has ReLU and ends in a sigmoid; the discriminator has LeakyReLU.

    Args:
      image_shape: (H, W, C).
      hidden: widths of the hidden layers.
      latent: Z, the number of latent variables.
      outputs: scores per image.
      labels: classes of a conditional pair, or 0.
      minibatch: features of minibatch discrimination, or 0; see `closeness`.

    Raises:
      ValueError: there is no hidden layer.
    """
    check_size(image_shape, hidden, 0)
    pixels = int(np.prod(image_shape))
    down = {f"discriminator_{i}": width for i, width in enumerate(hidden)}
    up = {f"generator_{i}": width for i, width in enumerate(reversed(hidden))}
    options = {"latent": latent, "outputs": outputs, "labels": labels, "minibatch": minibatch}
    layout = Layout(down, up, size=pixels, **options)
    for layer, (source, target) in enumerate(itertools.pairwise(["x", *down])):
        layout.layer(f"discriminator/dense_{layer}", source, target)
    for layer, (source, target) in enumerate(itertools.pairwise(["z", *up, "y"])):
        layout.layer(f"generator/dense_{layer}", source, target)
    layout.labels("discriminator/label_0", "discriminator_0")
    layout.labels("generator/label_0", "generator_0")
    layout.head([*down][-1])

    def dense(params, layer, h):  # [F, B] → [O, B]
        own = params[f"dense_{layer}"]
        return own["kernel"].T @ h + own["bias"][:, None]

    def generate(params, state, z, train, progress=GROWN, label=None):
        del train, progress
        own = params["generator"]
        h = add_label(dense(own, 0, z.T), own, "label_0", label)
        for layer in range(len(hidden)):
            h = dense(own, layer + 1, jax.nn.relu(h))
        return jax.nn.sigmoid(h.T).reshape(z.shape[0], *image_shape), state

    def discriminate(params, state, x, train, progress=GROWN, label=None):
        del train, progress
        own = params["discriminator"]
        h = add_label(dense(own, 0, x.reshape(x.shape[0], -1).T), own, "label_0", label)
        for layer in range(1, len(hidden)):
            h = dense(own, layer, jax.nn.leaky_relu(h, SLOPE))
        features = jax.nn.leaky_relu(h, SLOPE).T
        return judge(own, features), features, state

    spec = layout.spec([*down, *up], "generator/dense_0/kernel")
    return Pair(layout.init, generate, discriminate, spec)
