"""What is trained: the cases of the speed benchmark, their FLOPs and their targets.

This file imports nothing, so that the workers of every interpreter can read it.
"""

from collections.abc import Mapping
from itertools import pairwise
from math import prod
from typing import NamedTuple


class Layer(NamedTuple):
    """One dense or convolution layer, counted by the textbook."""

    name: str
    macs: int  # multiply-adds of one image, forward
    num_params: int


class Case(NamedTuple):
    """One architecture, trained in the same way by every variant."""

    name: str
    network: str  # key of LAYERS, and of the tables of networks in the workers
    image_shape: tuple[int, int, int]
    hidden: tuple[int, ...]  # units of hidden layers, or channels of convolutions
    latent: int
    batch: int
    plans: tuple[str, ...]  # of the engine, to choose from
    widths: tuple[int, ...]  # of a plan, to choose from
    quick: tuple[tuple[str, int], ...]  # the plans and widths that --quick chooses from
    steps: int  # a member of the engine; its init and evaluation are spread over them
    naive: tuple[int, int]  # members and steps of one jit(vmap(scan))
    naive_quick: int  # members of it under --quick
    single_steps: int  # of one member in one jit(scan)
    torch_vmap: int  # members in one torch.func.vmap
    torch_vmap_processes: bool  # also one process a core: where a step is all overhead
    targets: Mapping[str, float]


def dense(name: str, inputs: int, outputs: int) -> Layer:
    """A dense layer with bias."""
    return Layer(name, inputs * outputs, (inputs + 1) * outputs)


def conv(name: str, side: int, channels_in: int, channels_out: int) -> Layer:
    """A direct 3×3 convolution with bias and side × side outputs, padding counted as pixels."""
    kernel = 9 * channels_in * channels_out
    return Layer(name, side * side * kernel, kernel + channels_out)


def dense_layers(case: Case) -> list[Layer]:
    """Pixels → hidden → mean and log-variance; latent → hidden in reverse → pixels."""
    pixels = prod(case.image_shape)
    down, up = (pixels, *case.hidden), (case.latent, *reversed(case.hidden), pixels)
    return [
        *(dense(f"encoder_{i}", *pair) for i, pair in enumerate(pairwise(down))),
        dense("heads", down[-1], 2 * case.latent),
        *(dense(f"decoder_{i}", *pair) for i, pair in enumerate(pairwise(up))),
    ]


def conv_layers(case: Case) -> list[Layer]:
    """Convolutions of stride 2, dense around the code, convolutions behind doubled images."""
    side, _, colours = case.image_shape
    down, up = (colours, *case.hidden), (*reversed(case.hidden), colours)
    smallest = side // 2 ** len(case.hidden)
    flat = smallest**2 * case.hidden[-1]
    return [
        *(conv(f"encoder_{i}", side >> (i + 1), *down[i : i + 2]) for i in range(len(down) - 1)),
        dense("heads", flat, 2 * case.latent),
        dense("decoder_in", case.latent, flat),
        *(conv(f"decoder_{i}", smallest << (i + 1), *up[i : i + 2]) for i in range(len(up) - 1)),
    ]


LAYERS = {"dense": dense_layers, "conv": conv_layers}


def num_params(case: Case) -> int:
    """Parameters of one member."""
    return sum(layer.num_params for layer in LAYERS[case.network](case))


def forward_flops(case: Case) -> int:
    """FLOPs of one batch through all layers: two a multiply-add."""
    return 2 * case.batch * sum(layer.macs for layer in LAYERS[case.network](case))


def train_flops(case: Case) -> int:
    """FLOPs of one step of one member.

    The backward pass costs twice the forward pass, less the gradient of the images, which nobody
    needs. Activations, the loss and Adam are not counted.
    """
    first = LAYERS[case.network](case)[0]
    return 3 * forward_flops(case) - 2 * case.batch * first.macs


CASES = {
    case.name: case
    for case in (
        Case(
            name="dense_tiny",
            network="dense",
            image_shape=(8, 8, 1),
            hidden=(32,),
            latent=4,
            batch=64,
            plans=("scan",),
            widths=(8, 16, 32, 64),
            quick=(("scan", 16),),
            steps=100,
            naive=(256, 50),
            naive_quick=256,
            single_steps=500,
            torch_vmap=64,
            torch_vmap_processes=True,
            targets={"vs_torch_loop": 12, "vs_torch_best": 3},
        ),
        Case(
            name="dense_medium",
            network="dense",
            image_shape=(28, 28, 1),
            hidden=(128,),
            latent=16,
            batch=64,
            plans=("scan", "unrolled"),
            widths=(1, 2, 4),
            quick=(("scan", 2),),
            steps=40,
            naive=(16, 20),
            naive_quick=16,
            single_steps=100,
            torch_vmap=16,
            torch_vmap_processes=False,
            targets={"vs_torch_loop": 2, "vs_torch_best": 1.5, "peak_fraction": 0.5},
        ),
        Case(
            name="conv_vae",
            network="conv",
            image_shape=(32, 32, 3),
            hidden=(16, 32, 64),
            latent=16,
            batch=32,
            plans=("scan", "stepped"),
            widths=(2, 4),
            quick=(("scan", 2),),
            steps=10,
            naive=(16, 1),
            naive_quick=4,
            single_steps=2,
            torch_vmap=8,
            torch_vmap_processes=False,
            targets={"vs_torch_best": 1.3, "vs_naive": 40, "peak_fraction": 0.4},
        ),
    )
}

NOT_YET = {"dcgan": "its two players have no counterpart in the peers yet"}  # case → why
