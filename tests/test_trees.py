import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genvec import trees
from genvec.registry import UnknownNameError, lookup


def layers(num):
    return {"net": {f"dense_{i}": {"kernel": jnp.full((2, 3), float(i))} for i in range(num)}}


def test_names_join_and_split_again():
    tree = {"b": {"y": 1, "x": {"z": 2}}, "a": 3}
    assert trees.flatten_names(tree) == {"b/y": 1, "b/x/z": 2, "a": 3}
    assert trees.unflatten_names(trees.flatten_names(tree)) == tree


def test_names_keep_the_order_of_layers_that_jax_would_sort():
    names = list(trees.flatten_names(layers(11)))
    assert names[2] == "net/dense_2/kernel"
    leaf_order = [float(leaf[0, 0]) for leaf in jax.tree.leaves(layers(11))]
    assert leaf_order[2] == 10.0  # the trap: dense_10 comes before dense_2


def test_ravel_has_an_exact_inverse():
    params = {"b": {"kernel": jnp.arange(6.0).reshape(2, 3)}, "a": jnp.array([7.0])}
    shapes = {name: leaf.shape for name, leaf in trees.flatten_names(params).items()}
    vector = trees.ravel(params)
    np.testing.assert_array_equal(vector, [7, 0, 1, 2, 3, 4, 5])
    back = trees.unravel(vector, shapes)
    jax.tree.map(np.testing.assert_array_equal, dict(params), back)


def test_ravel_does_not_depend_on_the_order_of_insertion():
    a, b = jnp.ones(2), jnp.zeros(3)
    np.testing.assert_array_equal(trees.ravel({"a": a, "b": b}), trees.ravel({"b": b, "a": a}))


def test_unravel_refuses_another_length():
    with pytest.raises(ValueError, match="2 parameters"):
        trees.unravel(jnp.ones(3), {"a": (2,)})


def test_stack_then_take_returns_each_tree():
    stacked = trees.stack([layers(2), jax.tree.map(lambda x: x + 10, layers(2))])
    assert trees.take(stacked, 1)["net"]["dense_0"]["kernel"][0, 0] == 10
    assert trees.take(stacked, np.array([True, False]))["net"]["dense_1"]["kernel"].shape == (
        1,
        2,
        3,
    )


@pytest.mark.parametrize(("bad", "finite"), [(np.nan, False), (np.inf, False), (1e30, True)])
def test_all_finite_sees_one_bad_number(bad, finite):
    assert bool(trees.all_finite({"x": jnp.array([1.0, bad]), "count": jnp.array(3)})) is finite


def test_lookup_lists_what_is_known():
    assert lookup({"b": 1, "a": 2}, "a", kind="letter") == 2
    with pytest.raises(UnknownNameError, match=r"^unknown letter 'c'; known: a, b$"):
        lookup({"b": 1, "a": 2}, "c", kind="letter")


def test_gather_is_concatenate_without_a_second_copy():
    sizes = (60, 100, 40) * 5

    def parts():
        for i, size in enumerate(sizes):
            yield {"a": np.full((size, 1_000), i, np.float32), "b": {"c": np.full(size, -i)}}

    expected = trees.concatenate(list(parts()))
    nbytes = expected["a"].nbytes
    tracemalloc.start()
    found = trees.gather(parts(), 1_000)
    peak = tracemalloc.get_traced_memory()[1]
    del found
    tracemalloc.reset_peak()
    trees.concatenate(list(parts()))
    assert peak < 1.5 * nbytes < tracemalloc.get_traced_memory()[1], "control: two copies"
    tracemalloc.stop()
    found = trees.gather(parts(), 1_000)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert found["b"]["c"].dtype == expected["b"]["c"].dtype


def test_mean_and_std_need_no_copy_in_double_precision():
    x = np.random.default_rng(0).normal(3, 2, (1_000, 50, 20)).astype(np.float32)
    tracemalloc.start()
    mean, std = trees.mean_and_std(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    expected = x.astype(np.float64).mean(axis=0), x.astype(np.float64).std(axis=0)
    assert peak < x.nbytes / 2 < tracemalloc.get_traced_memory()[1], "control: a copy would show"
    tracemalloc.stop()
    np.testing.assert_allclose((mean, std), expected, rtol=1e-12)
