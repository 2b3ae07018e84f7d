"""Changes of a member's parameters that leave its function as it is."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from genvec.trees import flatten_names, unflatten_names
from genvec.types import Params, Spec


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
                leaf = leaf * along(factor, axis, leaf.ndim)
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
            flat[name] = flat[name] * along(sign, axis, flat[name].ndim)
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


def along(vector: jax.Array, axis: int, ndim: int) -> jax.Array:
    """[V] → [1, .., V, .., 1], to be multiplied with that axis of an array."""
    return jnp.expand_dims(vector, [i for i in range(ndim) if i != axis])
