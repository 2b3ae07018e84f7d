"""Which permutations leave an architecture's function unchanged, as data: the spec and what it allows."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from genvec.trees import flatten_names, unflatten_names
from genvec.types import Params, Spec


def edge_name(source: str, target: str) -> str:
    """Name of the edges between two groups in a `NeuralGraph`."""
    return f"{source}>{target}"


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


def random_permutations(key: jax.Array, spec: Spec) -> dict[str, jax.Array]:
    """One permutation [V] for every group that may be permuted."""
    free = [group for group in spec.groups if group not in spec.fixed]
    keys = jax.random.split(key, len(free))
    return {g: jax.random.permutation(k, spec.groups[g]) for g, k in zip(free, keys, strict=True)}


def permute(params: Params, spec: Spec, permutations: Mapping[str, jax.Array]) -> Params:
    """The same function with its neurons in another order: new neuron v is old neuron π[v].

    Args:
      params: of one member.
      permutations: group → π [V]; groups that are left out stay as they are.

    Reference: Ainsworth et al. 2022, arXiv 2209.04836, eq. 1.
    """
    flat = {}
    for name, leaf in flatten_names(params).items():
        for axis, group in enumerate(spec.axes[name]):
            if group in permutations:
                leaf = jnp.take(leaf, permutations[group], axis=axis)
        flat[name] = leaf
    return unflatten_names(flat)


def spec_to_json(spec: Spec) -> dict[str, Any]:
    """Plain values for the manifest."""
    return {
        "groups": dict(spec.groups),
        "fixed": list(spec.fixed),
        "axes": {name: list(groups) for name, groups in spec.axes.items()},
    }


def spec_from_json(value: Mapping[str, Any]) -> Spec:
    """The inverse of `spec_to_json`."""
    axes = {name: tuple(groups) for name, groups in value["axes"].items()}
    return Spec(dict(value["groups"]), tuple(value["fixed"]), axes)
