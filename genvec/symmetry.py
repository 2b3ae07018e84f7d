"""Which changes of its parameters leave an architecture's function as it is: the spec at work."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

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
            if group is not None and group in permutations:
                leaf = jnp.take(leaf, permutations[group], axis=axis)
        flat[name] = leaf
    return unflatten_names(flat)


def rescale(params: Params, spec: Spec, factors: Mapping[str, jax.Array]) -> Params:
    """The same function with rescaled neurons: what enters neuron v · a[v], what leaves it / a[v].

    Args:
      params: of one member.
      factors: group of `spec.scaled` → a [V] > 0; groups that are left out stay as they are.

    Reference: Neyshabur et al. 2015, arXiv 1506.02617, section 2 (ReLU is positively homogeneous).
    """
    flat = {}
    for name, leaf in flatten_names(params).items():
        groups = spec.axes[name]
        for axis, group in enumerate(groups):
            if group is not None and group in factors:
                output = axis == len(groups) - 1
                factor = factors[group] if output else 1 / factors[group]
                leaf = leaf * _along(factor, axis, leaf.ndim)
        flat[name] = leaf
    return unflatten_names(flat)


def mirror(params: Params, spec: Spec, signs: Mapping[str, jax.Array]) -> Params:
    """The same function with some latent variables z[v] replaced by −z[v].

    Args:
      params: of one member.
      signs: group of `spec.mirrored` → ±1 [V]; groups that are left out stay as they are.
    """
    flat = dict(flatten_names(params))
    for group, sign in signs.items():
        for name in spec.mirrored[group]:
            axis = spec.axes[name].index(group)
            flat[name] = flat[name] * _along(sign, axis, flat[name].ndim)
    return unflatten_names(flat)


def augment(key: jax.Array, params: Params, spec: Spec, *, spread: float) -> Params:
    """One of the many parameter settings of the same function: random factors and signs.

    Permutations are left to the encoder, which is invariant to them.

    Args:
      params: of one member.
      spread: standard deviation of the factors' logarithm.
    """
    scale_key, sign_key = jax.random.split(key)
    # one draw for all groups: every call of a generator costs about a second of compilation
    sizes = {group: spec.groups[group] for group in (*spec.scaled, *spec.mirrored)}
    ends = dict(zip(sizes, np.cumsum(list(sizes.values())), strict=True))
    log_factors = spread * jax.random.normal(scale_key, (sum(sizes.values()),))
    flips = jax.random.rademacher(sign_key, (sum(sizes.values()),), float)
    factors = {g: jnp.exp(log_factors[ends[g] - sizes[g] : ends[g]]) for g in spec.scaled}
    signs = {g: flips[ends[g] - sizes[g] : ends[g]] for g in spec.mirrored}
    return mirror(rescale(params, spec, factors), spec, signs)


class Part(NamedTuple):
    """Some layers of an architecture, under names that other architectures share."""

    spec: Spec  # of the part alone
    names: Mapping[str, str]  # parameter of the part → the same in the member

    def take(self, params: Params) -> dict[str, jax.Array]:
        """The part's parameters, from those of one member or of a stack of members."""
        flat = flatten_names(params)
        return {name: flat[original] for name, original in self.names.items()}


def generator_part(spec: Spec) -> Part:
    """What stands between the latent variables, or other inputs, and the output.

    The output is the group "y", or the last one where there is none. Groups are named by their
    place: hidden groups "h1", "h2", … by their distance from the output, latent variables "z",
    fixed groups by their own name and size, "y_64". Several of one name are "h1", "h1.1", …: an
    encoder treats them alike. Encoders, discriminators and what else a member has is left out.
    """
    output = "y" if "y" in spec.groups else list(spec.groups)[-1]
    edges = [
        tuple(group for group in groups if group is not None)
        for groups in spec.axes.values()
        if sum(group is not None for group in groups) == 2
    ]
    places, frontier, inputs = {output: _sized(output, spec)}, [output], set()
    for distance in range(1, len(spec.groups)):
        nearer = [s for s, t in edges if t in frontier and s not in places]
        frontier = []
        for group in dict.fromkeys(nearer):
            latent = group.startswith("z")
            place = (
                "z" if latent else _sized(group, spec) if group in spec.fixed else f"h{distance}"
            )
            number = sum(p.partition(".")[0] == place for p in places.values())
            places[group] = f"{place}.{number}" if number else place
            if latent or all(target != group for _, target in edges):
                inputs.add(group)
            else:
                frontier.append(group)
    names, axes = {}, {}
    for original, groups in spec.axes.items():
        inside = [group for group in groups if group is not None]
        # what ends in an input, such as the bias of a code, is of the encoder before it
        if not inside or not set(inside) <= set(places) or inside[-1] in inputs:
            continue
        name = f"{'>'.join(places[g] for g in inside)} {original.rpartition('/')[2]}"
        name += f" {sum(n.startswith(name) for n in names)}"
        names[name] = original
        axes[name] = tuple(None if g is None else places[g] for g in groups)
    back = {original: name for name, original in names.items()}
    ordered = [group for group in spec.groups if group in places]
    part = Spec(
        groups={places[g]: spec.groups[g] for g in ordered},
        fixed=tuple(places[g] for g in ordered if g in spec.fixed),
        axes=axes,
        scaled=tuple(places[g] for g in ordered if g in spec.scaled),
        mirrored={
            places[g]: tuple(back[name] for name in signs if name in back)
            for g, signs in spec.mirrored.items()
            if g in places
        },
    )
    return Part(part, names)


def _sized(group: str, spec: Spec) -> str:
    return f"{group}_{spec.groups[group]}"


def _along(vector: jax.Array, axis: int, ndim: int) -> jax.Array:
    return jnp.expand_dims(vector, [i for i in range(ndim) if i != axis])


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
