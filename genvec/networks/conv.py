"""Convolutions that stay fast when their weights carry a member axis.

A vmap over the kernel of `lax.conv` becomes a grouped convolution, which neither XLA's CPU nor its
GPU backend runs well. Here every convolution is shifted slices and ONE matmul, so that a vmap over
members is one batched matmul. The maps are kept as [C, H, W, B]: the batch comes last, so that a
slice at any stride copies whole vectors, and channels first, so that they are rows of the matmul.
"""

import functools
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from genvec.registry import lookup

Padding = str | Sequence[tuple[int, int]]  # "SAME", "VALID" or (low, high) for H and W


def to_maps(x: jax.Array) -> jax.Array:
    """Images [B, H, W, C] → maps [C, H, W, B]."""
    return x.transpose(3, 1, 2, 0)


def from_maps(x: jax.Array) -> jax.Array:
    """Maps [C, H, W, B] → images [B, H, W, C]."""
    return x.transpose(3, 1, 2, 0)


def conv(x: jax.Array, kernel: jax.Array, stride: int = 1, padding: Padding = "SAME") -> jax.Array:
    """A convolution, equal to `lax.conv_general_dilated` up to rounding.

    Args:
      x: maps [C, H, W, B].
      kernel: [k, l, C, O], as in Flax.

    Returns:
      Maps [O, h, w, B].
    """
    height, width, channels, features = kernel.shape
    pads = _pads(x.shape[1:3], (height, width), stride, padding)
    before = x.shape[1] * x.shape[2]
    after = (x.shape[1] + sum(pads[0]) - height + 1) * (x.shape[2] + sum(pads[1]) - width + 1)
    if stride == 1 and features * before < channels * after:  # shift on the side that is smaller
        taps = _matmul(kernel.transpose(2, 0, 1, 3).reshape(channels, -1), x)
        return _shifted_sum(taps, (height, width), pads)
    windows = _windows(x, (height, width), stride, pads)
    return _matmul(kernel.reshape(-1, features), windows)


def conv_transpose(
    x: jax.Array, kernel: jax.Array, stride: int = 1, padding: Padding = "SAME"
) -> jax.Array:
    """Fractionally strided convolution, equal to `lax.conv_transpose` up to rounding.

    Output pixel s·q + r depends on every s-th tap of the kernel alone: the s² phases r are stride-1
    convolutions with about 1/s² of the taps each, here one matmul over the windows they share.

    Args:
      x: maps [C, H, W, B].
      kernel: [k, l, C, O], as in Flax.

    Returns:
      Maps [O, h, w, B].
    """
    pads = [
        _transpose_pads(size, stride, padding, axis) for axis, size in enumerate(kernel.shape[:2])
    ]
    return _dilated_conv(x, kernel, stride, pads)


def upsample_conv(
    x: jax.Array, kernel: jax.Array, factor: int = 2, padding: Padding = "SAME"
) -> jax.Array:
    """Nearest-neighbour upsampling, then a stride-1 convolution, as one operation.

    An upsampled pixel is met by several taps; their sum is one tap of a transposed convolution with
    the kernel smeared over a box of the factor's size. For a 3×3 kernel and factor 2 that is 16
    taps an input pixel in place of 36.

    Args:
      x: maps [C, H, W, B].
      kernel: [k, l, C, O], as in Flax.

    Returns:
      Maps [O, h, w, B]; h = factor · H where the padding is "SAME".
    """
    up = [factor * size for size in x.shape[1:3]]
    pads = _pads(up, kernel.shape[:2], 1, padding)
    pads = [(low + factor - 1, high + factor - 1) for low, high in pads]
    return _dilated_conv(x, _smear(_smear(kernel, factor, 0), factor, 1), factor, pads)


def _pads(shape, size, stride: int, padding: Padding) -> list[tuple[int, int]]:
    if isinstance(padding, str):
        return list(lax.padtype_to_pads(shape, size, (stride, stride), padding))
    return [(low, high) for low, high in padding]


def _matmul(kernel: jax.Array, x: jax.Array) -> jax.Array:
    """[C, O], [C, h, w, B] → [O, h, w, B]."""
    out = jnp.einsum("co,cm->om", kernel, x.reshape(x.shape[0], -1))
    return out.reshape(-1, *x.shape[1:])


def _windows(x, size, stride, pads) -> jax.Array:
    """The k·l shifted slices of x, one under the other: [k·l·C, h, w, B]."""
    channels, *_, batch = x.shape
    padded = [n + low + high for n, (low, high) in zip(x.shape[1:3], pads, strict=True)]
    h, w = ((n - k) // stride + 1 for n, k in zip(padded, size, strict=True))
    # whole multiples of the stride, so that the pixels of each phase become maps of their own
    whole = [-(-n // stride) for n in padded]
    extra = [stride * n - m for n, m in zip(whole, padded, strict=True)]
    x = _pad(x, [(low, high + more) for (low, high), more in zip(pads, extra, strict=True)])
    x = x.reshape(channels, whole[0], stride, whole[1], stride, batch).transpose(2, 4, 0, 1, 3, 5)
    phases = lax.split(x.reshape(-1, *whole, batch), (channels,) * stride**2)
    slices = []
    for i in range(size[0]):
        for j in range(size[1]):
            phase, top, left = phases[i % stride * stride + j % stride], i // stride, j // stride
            slices.append(phase[:, top : top + h, left : left + w])
    return jnp.concatenate(slices)


def _shifted_sum(taps, size, pads) -> jax.Array:
    """[k·l·O, H, W, B] → [O, h, w, B]: what each tap made of every pixel, shifted and added."""
    (height, width), ((top, bottom), (left, right)) = size, pads
    h = taps.shape[1] + top + bottom - height + 1
    w = taps.shape[2] + left + right - width + 1
    parts = lax.split(taps, (taps.shape[0] // (height * width),) * (height * width))
    places = [(top - i, left - j) for i in range(height) for j in range(width)]
    shifted = [
        _pad(part, [(i, h - part.shape[1] - i), (j, w - part.shape[2] - j)])
        for part, (i, j) in zip(parts, places, strict=True)
    ]
    return functools.reduce(jnp.add, shifted)


def _dilated_conv(x, kernel, stride, pads) -> jax.Array:
    """Stride-1 convolution of x with stride − 1 zeros between its pixels, without the zeros.

    With n = s·q + r, the tap a + s·u of y[n] = Σ_k w[k] · dilated x[n + k − low] meets a pixel for
    a = (low − r) mod s only, and that pixel is q + u + (r + a − low) / s.
    """
    features = kernel.shape[3]
    sides = [_Phases(x.shape[1 + d], kernel.shape[d], stride, pads[d]) for d in range(2)]
    taps = [side.taps for side in sides]
    grown = [(0, stride * n - k) for n, k in zip(taps, kernel.shape[:2], strict=True)]
    kernel = jnp.pad(kernel, [*grown, (0, 0), (0, 0)])
    kernel = kernel.reshape(taps[0], stride, taps[1], stride, -1, features)
    kernel = kernel.transpose(0, 2, 4, 1, 3, 5).reshape(*taps, -1, stride**2 * features)
    phases = conv(x, kernel, 1, [side.pads for side in sides])
    parts = lax.split(phases, (features,) * stride**2)
    rows = []
    for a, top in sides[0].slices:
        row = [parts[a * stride + b][:, top, left] for b, left in sides[1].slices]
        rows.append(jnp.stack(row, axis=3))
    out = jnp.stack(rows, axis=2).reshape(features, *(stride * s.outputs for s in sides), -1)
    return out[:, : sides[0].size, : sides[1].size]


class _Phases:
    """How the outputs of one axis fall into phases r = 0..s−1; see `_dilated_conv`."""

    def __init__(self, size: int, kernel: int, stride: int, pad: tuple[int, int]):
        low, high = pad
        self.size = (size - 1) * stride + 1 + low + high - kernel + 1  # of the output
        self.outputs = -(-self.size // stride)  # of each phase; the last ones may be cut off
        self.taps = -(-kernel // stride)
        first = [(low - r) % stride for r in range(stride)]
        offset = [(r + a - low) // stride for r, a in enumerate(first)]
        start, stop = min(offset), max(offset) + self.outputs
        self.pads = (-start, stop + self.taps - 1 - size)
        self.slices = [
            (a, slice(o - start, o - start + self.outputs))
            for a, o in zip(first, offset, strict=True)
        ]


def _smear(kernel: jax.Array, factor: int, axis: int) -> jax.Array:
    """Convolves one axis with a box of ones of length `factor`; it grows by factor − 1."""
    total = jnp.zeros(())
    for shift in range(factor):
        pads = [(0, 0)] * kernel.ndim
        pads[axis] = (shift, factor - 1 - shift)
        total += jnp.pad(kernel, pads)
    return total


def _transpose_pads(size: int, stride: int, padding: Padding, axis: int) -> tuple[int, int]:
    """Zeros around the dilated input, as `lax.conv_transpose` counts them."""
    if not isinstance(padding, str):
        low, high = padding[axis]
        return low, high
    if padding == "SAME":
        total = size + stride - 2
        low = size - 1 if stride > size - 1 else -(-total // 2)
    elif padding == "VALID":
        total, low = size + stride - 2 + max(size - stride, 0), size - 1
    else:
        raise ValueError(f"padding is {padding!r}; allowed: SAME, VALID or pairs of numbers")
    return low, total - low


def _pad(x: jax.Array, pads) -> jax.Array:
    """Zeros around H and W; a negative number cuts off."""
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *((*p, 0) for p in pads), (0, 0, 0)])


class Conv(nn.Module):
    """A convolution with bias: maps [C, H, W, B] → [features, h, w, B].

    `kind` is "conv", "transpose" or "upsample"; `stride` is the stride, or the factor.
    """

    features: int
    size: tuple[int, int] = (3, 3)
    stride: int = 1
    padding: Padding = "SAME"
    kind: str = "conv"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (*self.size, x.shape[0], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        apply_fn = lookup(CONVOLUTIONS, self.kind, kind="convolution")
        return apply_fn(x, kernel, self.stride, self.padding) + bias[:, None, None, None]


CONVOLUTIONS: dict[str, Callable[..., jax.Array]] = {
    "conv": conv,
    "transpose": conv_transpose,
    "upsample": upsample_conv,
}
