"""What normalises maps and kernels, and what compares the images of a batch, in a pair."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax import lax

from genvec.types import Params, State

MOMENTUM = 0.9  # of the running statistics
EPSILON = 1e-5  # added to a variance


def batch_norm(
    params: Params, stats: State, x: jax.Array, train: bool
) -> tuple[jax.Array, Mapping[str, jax.Array]]:
    """Maps of mean β and deviation γ: by this batch in training, else by the running statistics.

    Args:
      params: "scale" γ and "bias" β, [C].
      stats: running "mean" and "var" (biased) over H, W and B, [C].
      x: maps [C, H, W, B].

    Returns:
      Maps [C, H, W, B] and the new statistics.

    Reference: Ioffe & Szegedy 2015, arXiv 1502.03167, algorithms 1 and 2.
    """
    mean, var = stats["mean"], stats["var"]
    if train:
        mean = jnp.mean(x, axis=(1, 2, 3))
        # not E[x²] − E[x]², which has no digit left where the mean is 4,000 times the deviation
        var = jnp.mean(jnp.square(x - _of_channels(mean)), axis=(1, 2, 3))
        batch = {"mean": mean, "var": var}
        stats = {name: MOMENTUM * stats[name] + (1 - MOMENTUM) * batch[name] for name in batch}
    factor = params["scale"] * lax.rsqrt(var + EPSILON)
    y = (x - _of_channels(mean)) * _of_channels(factor) + _of_channels(params["bias"])
    return y, stats


def _of_channels(v: jax.Array) -> jax.Array:
    """[C] → [C, 1, 1, 1], to go with maps."""
    return v[:, None, None, None]


def pixel_norm(x: jax.Array, axis: int = 0) -> jax.Array:
    """Feature vectors of unit mean square: maps [C, H, W, B] → the same, over `axis`.

    Reference: Karras et al. 2017, arXiv 1710.10196, section 4.2.
    """
    return x * lax.rsqrt(jnp.mean(jnp.square(x), axis=axis, keepdims=True) + 1e-8)


def spectral_norm(kernel: jax.Array, u: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
    """A kernel [.., O] divided by its largest singular value σ, estimated by power iteration.

    Args:
      kernel: a matrix W [I, O] once its other axes are one.
      u: estimate of W's first right singular vector [O], of length one.
      train: does one iteration; otherwise u stays, and σ = |W u|.

    Returns:
      W / σ, whose gradient takes the singular vectors for constants, and the new u. A kernel of
      zeros stays as it is.

    Reference: Miyato et al. 2018, arXiv 1802.05957, algorithm 1.
    """
    w = kernel.reshape(-1, kernel.shape[-1])
    fixed = lax.stop_gradient(w)
    v = _unit(fixed @ u)
    if train:
        u = _unit(v @ fixed)
    sigma = v @ (w @ u)
    return kernel / jnp.where(sigma == 0, 1, sigma), u


def _unit(x: jax.Array) -> jax.Array:
    return x / (jnp.linalg.norm(x) + 1e-12)


def normalise_kernels(params: Params, stats: State, train: bool) -> tuple[dict, dict]:
    """`spectral_norm` of every layer with a "u" among its statistics: parameters, statistics."""
    params, stats = dict(params), dict(stats)
    for layer, own in stats.items():
        if "u" in own:
            kernel, u = spectral_norm(params[layer]["kernel"], own["u"], train)
            params[layer], stats[layer] = {**params[layer], "kernel": kernel}, {"u": u}
    return params, stats


def closeness(features: jax.Array, tensor: jax.Array) -> jax.Array:
    """How near an image is to all of its batch, in M ways: o_b = Σ_j exp(−|M_b − M_{j,b}|₁).

    Args:
      features: [B, F].
      tensor: T [F, M, L], or with F as several axes.

    Returns:
      [B, M]; as in the paper the sum runs over the image itself too, so that o ≥ 1.

    Reference: Salimans et al. 2016, arXiv 1606.03498, section 3.2.
    """
    *_, num, length = tensor.shape
    rows = features @ tensor.reshape(-1, num * length)  # [B, M · L]
    differences = jnp.abs(rows[:, None] - rows).reshape(*2 * rows.shape[:1], num, length)
    return jnp.sum(jnp.exp(-jnp.sum(differences, axis=-1)), axis=1)


def deviation(x: jax.Array) -> jax.Array:
    """Standard deviation over the batch, averaged over features and pixels: [C, H, W, B] → scalar.

    Reference: Karras et al. 2017, arXiv 1710.10196, section 3 (one group: the whole batch).
    """
    return jnp.mean(jnp.sqrt(jnp.var(x, axis=-1) + 1e-8))
