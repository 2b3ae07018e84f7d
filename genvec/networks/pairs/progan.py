"""A pair that grows: it begins with the smallest images and doubles their size, level by level."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from genvec.networks.conv import conv, from_maps, to_maps, upsample_conv
from genvec.networks.pairs.base import (
    GROWN,
    SLOPE,
    Layout,
    Pair,
    add_label,
    check_size,
    judge,
    spread,
)
from genvec.networks.pairs.normal import deviation, pixel_norm
from genvec.trees import flatten_names, unflatten_names
from genvec.types import Params

GAIN = math.sqrt(2)  # of kernels in front of a LeakyReLU; He et al. 2015, arXiv 1502.01852


def progan(
    image_shape: Sequence[int],
    hidden: Sequence[int],
    latent: int,
    *,
    outputs: int = 1,
    labels: int = 0,
    minibatch: int = 0,
) -> Pair:
    """Levels of H/2^(levels−1), …, H/2, H pixels, one for each of the `hidden` channels.

    `progress` p in [0, levels − 1] shows level l = ⌊p⌋ faded into the next by α = p − l, as in the
    paper's figure 2. All levels are computed, and weighted by p, so that a member has the same
    parameters and the same program before and after it grows. Real images are to be shown as
    `Pair.fade` gives them. hidden[0] are the channels of the largest maps.

    As in the paper: pixel norm in the generator (and of z), LeakyReLU, the standard deviation of
    the batch as a feature of the smallest level, kernels scaled at run time. Labels are added at
    every level's first layer. Otherwise: a level has one 3×3 convolution in place of two, up- or
    downscaling at once (the authors' code fuses them too), and images go through (tanh + 1) / 2.

    Args:
      image_shape: (H, W, C), with H and W multiples of 2^(len(hidden) − 1).
      hidden: channels of the levels, largest maps first.
      latent, outputs, labels, minibatch: as in `mlp`.

    Raises:
      ValueError: there is no hidden layer, or there are too many for the images.

    Reference: Karras et al. 2017, arXiv 1710.10196, sections 2 to 4 and appendix A.
    """
    levels = len(hidden)
    check_size(image_shape, hidden, levels - 1)
    options = {"latent": latent, "outputs": outputs, "labels": labels, "minibatch": minibatch}
    layout, factors = _layout(image_shape, hidden, options)

    def of_level(progress):
        return jnp.clip(jnp.asarray(progress, jnp.float32), 0, levels - 1)

    def generate(params, state, z, train, progress=GROWN, label=None):
        del train
        own, images = _scaled(params["generator"], factors["generator"]), []
        h = spread(pixel_norm(z, axis=1), own["conv_0"]["kernel"])
        h = add_label(h, own, "label_0", label)
        for level in range(levels):
            if level > 0:
                h = upsample_conv(h, own[f"conv_{level}"]["kernel"])
            h = pixel_norm(_activate(h, own[f"conv_{level}"]["bias"]))
            to_image = own[f"to_image_{level}"]
            image = _pointwise(h, to_image["kernel"]) + to_image["bias"][:, None, None, None]
            images.append((jnp.tanh(image) + 1) / 2)
        return from_maps(_faded(images, of_level(progress))), state

    def discriminate(params, state, x, train, progress=GROWN, label=None):
        del train
        own = _scaled(params["discriminator"], factors["discriminator"])
        p, image = of_level(progress), to_maps(x)
        h: Any = None
        for layer in range(levels):  # from the largest maps down
            from_image = own[f"from_image_{layer}"]
            entering = _pointwise(image, from_image["kernel"])
            entering = add_label(entering, own, f"label_{layer}", label)
            entering = _activate(entering, from_image["bias"])
            # α of the fade from this level to the next larger one; there is none above the largest
            alpha = jnp.clip(p - (levels - 1 - layer), 0, 1)
            h = entering if h is None else (1 - alpha) * entering + alpha * h
            if layer < levels - 1:
                image = _halve(image)
                kernel = own[f"conv_{layer}"]
                h = conv(h, _downscaling(kernel["kernel"]), 2, ((1, 1), (1, 1)))
                h = _activate(h, kernel["bias"])
        last = own[f"conv_{levels - 1}"]
        same = deviation(h) * own["deviation"]["kernel"][0]
        kernel = last["kernel"].transpose(3, 2, 0, 1).reshape(hidden[-1], -1)
        h = kernel @ h.reshape(-1, x.shape[0]) + same[:, None]
        features = _activate(h, last["bias"]).T
        return judge(own, features), features, state

    def fade(x, progress=GROWN):
        images = [to_maps(x)]
        for _ in range(levels - 1):
            images.insert(0, _halve(images[0]))
        return from_maps(_faded(images, of_level(progress)))

    # neither the batch's standard deviation nor pixel norm is indifferent to a neuron's scale
    scaled = [f"discriminator_{i}" for i in range(levels + 1) if i != levels - 1]
    spec = layout.spec(scaled, "generator/conv_0/kernel")
    return Pair(layout.init, generate, discriminate, spec, fade)


def _layout(image_shape, hidden, options) -> tuple[Layout, dict[str, Any]]:
    """The layout, and the factor that each kernel is multiplied by at run time."""
    levels = len(hidden)
    smallest = [size // 2 ** (levels - 1) for size in image_shape[:2]]
    down = {f"discriminator_{i}": channels for i, channels in enumerate(hidden)}
    down |= {"deviation": 1, f"discriminator_{levels}": hidden[-1]}
    up = {f"generator_{i}": channels for i, channels in enumerate(reversed(hidden))}
    layout = Layout(down, up, size=image_shape[2], **options)
    for layer in range(levels):
        own, following = f"discriminator_{layer}", f"discriminator_{layer + 1}"
        layout.layer(f"discriminator/from_image_{layer}", "x", own)
        layout.labels(f"discriminator/label_{layer}", own)
        window = smallest if layer == levels - 1 else (3, 3)
        layout.layer(f"discriminator/conv_{layer}", own, following, window)
    layout.kernel("discriminator/deviation", "deviation", f"discriminator_{levels}")
    layout.head(f"discriminator_{levels}")
    layout.labels("generator/label_0", "generator_0")
    for level, (source, target) in enumerate(itertools.pairwise(["z", *up])):
        layout.layer(f"generator/conv_{level}", source, target, (3, 3) if level else smallest)
        layout.layer(f"generator/to_image_{level}", target, "y")
    factors = {}
    for name, leaf in layout.leaves.items():
        if leaf.std > 0:
            last = leaf.axes[-1] not in layout.groups or leaf.axes[-1] in ("y", "score")
            factors[name] = leaf.std * (1 if last else GAIN)
            layout.leaves[name] = leaf._replace(std=1.0)
    return layout, unflatten_names(factors)


def _scaled(params: Params, factors: Mapping[str, Any]) -> Params:
    """The kernels as they are used: a step of one size means the same to each (section 4.1)."""
    factors = flatten_names(factors)
    flat = flatten_names(params)
    return unflatten_names({name: leaf * factors.get(name, 1.0) for name, leaf in flat.items()})


def _activate(h: jax.Array, bias: jax.Array) -> jax.Array:
    """LeakyReLU(h + bias), [C, .., B]."""
    return jax.nn.leaky_relu(h + bias.reshape(-1, *[1] * (h.ndim - 1)), SLOPE)


def _pointwise(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """A 1×1 convolution: [C, H, W, B], [C, O] → [O, H, W, B]."""
    return (kernel.T @ x.reshape(x.shape[0], -1)).reshape(-1, *x.shape[1:])


def _faded(images: Sequence[jax.Array], p: jax.Array) -> jax.Array:
    """Maps of every level, smallest first → those of the levels next to p, weighted, enlarged."""
    weights = jnp.maximum(1 - jnp.abs(p - jnp.arange(len(images))), 0)
    y = weights[0] * images[0]
    for weight, image in zip(weights[1:], images[1:], strict=True):
        y = weight * image + _double(y)
    return y


def _double(x: jax.Array) -> jax.Array:
    """Nearest-neighbour upsampling: [C, H, W, B] → [C, 2H, 2W, B]."""
    channels, height, width, batch = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None], (channels, height, 2, width, 2, batch))
    return x.reshape(channels, 2 * height, 2 * width, batch)


def _halve(x: jax.Array) -> jax.Array:
    """Means of 2×2 pixels: [C, H, W, B] → [C, H/2, W/2, B]."""
    channels, height, width, batch = x.shape
    return x.reshape(channels, height // 2, 2, width // 2, 2, batch).mean(axis=(2, 4))


def _downscaling(kernel: jax.Array) -> jax.Array:
    """The 4×4 kernel that with stride 2 convolves with a 3×3 kernel and takes 2×2 means at once."""
    k = jnp.pad(kernel, ((1, 1), (1, 1), (0, 0), (0, 0)))
    return (k[1:, 1:] + k[:-1, 1:] + k[1:, :-1] + k[:-1, :-1]) / 4
