"""Alignment: against exhaustive search, against scipy, and by undoing what was done on purpose."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import random_params
from scipy.optimize import linear_sum_assignment
from test_symmetry import outputs

from genvec import symmetry
from genvec.trees import flatten_names, ravel
from genvec.types import Spec

# x (3 pixels) → h (4, ReLU) → y (2 pixels)
SPEC = Spec(
    {"x": 3, "h": 4, "y": 2},
    ("x", "y"),
    {"in": ("x", "h"), "bias": ("h",), "out": ("h", "y")},
    scaled=("h",),
)


def draw(seed, spec=SPEC):
    keys = jax.random.split(jax.random.key(seed), len(spec.axes))
    return {
        name: jax.random.normal(key, tuple(spec.groups[group] for group in axes))
        for key, (name, axes) in zip(keys, spec.axes.items(), strict=True)
    }


def product(first, second):
    return float(jnp.vdot(ravel(first), ravel(second)))


def disguised(params, spec, seed=0):
    """Another setting of the same function: permuted, rescaled and mirrored."""
    key, other = jax.random.split(jax.random.key(seed))
    params = symmetry.augment(key, params, spec, spread=0.5)
    return symmetry.permute(params, spec, symmetry.random_permutations(other, spec))


@pytest.mark.parametrize("seed", range(5))
def test_one_group_is_matched_as_well_as_any_order_can(seed):
    reference, params = draw(seed), draw(seed + 100)
    found = symmetry.match_weights(params, reference, SPEC)
    reached = product(reference, symmetry.permute(params, SPEC, found.permutations))
    every = {
        order: product(reference, symmetry.permute(params, SPEC, {"h": jnp.array(order)}))
        for order in itertools.permutations(range(4))
    }
    assert reached == pytest.approx(max(every.values()), rel=1e-5)
    assert tuple(np.asarray(found.permutations["h"])) == max(every, key=every.__getitem__)
    assert reached > every[0, 1, 2, 3] + 1e-3, "control: the given order is not the best one"


def test_signs_are_matched_as_well_as_any_can():
    """One mirrored group, whose weights `free` keep their sign."""
    spec = Spec(
        {"x": 3, "z": 3, "y": 2},
        ("x", "y"),
        {"mean": ("x", "z"), "free": ("x", "z"), "out": ("z", "y")},
        mirrored={"z": ("mean", "out")},
    )
    for seed in range(5):
        reference, params = draw(seed, spec), draw(seed + 100, spec)
        found = symmetry.match_weights(params, reference, spec)
        moved = symmetry.permute(params, spec, found.permutations)
        reached = product(reference, symmetry.mirror(moved, spec, found.signs))
        best = max(
            product(
                reference,
                symmetry.mirror(
                    symmetry.permute(params, spec, {"z": jnp.array(order)}),
                    spec,
                    {"z": jnp.array(signs)},
                ),
            )
            for order in itertools.permutations(range(3))
            for signs in itertools.product((-1.0, 1.0), repeat=3)
        )
        assert reached == pytest.approx(best, rel=1e-5)


def test_a_sweep_is_the_assignment_that_scipy_finds():
    spec = SPEC._replace(groups={"x": 30, "h": 40, "y": 20})
    reference, params = draw(0, spec), draw(1, spec)
    gain = (
        reference["in"].T @ params["in"]
        + jnp.outer(reference["bias"], params["bias"])
        + reference["out"] @ params["out"].T
    )
    _, columns = linear_sum_assignment(gain, maximize=True)
    found = symmetry.match_weights(params, reference, spec)
    np.testing.assert_array_equal(found.permutations["h"], columns)


def test_a_disguised_member_is_recognised(family):
    params, state = random_params(family)
    other = disguised(params, family.spec)
    back = symmetry.align(other, params, family.spec)
    expected = symmetry.align(params, params, family.spec)
    np.testing.assert_allclose(ravel(back), ravel(expected), rtol=1e-3, atol=1e-4)
    assert not np.allclose(ravel(other), ravel(expected), atol=0.1), "control: it was disguised"
    # what is aligned is the same function, up to the names and signs of its latent variables
    _, reconstruction = outputs(family, params, state)
    _, same = outputs(family, symmetry.align(other, params, family.spec), state)
    np.testing.assert_allclose(same, reconstruction, rtol=1e-3)


def test_alignment_brings_members_nearer_and_needs_the_free_groups(family):
    params, reference = (random_params(family, seed)[0] for seed in (0, 1))
    balanced, target = (symmetry.balance(p, family.spec) for p in (params, reference))
    aligned = symmetry.align(params, reference, family.spec)
    assert product(aligned, target) > product(balanced, target) + 1e-3
    held = family.spec._replace(fixed=tuple(family.spec.groups), mirrored={})
    np.testing.assert_allclose(
        ravel(symmetry.align(params, reference, held)), ravel(balanced), rtol=1e-5
    )


def test_balanced_neurons_are_as_strong_in_as_out(family):
    params, _ = random_params(family)
    balanced = symmetry.balance(params, family.spec, rounds=50)
    assert set(flatten_names(balanced)) == set(flatten_names(params))

    def ratios(params):
        flat, found = flatten_names(params), []
        for group in family.spec.scaled:
            into, out = symmetry.touching(family.spec, group)
            norms = [
                sum(np.sum(symmetry.neuron_rows(flat[name], axis) ** 2, axis=1) for name, axis in s)
                for s in (into, out)
            ]
            found.append(norms[0] / norms[1])
        return np.concatenate(found)

    np.testing.assert_allclose(ratios(balanced), 1, rtol=1e-3)
    assert np.ptp(ratios(params)) > 0.1, "control: before, they were not"
    again = symmetry.balance(
        symmetry.augment(jax.random.key(3), params, family.spec, spread=0.5), family.spec, rounds=50
    )
    sizes = [jnp.abs(ravel(p)) for p in (again, balanced)]  # signs were drawn as well
    np.testing.assert_allclose(*sizes, rtol=1e-3, atol=1e-5)


def test_dead_neurons_stay_as_they_are():
    params = draw(0)
    params["in"] = params["in"].at[:, 1].set(0)
    params["bias"] = params["bias"].at[1].set(0)
    balanced = symmetry.balance(params, SPEC)
    assert all(np.isfinite(leaf).all() for leaf in balanced.values())
    np.testing.assert_array_equal(balanced["out"][1], params["out"][1])
