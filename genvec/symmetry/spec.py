"""Symmetry of an architecture as data, held against parameters and kept as JSON."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from genvec.trees import flatten_names
from genvec.types import Params, Spec


def edge_name(source: str, target: str) -> str:
    """Name of the edges between two groups in a `NeuralGraph`."""
    return f"{source}>{target}"


def touching(spec: Spec, group: str) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """(parameter, axis) of all that enters a group's neurons, biases included, and that leaves."""
    into, out = [], []
    for name, axes in spec.axes.items():
        for axis, other in enumerate(axes):
            if other == group:
                (into if axis == len(axes) - 1 else out).append((name, axis))
    return into, out


def neuron_rows(leaf: jax.Array, axis: int) -> jax.Array:
    """A parameter array, neuron by neuron along one of its axes: [V, all the rest]."""
    return jnp.moveaxis(leaf, axis, 0).reshape(leaf.shape[axis], -1)


def check_spec(spec: Spec, params: Params) -> None:
    """Holds a spec against one member's parameters.

    Raises:
      ValueError: a parameter without axes, axes without a parameter, or a size that disagrees.
    """
    flat = flatten_names(params)
    if set(flat) != set(spec.axes):
        odd = sorted(set(flat) ^ set(spec.axes))
        raise ValueError(f"spec and parameters differ in {', '.join(odd)}")
    for name, groups in spec.axes.items():
        expected = tuple(
            size if group is None else spec.groups[group]
            for group, size in zip(groups, flat[name].shape, strict=True)
        )
        if expected != flat[name].shape:
            raise ValueError(f"{name} has shape {flat[name].shape}, the spec says {expected}")


def spec_to_json(spec: Spec) -> dict[str, Any]:
    """Plain values for the manifest."""
    return {
        "groups": dict(spec.groups),
        "fixed": list(spec.fixed),
        "axes": {name: list(groups) for name, groups in spec.axes.items()},
        "scaled": list(spec.scaled),
        "mirrored": {group: list(names) for group, names in spec.mirrored.items()},
    }


def spec_from_json(value: Mapping[str, Any]) -> Spec:
    """The inverse of `spec_to_json`."""
    axes, mirrored = (
        {key: tuple(names) for key, names in value[field].items()} for field in ("axes", "mirrored")
    )
    return Spec(
        dict(value["groups"]), tuple(value["fixed"]), axes, tuple(value["scaled"]), mirrored
    )
