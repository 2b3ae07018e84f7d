"""Autoregressive density of the pixels by a masked network, whose sampling is sequential."""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from genvec.arguments import check_image_shape, check_whole, check_widths
from genvec.families.log_variance import bounded
from genvec.registry import lookup
from genvec.types import Family, Player, Spec

# of a mixture's components: 8-bit images repeat values, at which the likelihood has no bound else
SMALLEST_SIGMA = 1 / 32


class Head(NamedTuple):
    """Density of one pixel, as a function of n numbers that the network puts out for it."""

    first_bias: Callable[[int], np.ndarray]  # num_columns → [n], the numbers before training
    log_density: Callable[[jax.Array, jax.Array], jax.Array]  # numbers [.., n], x [..] → [..]
    draw: Callable[[jax.Array, jax.Array], jax.Array]  # key, numbers [.., n] → x [..] in [0, 1]


def histogram_log_density(logits: jax.Array, x: jax.Array) -> jax.Array:
    """Of K columns of equal width in [0, 1]: log K · p(column), nats; the last includes x = 1.

    Args:
      logits: [.., K].
      x: [..] in [0, 1].
    """
    K = logits.shape[-1]
    column = jnp.clip(jnp.floor(x * K).astype(int), 0, K - 1)
    chosen = jnp.sum(jax.nn.one_hot(column, K) * logits, axis=-1)
    return chosen - jax.nn.logsumexp(logits, axis=-1) + np.log(K)


def draw_histogram(key: jax.Array, logits: jax.Array) -> jax.Array:
    """A column, then a place in it: [.., K] → [..]."""
    column_key, place_key = jax.random.split(key)
    column = jax.random.categorical(column_key, logits)
    return (column + jax.random.uniform(place_key, column.shape)) / logits.shape[-1]


def mixture_log_density(numbers: jax.Array, x: jax.Array) -> jax.Array:
    """log Σ w_k N(x; μ_k, σ_k²) in nats, a density on the whole line; every σ_k ≥ SMALLEST_SIGMA.

    Args:
      numbers: [.., 3K]: logits of w, then μ, then log(σ − SMALLEST_SIGMA).
      x: [..].
    """
    logits, mean, sigma = _mixture(numbers)
    log_normal = -0.5 * jnp.square((x[..., None] - mean) / sigma) - jnp.log(sigma)
    log_sum = jax.nn.logsumexp(logits + log_normal, axis=-1)
    return log_sum - jax.nn.logsumexp(logits, axis=-1) - 0.5 * np.log(2 * np.pi)


def draw_mixture(key: jax.Array, numbers: jax.Array) -> jax.Array:
    """A component, then a value of it, clipped: [.., 3K] → [..] in [0, 1]."""
    component_key, value_key = jax.random.split(key)
    logits, mean, sigma = _mixture(numbers)
    component = jax.random.categorical(component_key, logits)[..., None]
    mean, sigma = (jnp.take_along_axis(v, component, axis=-1)[..., 0] for v in (mean, sigma))
    return jnp.clip(mean + sigma * jax.random.normal(value_key, mean.shape), 0.0, 1.0)


def _mixture(numbers: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    logits, mean, log_sigma = jnp.split(numbers, 3, axis=-1)
    return logits, mean, SMALLEST_SIGMA + jnp.exp(bounded(log_sigma))


def _first_mixture(num_columns: int) -> np.ndarray:
    """Components as wide as a histogram's columns, and where its columns are."""
    mean = (np.arange(num_columns) + 0.5) / num_columns
    log_sigma = np.full(num_columns, -np.log(num_columns))
    return np.concatenate([np.zeros(num_columns), mean, log_sigma])


HEADS = {
    "histogram": Head(np.zeros, histogram_log_density, draw_histogram),
    "gaussian_mixture": Head(_first_mixture, mixture_log_density, draw_mixture),
}


def density(
    image_shape: Sequence[int],
    *,
    hidden: Sequence[int] = (64,),
    head: str = "histogram",
    num_columns: int = 8,
) -> Family:
    """p(x) = Π p(x_i | x_1 … x_{i−1}) over the pixels in raster order, channels last.

    One player, loss −log p(x), the exact density in nats an image. One masked network gives all
    factors; weights that would look ahead are zero and stay so. `encode` is the last hidden layer.

    Args:
      image_shape: (H, W, C), at least two pixels.
      hidden: widths of the hidden layers, at least one.
      head: density of a pixel, one of `HEADS`. "histogram": columns of equal width. 8-bit values
        need no dequantisation where the columns divide 256. "gaussian_mixture": a density on the
        whole line, of which samples are clipped; its σ ≥ 1/32 bounds the log-likelihood by 2.55
        nats a pixel.
      num_columns: K, columns of the histogram or components of the mixture, for each pixel.

    Raises:
      KeyError: an unknown head.
      ValueError: fewer than two columns, fewer than two pixels, or no hidden layer.

    Reference: Germain et al. 2015, arXiv 1502.03509, section 4 (MADE); mixtures for its outputs as
    in Uria et al. 2013, arXiv 1306.0186.
    """
    first_bias, log_density, draw = lookup(HEADS, head, kind="head")
    pixels = _check(image_shape, hidden, num_columns)
    numbers = jnp.asarray(first_bias(num_columns), jnp.float32)  # [n]
    masks = {f"dense_{i}": mask for i, mask in enumerate(causal_masks(pixels, hidden))}
    *names, last = masks
    masks[last] = np.repeat(masks[last][..., None], len(numbers), axis=-1)  # [hidden, pixels, n]

    def init(key):
        keys = jax.random.split(key, len(masks))
        biases = [*(jnp.zeros(width) for width in hidden), jnp.tile(numbers, (pixels, 1))]
        layers = zip(keys, masks.items(), biases, strict=True)
        params = {name: {"kernel": first_kernel(k, m), "bias": b} for k, (name, m), b in layers}
        return {"density": params}, {}

    def weights(params, name):
        return params["density"][name]["kernel"] * masks[name], params["density"][name]["bias"]

    def features(params, x):
        h = x.reshape(x.shape[0], pixels)
        for name in names:
            kernel, bias = weights(params, name)
            h = jax.nn.relu(h @ kernel + bias)
        return h

    def encode(params, state, x):
        return features(params, x)

    def log_likelihood(params, x):
        kernel, bias = weights(params, last)
        numbers = jnp.tensordot(features(params, x), kernel, axes=1) + bias  # [B, pixels, n]
        return jnp.sum(log_density(numbers, x.reshape(x.shape[0], pixels)), axis=-1)

    def loss_fn(params, state, key, batch, hparams):
        return -jnp.mean(log_likelihood(params, batch.x)), state

    def sample(params, state, key, num):
        kernel, bias = weights(params, last)

        def add_pixel(i, x):  # pixels from i on are still zero, and nothing here sees them
            numbers = features(params, x) @ kernel[:, i] + bias[i]
            return x.at[:, i].set(draw(jax.random.fold_in(key, i), numbers))

        x = jax.lax.fori_loop(0, pixels, add_pixel, jnp.zeros((num, pixels)))
        return x.reshape(num, *image_shape)

    def evaluate(params, state, key, x, hparams):
        return {"log_likelihood": log_likelihood(params, x)}

    return Family(
        name="density",
        architecture={
            "image_shape": tuple(image_shape),
            "hidden": tuple(hidden),
            "head": head,
            "num_columns": num_columns,
        },
        spec=_spec(pixels, hidden),
        hparams={"learning_rate": 1e-2},
        init=init,
        players=(Player("density", ("density",), loss_fn, optax.scale_by_adam()),),
        encode=encode,
        sample=sample,
        evaluate=evaluate,
    )


def causal_masks(pixels: int, hidden: Sequence[int]) -> list[np.ndarray]:
    """Masks [source, target] of the layers x → hidden_0 → … → y, True where a weight may be.

    A neuron of degree m sees pixels 1 … m alone, and pixel d's output neurons of degree m < d
    alone; the degrees of each hidden layer are spread evenly over 1 … pixels − 1.

    Reference: Germain et al. 2015, arXiv 1502.03509, section 4, with degrees that are not drawn.
    """
    order = np.arange(1, pixels + 1)
    spread = [1 + ((np.arange(n) + 0.5) * (pixels - 1) / n).astype(int) for n in hidden]
    masks = [source[:, None] <= target for source, target in itertools.pairwise([order, *spread])]
    return [*masks, spread[-1][:, None] < order]


def first_kernel(key: jax.Array, mask: np.ndarray) -> jax.Array:
    """Variance 1 / number of the neuron's weights that are not masked; zero where they are."""
    fan_in = np.maximum(mask.sum(axis=0), 1)
    return jax.random.normal(key, mask.shape) * (mask / np.sqrt(fan_in))


def _check(image_shape: Sequence[int], hidden: Sequence[int], num_columns: int) -> int:
    """The number of pixels."""
    check_image_shape(image_shape)
    check_widths(hidden=hidden)
    check_whole(num_columns=num_columns)
    pixels = int(np.prod(image_shape))
    if num_columns < 2:
        raise ValueError(f"num_columns is {num_columns}; allowed: 2 or more")
    if pixels < 2:
        raise ValueError(f"images {tuple(image_shape)} have {pixels} pixels; allowed: 2 or more")
    if not hidden:
        raise ValueError("a masked network needs hidden layers, such as hidden=(64,)")
    return pixels


def _spec(pixels: int, hidden: Sequence[int]) -> Spec:
    """All groups are fixed: neurons of different degrees cannot change places."""
    sizes = {"x": pixels, **{f"hidden_{i}": n for i, n in enumerate(hidden)}, "y": pixels}
    groups = tuple(sizes)
    axes: dict[str, tuple[str | None, ...]] = {}
    for layer, (source, target) in enumerate(itertools.pairwise(groups)):
        numbers = (None,) if target == "y" else ()
        axes[f"density/dense_{layer}/kernel"] = (source, target, *numbers)
        axes[f"density/dense_{layer}/bias"] = (target, *numbers)
    return Spec(groups=sizes, fixed=groups, axes=axes, scaled=groups[1:-1])
