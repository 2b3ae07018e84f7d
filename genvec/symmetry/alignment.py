"""One of the many parameter settings of a function: the one nearest to a reference member."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from genvec.symmetry.actions import along, mirror, permute
from genvec.symmetry.spec import neuron_rows, touching
from genvec.trees import flatten_names, unflatten_names
from genvec.types import Params, Spec


class Alignment(NamedTuple):
    """What brings a member's neurons next to those of a reference; first permute, then mirror."""

    permutations: dict[str, jax.Array]  # free group → π [V]
    signs: dict[str, jax.Array]  # mirrored group → ±1 [V]


def balance(params: Params, spec: Spec, *, rounds: int = 10) -> Params:
    """The same function with every neuron behind a ReLU as strong on its way in as on its way out.

    Takes the freedom of `rescale` away: a[v] = (‖out‖ / ‖in‖)^½, group by group, `rounds` times,
    since neighbouring groups share weights. Neurons that nothing enters or leaves stay as they are.

    Args:
      params: of one member.

    Reference: Du et al. 2018, arXiv 1806.00900 (balanced layers).
    """
    flat = dict(flatten_names(params))
    for _ in range(rounds):
        for group in spec.scaled:
            into, out = touching(spec, group)
            entering, leaving = (
                sum(_norm2(flat[name], axis) for name, axis in side) for side in (into, out)
            )
            both = (entering > 0) & (leaving > 0)
            safe = jnp.where(both, entering, 1.0)
            factor = jnp.where(both, (leaving / safe) ** 0.25, 1.0)
            for name, axis in into:
                flat[name] = flat[name] * along(factor, axis, flat[name].ndim)
            for name, axis in out:
                flat[name] = flat[name] / along(factor, axis, flat[name].ndim)
    return unflatten_names(flat)


def match_weights(
    params: Params, reference: Params, spec: Spec, *, max_sweeps: int = 50
) -> Alignment:
    """Which order and signs of the free neurons bring the parameters nearest to the reference's.

    Maximises Σ ⟨reference, params⟩ over all parameter arrays by coordinate descent: with the other
    groups held still, the best order of one group is a linear assignment. Groups are visited in
    forward order until a sweep changes nothing; the first sweep looks only at weights between a
    group and those that are fixed or have been visited, which finds a permuted copy again. Every
    step is the best one, the end is a local optimum. A mirrored neuron takes the sign with which
    its own weights fit better.

    Args:
      params, reference: of one member each, of the same architecture; `balance` them first.
      max_sweeps: through all groups; a handful is what it takes.

    Reference: Ainsworth et al. 2022, arXiv 2209.04836, section 3.2, algorithm 1.
    """
    free = [group for group in spec.groups if group not in spec.fixed]
    target = flatten_names(reference)

    def similarity(flat, group, settled):
        """[V reference, V member]: of the weights that change sign with a neuron, and the rest."""
        signed = unsigned = jnp.zeros((spec.groups[group],) * 2)
        for name, axis in (pair for side in touching(spec, group) for pair in side):
            if not {*spec.axes[name]} <= {*settled, group, None}:
                continue
            rows, columns = (neuron_rows(tree[name], axis) for tree in (target, flat))
            if name in spec.mirrored.get(group, ()):
                signed += rows @ columns.T
            else:
                unsigned += rows @ columns.T
        return signed, unsigned

    def improve(alignment, group, settled):
        """The best order and signs of one group, and whether they are better than before."""
        permutations, signs = dict(alignment.permutations), dict(alignment.signs)
        flat = flatten_names(mirror(permute(params, spec, permutations), spec, signs))
        signed, unsigned = similarity(flat, group, settled)
        mirrored = group in signs
        gain = jnp.abs(signed) + unsigned if mirrored else unsigned
        row, column = optax.assignment.hungarian_algorithm(-gain)
        order = jnp.zeros_like(row).at[row].set(column)
        place = jnp.arange(len(order))
        # only what is better counts, so that equals do not change places for ever
        before = jnp.sum(jnp.diagonal(signed + unsigned))
        better = jnp.sum(gain[place, order]) > before + 1e-5 * jnp.abs(before)
        order = jnp.where(better, order, place)
        permutations[group] = permutations[group][order]
        if mirrored:
            flip = jnp.where(better & (signed[place, order] < 0), -1.0, 1.0)
            signs[group] = signs[group][order] * flip
        return Alignment(permutations, signs), better

    def sweep(carry):
        alignment, _, count = carry
        moved = jnp.zeros((), bool)
        for group in free:
            alignment, better = improve(alignment, group, tuple(spec.groups))
            moved |= better
        return alignment, moved, count + 1

    alignment = Alignment(
        {group: jnp.arange(spec.groups[group]) for group in free},
        {group: jnp.ones(spec.groups[group]) for group in spec.mirrored},
    )
    for visited, group in enumerate(free):
        alignment, _ = improve(alignment, group, (*spec.fixed, *free[:visited]))
    carry = (alignment, jnp.ones((), bool), 0)
    return jax.lax.while_loop(lambda c: c[1] & (c[2] < max_sweeps), sweep, carry)[0]


def align(params: Params, reference: Params, spec: Spec) -> Params:
    """The same function with balanced weights, its neurons in the reference's order and signs."""
    params, reference = balance(params, spec), balance(reference, spec)
    permutations, signs = match_weights(params, reference, spec)
    return mirror(permute(params, spec, permutations), spec, signs)


def _norm2(leaf: jax.Array, axis: int) -> jax.Array:
    return jnp.sum(jnp.square(neuron_rows(leaf, axis)), axis=1)
