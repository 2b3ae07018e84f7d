"""Implicit neural representation: a sine network that is one image."""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from genvec import trees
from genvec.arguments import check_image_shape, check_number, check_widths
from genvec.networks import mlp_axes
from genvec.registry import lookup
from genvec.types import Family, Params, Player, Spec


class Convention(NamedTuple):
    """How a SIREN starts: uniform on ±bound, each bound a function of (fan-in, ω)."""

    first: Callable[[int, float], float]  # kernel of the first layer
    kernel: Callable[[int, float], float]  # of the other layers with a sine
    bias: Callable[[int, float], float]  # of the layers with a sine
    output_kernel: Callable[[int, float], float]
    output_bias: Callable[[int, float], float]
    scale: float  # pixel = 0.5 + scale · output
    learning_rate: float  # not theirs: the one that is quickest to 30 dB on MNIST, by Adam


def zero(fan_in: int, omega: float) -> float:
    """Exactly zero."""
    return 0.0


def frequencies(fan_in: int, omega: float) -> float:
    """Sitzmann et al., section 3.2: the first layer spans the frequencies up to ω."""
    return 1 / fan_in


def unit_variance(fan_in: int, omega: float) -> float:
    """Sitzmann et al., theorem 1.8: what enters the next sine has variance 1."""
    return float(np.sqrt(6 / fan_in)) / omega


def torch_linear(fan_in: int, omega: float) -> float:
    """Kernel and bias of torch.nn.Linear, where nothing else is said."""
    return 1 / float(np.sqrt(fan_in))


# both multiply by ω inside every sine; the corners of [-1, 1]² are the middles of corner pixels
CONVENTIONS = {
    "dwsnets": Convention(
        first=unit_variance,
        kernel=unit_variance,
        bias=zero,
        output_kernel=torch_linear,
        output_bias=torch_linear,
        scale=1.0,
        learning_rate=2e-2,
    ),
    "nfn": Convention(
        first=frequencies,
        kernel=unit_variance,
        bias=torch_linear,
        output_kernel=unit_variance,
        output_bias=torch_linear,
        scale=0.5,
        learning_rate=7e-3,
    ),
}


def inr(
    image_shape: Sequence[int],
    *,
    hidden: Sequence[int] = (32, 32),
    convention: str = "nfn",
    omega: float = 30.0,
    psnr: float = 30.0,
) -> Family:
    """A SIREN fitted to ONE image: coordinates in [-1, 1]² → C channels, squared error.

    A member keeps the first image of its first batch as its own and leaves all others unread. Once
    it is as near to it as `psnr` says, its gradients are exactly zero and it stands still, bit for
    bit. Its state: the image [H, W, C], the batches it has seen, and the steps it has moved.

    `encode` gives the mean squared difference [B, 1] of images to what it has learned: all that it
    can say of another image. `sample` repeats that. `evaluate` gives the PSNR to its own image, dB.

    Args:
      image_shape: (H, W, C).
      hidden: widths of the layers with a sine.
      convention: one of `CONVENTIONS`; it also sets the default learning rate.
      omega: ω, the factor inside every sine.
      psnr: the goal in dB, −10 log₁₀ MSE of pixels in [0, 1].

    The conventions, as the two codes have them, for fan-in n:

        layer    what     dwsnets       nfn
        first    kernel   √(6/n) / ω    1/n            nfn's is that of Sitzmann et al.; dwsnets
                 bias     0             1/√n           treats its first layer like all others
        hidden   kernel   √(6/n) / ω    √(6/n) / ω
                 bias     0             1/√n
        output   kernel   1/√n          √(6/n) / ω     1/√n is what torch.nn.Linear starts from
                 bias     1/√n          1/√n
        pixel             0.5 + y       (1 + y) / 2    nfn fits images normalised to [-1, 1]

    Reference: Sitzmann et al. 2020, arXiv 2006.09661, section 3.2 and theorem 1.8; "dwsnets": Navon
    et al. 2023, arXiv 2301.12780 (their nn/inr.py); "nfn": Zhou et al. 2023, arXiv 2302.14040
    (their experiments/siren_utils.py).
    """
    bounds = lookup(CONVENTIONS, convention, kind="convention")
    check_image_shape(image_shape)
    check_widths(hidden=hidden)
    check_number(omega=omega, above=0)
    check_number(psnr=psnr)
    height, width, channels = image_shape
    sizes = [2, *hidden, channels]
    layers = [f"dense_{i}" for i in range(len(sizes) - 1)]
    goal = 10.0 ** (-psnr / 10)
    rows, columns = np.linspace(-1, 1, height), np.linspace(-1, 1, width)
    grid = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)
    coordinates = grid.astype(np.float32)

    def init(key):
        limits = _limits(bounds, sizes, omega)
        shapes = {name: np.shape(limit) for name, limit in limits.items()}
        limit = trees.ravel(limits)
        # one block: every call of a generator costs about a second of compilation
        draws = jax.random.uniform(key, limit.shape, minval=-1.0, maxval=1.0)
        state = {
            "image": jnp.zeros((height, width, channels)),
            "batches": jnp.zeros((), jnp.int32),
            "steps": jnp.zeros((), jnp.int32),
        }
        return trees.unravel(limit * draws, shapes), state

    def draw(params):
        h = jnp.asarray(coordinates)
        for layer in layers[:-1]:
            h = sine(omega * _dense(params["inr"][layer], h))
        output = _dense(params["inr"][layers[-1]], h)
        return (0.5 + bounds.scale * output).reshape(height, width, channels)

    def loss_fn(params, state, key, batch, hparams):
        image = jnp.where(state["batches"] == 0, batch.x[0], state["image"])
        error = jnp.mean(jnp.square(draw(params) - image))
        reached = error <= goal  # a NaN has not reached it, and shows in the loss
        state = {
            "image": image,
            "batches": state["batches"] + 1,
            "steps": state["steps"] + jnp.where(reached, 0, 1),
        }
        return jnp.where(reached, 0.0, error), state

    def encode(params, state, x):
        return jnp.mean(jnp.square(x - draw(params)), axis=(1, 2, 3))[:, None]

    def sample(params, state, key, num):
        image = jnp.clip(draw(params), 0.0, 1.0)
        return jnp.broadcast_to(image, (num, *image.shape))

    def evaluate(params, state, key, x, hparams):
        error = jnp.mean(jnp.square(draw(params) - state["image"]))
        return {"psnr": jnp.broadcast_to(-10.0 * jnp.log10(error), x.shape[:1])}

    return Family(
        name="inr",
        architecture={
            "image_shape": tuple(image_shape),
            "hidden": tuple(hidden),
            "convention": convention,
            "omega": omega,
            "psnr": psnr,
        },
        spec=_spec(sizes),
        hparams={"learning_rate": bounds.learning_rate},
        init=init,
        players=(Player("inr", ("inr",), loss_fn, standing_still(optax.scale_by_adam())),),
        encode=encode,
        sample=sample,
        evaluate=evaluate,
    )


def sine(u: jax.Array) -> jax.Array:
    """sin u to 3e-7 for |u| < 1e4, exactly odd, by a polynomial between the zeros of the sine.

    On CPUs XLA computes `jnp.sin` number by number: 7.5 ns each against 0.5 ns.
    """
    turns = jnp.round(u / np.pi)
    # π in two parts, of which the first has so few bits that its product is exact (Cody & Waite)
    r = (u - turns * 3.140625) - turns * np.float32(np.pi - 3.140625)
    square = r * r
    series = 1 / 362880 - square / 39916800
    for coefficient in (-1 / 5040, 1 / 120, -1 / 6, 1.0):
        series = coefficient + square * series
    odd = turns - 2.0 * jnp.floor(0.5 * turns)  # jnp.mod is computed number by number as well
    return r * series * (1.0 - 2.0 * odd)


def standing_still(tx: optax.GradientTransformation) -> optax.GradientTransformation:
    """`tx`, but where every gradient is exactly zero: no update, and its state as it was."""

    def update(updates, state, params=None):
        moves = jnp.any(jnp.stack([jnp.any(g != 0) for g in jax.tree.leaves(updates)]))
        new_updates, new_state = tx.update(updates, state, params)
        kept = jax.tree.map(lambda new, old: jnp.where(moves, new, old), new_state, state)
        return jax.tree.map(lambda u: jnp.where(moves, u, 0.0), new_updates), kept

    return optax.GradientTransformation(tx.init, update)


def _dense(layer: Params, x: jax.Array) -> jax.Array:
    return x @ layer["kernel"] + layer["bias"]


def _limits(bounds: Convention, sizes: Sequence[int], omega: float) -> dict[str, np.ndarray]:
    """Parameter name → the bound of its uniform distribution, in the parameter's shape."""
    last, limits = len(sizes) - 2, {}
    for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        kernel = bounds.first if layer == 0 else bounds.kernel
        kernel, bias = (
            (bounds.output_kernel, bounds.output_bias) if layer == last else (kernel, bounds.bias)
        )
        limits[f"inr/dense_{layer}/kernel"] = np.full((fan_in, fan_out), kernel(fan_in, omega))
        limits[f"inr/dense_{layer}/bias"] = np.full(fan_out, bias(fan_in, omega))
    return limits


def _spec(sizes: Sequence[int]) -> Spec:
    hidden = [f"hidden_{i}" for i in range(len(sizes) - 2)]
    groups = ["xy", *hidden, "y"]
    return Spec(
        groups=dict(zip(groups, sizes, strict=True)),
        fixed=("xy", "y"),
        axes=mlp_axes("inr", groups),
        # the sine is odd: the sign of all that enters a neuron, and of all that leaves it
        mirrored={
            group: (
                f"inr/dense_{i}/kernel",
                f"inr/dense_{i}/bias",
                f"inr/dense_{i + 1}/kernel",
            )
            for i, group in enumerate(hidden)
        },
    )
