"""Pairs of strided convolutions, without and with self-attention."""

import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from genvec.networks.attention import SelfAttention
from genvec.networks.conv import conv, conv_transpose, from_maps, to_maps
from genvec.networks.pairs.base import (
    GROWN,
    SLOPE,
    Layout,
    Pair,
    add_label,
    check_size,
    judge,
    spread,
    updated,
)
from genvec.networks.pairs.normal import batch_norm, normalise_kernels

DOWN = (3, 3)  # window of the discriminator; half the time of 4×4
UP = (4, 4)  # of the generator; a transposed convolution of stride 2 has no use for fewer taps


def dcgan(
    image_shape: Sequence[int],
    hidden: Sequence[int],
    latent: int,
    *,
    outputs: int = 1,
    labels: int = 0,
    minibatch: int = 0,
) -> Pair:
    """Convolutions of stride 2 with the `hidden` channels, in the generator in reverse.

    The discriminator has 3×3 windows, LeakyReLU, and batch norm on all hidden layers but the first.
    The generator spreads z over the smallest maps, then goes up by 4×4 transposed convolutions,
    with batch norm and ReLU; it ends in (tanh + 1) / 2. Layers with batch norm have no other bias.

    Args:
      image_shape: (H, W, C), with H and W multiples of 2^len(hidden).
      hidden: channels of the hidden layers.
      latent, outputs, labels, minibatch: as in `mlp`.

    Raises:
      ValueError: there is no hidden layer, or there are too many for the images.

    Reference: Radford et al. 2015, arXiv 1511.06434, section 3 (there all windows are 5×5).
    """
    options = {"latent": latent, "outputs": outputs, "labels": labels, "minibatch": minibatch}
    return _pair(image_shape, hidden, options)


def sagan(
    image_shape: Sequence[int],
    hidden: Sequence[int],
    latent: int,
    *,
    outputs: int = 1,
    labels: int = 0,
    minibatch: int = 0,
    attention: int = 0,
) -> Pair:
    """`dcgan` with self-attention in both networks and kernels of unit spectral norm.

    Spectral normalisation takes the place of batch norm in the discriminator, and stands beside it
    in the generator. The kernels inside the attention, of labels and of minibatch discrimination
    are not normalised; the authors' code normalises the attention's too.

    Args:
      image_shape: (H, W, C), with H and W multiples of 2^len(hidden).
      hidden: channels of the hidden layers.
      latent, outputs, labels, minibatch: as in `mlp`.
      attention: the discriminator's hidden layer whose maps attend, and the generator's of the same
        size; 0 has the largest ones, H/2 × W/2.

    Raises:
      ValueError: there is no hidden layer, or too many for the images, or none to attend.

    Reference: Zhang et al. 2018, arXiv 1805.08318, sections 3 and 4.
    """
    if hidden and not 0 <= attention < len(hidden):
        raise ValueError(f"attention is {attention}; there are {len(hidden)} hidden layers")
    options = {"latent": latent, "outputs": outputs, "labels": labels, "minibatch": minibatch}
    return _pair(image_shape, hidden, options, attention)


def _pair(image_shape, hidden, options, attention: int | None = None) -> Pair:
    num, spectral = len(hidden), attention is not None
    check_size(image_shape, hidden, num)
    layout = _layout(image_shape, hidden, options, attention)

    def attend(own, h, layer) -> Any:
        return SelfAttention().apply({"params": own["attention"]}, h) if layer == attention else h

    def generate(params, state, z, train, progress=GROWN, label=None):
        del progress
        own, stats = normalise_kernels(params["generator"], state["generator"], train)
        h = spread(z, own["conv_0"]["kernel"])
        h = add_label(h, own, "label_0", label)
        for layer in range(num):
            norm = f"norm_{layer}"
            h, stats[norm] = batch_norm(own[norm], stats[norm], h, train)
            h = attend(own, jax.nn.relu(h), num - 1 - layer)
            h = conv_transpose(h, own[f"conv_{layer + 1}"]["kernel"], 2)
        y = jnp.tanh(h + own[f"conv_{num}"]["bias"][:, None, None, None])
        return from_maps((y + 1) / 2), updated(state, "generator", stats)

    def discriminate(params, state, x, train, progress=GROWN, label=None):
        del progress
        stats = state.get("discriminator", {})
        own, stats = normalise_kernels(params["discriminator"], stats, train)
        h = to_maps(x)
        for layer in range(num):
            kernel, norm = own[f"conv_{layer}"], f"norm_{layer}"
            h = conv(h, kernel["kernel"], 2)
            if layer == 0:
                h = add_label(h, own, "label_0", label)
            if norm in own:
                h, stats[norm] = batch_norm(own[norm], stats[norm], h, train)
            else:
                h += kernel["bias"][:, None, None, None]
            h = attend(own, jax.nn.leaky_relu(h, SLOPE), layer)
        features = from_maps(h).reshape(x.shape[0], -1)
        return judge(own, features), features, updated(state, "discriminator", stats)

    # batch norm with running statistics and spectral norm are not indifferent to a neuron's scale
    scaled = [] if spectral else ["discriminator_0"]
    scaled += [group for group in layout.groups if group.endswith("_value")]
    spec = layout.spec(scaled, "generator/conv_0/kernel")
    return Pair(layout.init, generate, discriminate, spec)


def _layout(image_shape, hidden, options, attention) -> Layout:
    num, spectral = len(hidden), attention is not None
    down = {f"discriminator_{i}": channels for i, channels in enumerate(hidden)}
    up = {f"generator_{i}": channels for i, channels in enumerate(reversed(hidden))}
    smallest = (image_shape[0] // 2**num, image_shape[1] // 2**num)
    layout = Layout(down, up, size=image_shape[2], **options)
    for layer, (source, target) in enumerate(itertools.pairwise(["x", *down])):
        name = f"discriminator/conv_{layer}"
        layout.kernel(name, source, target, DOWN)
        if layer > 0 and not spectral:
            layout.batch_norm(f"discriminator/norm_{layer}", target)
        else:
            layout.vector(f"{name}/bias", target)
    layout.head([*down][-1], smallest)
    for layer, (source, target) in enumerate(itertools.pairwise(["z", *up, "y"])):
        name = f"generator/conv_{layer}"
        layout.kernel(name, source, target, UP if layer else smallest)
        if layer < num:
            layout.batch_norm(f"generator/norm_{layer}", target)
        else:
            layout.vector(f"{name}/bias", target)
    layout.labels("discriminator/label_0", "discriminator_0")
    layout.labels("generator/label_0", "generator_0")
    if attention is not None:
        layout.attention("discriminator/attention", f"discriminator_{attention}")
        layout.attention("generator/attention", f"generator_{num - 1 - attention}")
        for name in [*(f"conv_{i}" for i in range(num)), "score"]:
            layout.spectral_norm(f"discriminator/{name}")
        for layer in range(num + 1):
            layout.spectral_norm(f"generator/conv_{layer}")
    return layout
