"""Encoders: one member's features → a point on the positive orthant of the unit sphere [D]."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import flax.linen as nn

from genvec.encoders.graph import GraphEncoder, JointEncoder, MessagePassing, NamedModules
from genvec.encoders.probes import ProbeEncoder
from genvec.encoders.tokens import SetEncoder, TransformerEncoder
from genvec.encoders.vector import MLPEncoder
from genvec.types import Family, NeuralGraph


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


MODULES: dict[str, type[nn.Module]] = {
    "mlp": MLPEncoder,
    "graph": GraphEncoder,
    "set": SetEncoder,
    "transformer": TransformerEncoder,
    "probes": ProbeEncoder,
}
# what each of them reads, see `kind_of`
INPUTS = {
    "mlp": "a vector",
    "graph": "a graph",
    "set": "tokens",
    "transformer": "tokens",
    "probes": "a member",
}
# (family, number of outputs, **options) → the module for one member's features
ENCODERS: dict[str, Callable[..., Any]] = {
    name: _of_runs if module is ProbeEncoder else partial(_of_weights, module)
    for name, module in MODULES.items()
}


def kind_of(features: Any) -> str:
    """The kind of one member's features (arrays, or their shapes alone), in the words of `INPUTS`.

    Raises:
      ValueError: an array that is neither a vector nor tokens.
    """
    if isinstance(features, NeuralGraph):
        return "a graph"
    if isinstance(features, Mapping):
        return "a member"
    if len(features.shape) not in (1, 2):
        raise ValueError(f"features of shape {features.shape}; allowed: [F] or [T, F]")
    return "a vector" if len(features.shape) == 1 else "tokens"


__all__ = [
    "ENCODERS",
    "INPUTS",
    "MODULES",
    "GraphEncoder",
    "JointEncoder",
    "MLPEncoder",
    "MessagePassing",
    "NamedModules",
    "ProbeEncoder",
    "SetEncoder",
    "TransformerEncoder",
    "kind_of",
]
