"""Encoders: one member's features → a point on the positive orthant of the unit sphere [D]."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn

from genvec.encoders.graph import GraphEncoder, JointEncoder, MessagePassing, NamedModules
from genvec.encoders.probes import ProbeEncoder
from genvec.encoders.tokens import SetEncoder, TransformerEncoder
from genvec.encoders.vector import MLPEncoder
from genvec.types import Family


def _of_weights(module: type[nn.Module], family: Family, num_outputs: int, **args: Any) -> Any:
    """All that an encoder of weights knows of a family is its symmetry."""
    return module(family.spec, num_outputs, **args)


def _of_runs(family: Family, num_outputs: int, **args: Any) -> ProbeEncoder:
    """Runs autoencoders, images to images."""
    decode = family.decode
    if decode is None:
        raise ValueError(
            f"the encoder 'probes' sends images through the member, and a {family.name} gives none "
            "back; it reads autoencoders of any kind and VAEs"
        )

    def run(member, x):
        params, state = member["params"], member.get("state", {})
        return decode(params, state, family.encode(params, state, x))

    return ProbeEncoder(run, family.architecture["image_shape"], num_outputs, **args)


# (family, number of outputs, **options) → the module for one member's features
ENCODERS: dict[str, Callable[..., Any]] = {
    "mlp": partial(_of_weights, MLPEncoder),
    "graph": partial(_of_weights, GraphEncoder),
    "set": partial(_of_weights, SetEncoder),
    "transformer": partial(_of_weights, TransformerEncoder),
    "probes": _of_runs,
}

__all__ = [
    "ENCODERS",
    "GraphEncoder",
    "JointEncoder",
    "MLPEncoder",
    "MessagePassing",
    "NamedModules",
    "ProbeEncoder",
    "SetEncoder",
    "TransformerEncoder",
]
