"""NaN, infinity and zero where a number is needed: named where they come in, or shown in the end.

What is given says whose numbers are not finite; what is traced stays NaN.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from conftest import IMAGE_SHAPE, small

from genvec import evaluate, geometry, matching, quality, trees
from genvec.collections import (
    AGGREGATIONS,
    BOUNDS,
    Groups,
    all_bounds,
    measure_bounds,
    one_shot,
    pooling,
)
from genvec.collections import bounds as collections_bounds
from genvec.collections import evaluate as collections_evaluate
from genvec.collections.data import Collections, members_of
from genvec.controls import CONTROLS, Labelled, sampled_proportions
from genvec.encoders import MLPEncoder
from genvec.families.autoencoder import correlated
from genvec.families.density import mixture_log_density
from genvec.families.fitting import fit_images
from genvec.families.log_variance import LARGEST, bounded
from genvec.families.matrices import orthonormal_rows
from genvec.geometry import to_sphere
from genvec.networks.pairs.normal import batch_norm, spectral_norm
from genvec.objectives import (
    GROUP_OBJECTIVES,
    OBJECTIVES,
    GroupBatch,
    make_group_objective,
    weighted_sum,
)
from genvec.objectives.contract import normalise
from genvec.objectives.ranking import mined_triplets
from genvec.objectives.smog import spherical_kmeans
from genvec.represent import Context, fit_normaliser, reconstruction
from genvec.store import StoreError, load_zoo
from genvec.store.cells import complete_cell, create_cell, write_segment
from genvec.train import Examples, train_encoder
from genvec.types import NotFiniteError, Spec
from genvec.zoo import Task, member_inputs, tuning
from genvec.zoo.member import Trained, finish_member, start_member

SPEC = Spec({}, (), {})
X = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)


def broken(x=X, row=3, value=np.nan):
    x = np.array(x)
    x[row] = value
    return x


# --- distances, directions and what is chosen by them


@pytest.mark.parametrize("xp", [np, jnp])
def test_the_distance_of_a_nan_is_nan_and_of_equal_points_zero_without_slope(xp):
    apart = geometry.pairwise_distances(xp.asarray(broken()), xp.asarray(X))
    assert np.isnan(apart[3]).all() and np.isfinite(np.delete(apart, 3, axis=0)).all()
    equal = jnp.ones((3, 2))
    assert not jax.grad(lambda x: geometry.pairwise_distances(x, x).sum())(equal).any()


def test_the_medoid_of_objects_with_a_nan_is_nan_and_masked_ones_do_not_count():
    mask = jnp.arange(12) != 3
    for name in ("medoid", "mean", "geometric_median", "normalised_mean"):
        fn = jax.jit(AGGREGATIONS[name].fn)
        assert np.isnan(fn({}, jnp.asarray(broken()), jnp.ones(12, bool))).all()
        left_out = fn({}, jnp.asarray(broken()), mask)
        np.testing.assert_allclose(left_out, fn({}, jnp.asarray(X), mask), rtol=1e-6)


def test_bounds_on_objects_with_a_nan_are_nan_and_count_as_broken():
    found = jax.jit(all_bounds)(Groups(broken(X[:4], 1), X[4:8], X[8:]))
    for name, (bound, true) in found.items():
        assert np.isnan(bound), name
        assert collections_bounds.violated(name, bound, true, 1.0)
    good = jax.jit(all_bounds)(Groups(X[:4], X[4:8], X[8:]))
    assert not any(collections_bounds.violated(n, *good[n], 1e-3) for n in BOUNDS)


def test_pairs_at_distance_zero_have_no_ratio():
    bound, true = np.array([0.0, 2.0, 6.0]), np.array([0.0, 1.0, 2.0])
    assert collections_evaluate._median_ratio(bound, true) == 2.5
    assert np.isnan(collections_evaluate._median_ratio(bound[:1], true[:1]))
    assert np.isnan(collections_evaluate._median_ratio(bound, np.array([np.nan, 1, 2])))


def test_a_query_with_nan_distances_is_not_found_first():
    distances = np.array([[np.nan] * 3, [2.0, 1.0, np.nan], [3.0, 2.0, 1.0]])
    # the worst rank; the second of three, as the NaN may be nearer; the first
    assert evaluate.retrieved(distances)["mrr"] == pytest.approx((1 / 3 + 1 / 2 + 1) / 3)


# --- objectives


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_of_nan_embeddings_is_nan(name):
    d = to_sphere(np.abs(X))
    assert np.isnan(OBJECTIVES[name](jnp.asarray(broken(d)), jnp.asarray(d)))


def test_the_cosine_of_a_zero_vector_counts_as_zero_and_leads_to_its_target():
    fn = jax.jit(jax.value_and_grad(OBJECTIVES["cosine"], argnums=(0, 1)))
    d, with_zero = np.eye(3, dtype=np.float32), np.diag([1.0, 0, 1]).astype(np.float32)
    for pair in ((with_zero, d), (d, with_zero)):
        value, grads = fn(*pair)
        assert value == pytest.approx(1 / 3) and np.isfinite(grads).all()
    step = with_zero - 0.1 * fn(with_zero, d)[1][0]
    assert fn(step, d)[0] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("bound", [45.0, 100.0, np.inf, np.nan])
def test_a_bound_of_log_variances_that_overflows_is_refused(bound):
    with pytest.raises(ValueError, match=r"log_variance_bound is .* at most 20"):
        make_group_objective("gaussian_triplet", 4, 3, {"log_variance_bound": bound})


def test_the_largest_bound_of_log_variances_does_not_overflow():
    objective = make_group_objective("gaussian_triplet", 4, 3, {"log_variance_bound": 20.0})
    batch = jnp.where(X > 0, 1e3, -1e3)

    @jax.jit
    @jax.value_and_grad
    def fn(x):
        return objective.loss({}, {}, GroupBatch(x, jnp.arange(12) % 3))[0]

    loss, grad = fn(batch)
    assert np.isfinite(loss) and np.isfinite(np.square(grad)).all()


def test_what_is_normalised_keeps_a_nan_and_zero():
    rows = jax.jit(normalise)(jnp.asarray(broken(broken(), 5, 0)))
    assert np.isnan(rows[3]).all() and not rows[5].any() and np.isfinite(rows[4]).all()


@pytest.mark.parametrize("mining", ["hard", "semi_hard"])
def test_a_nan_among_the_negatives_is_seen(mining):
    apart = np.array(geometry.pairwise_distances(X[:5], X[:5]))
    group = jnp.array([0, 0, 1, 1, 2])  # the last one has no positive: it is a negative only
    apart[4, :] = apart[:, 4] = np.nan
    fn = jax.jit(partial(mined_triplets, margin=0.2, mining=mining))
    assert np.isnan(fn(apart, group)) and np.isfinite(fn(np.nan_to_num(apart), group))


def test_clusters_of_points_with_a_nan_are_not_all_finite():
    fn = jax.jit(lambda points: spherical_kmeans(jax.random.key(0), normalise(points), 3))
    assert np.isnan(fn(broken())).any() and np.isfinite(fn(X)).all()


# --- quality

MEASURES = {
    "knn_kl": quality.knn_kl,
    "precision_recall": lambda x, y: quality.precision_recall(x, y)[0],
    "recall": lambda x, y: quality.precision_recall(x, y)[1],
    "mmd": quality.mmd,
    "sinkhorn": lambda x, y: quality.sinkhorn(x, y, epsilon=1.0),
    "sinkhorn_divergence": lambda x, y: quality.sinkhorn_divergence(x, y, epsilon=1.0),
    "sliced": lambda x, y: quality.sliced_wasserstein(jax.random.key(0), x, y),
    "wasserstein_1d": lambda x, y: quality.wasserstein_1d(x[:, 0], y[:, 0]),
    "fid": lambda x, y: quality.frechet_distance(*map(quality.gaussian_moments, (x, y))),
    "inception_score": lambda x, y: quality.inception_score(x),
    "class_shares": lambda x, y: quality.class_shares(x)[0],
    "mode_coverage": lambda x, y: quality.mode_coverage(jnp.abs(x[:, 0]), jnp.abs(y[:, 0])),
}


@pytest.mark.parametrize("value", [np.nan, -np.inf])
@pytest.mark.parametrize("name", MEASURES)
def test_samples_that_are_not_finite_are_named_and_stay_nan_when_traced(name, value):
    x = jnp.asarray(broken(value=value))
    with pytest.raises(NotFiniteError, match=r"must be finite numbers; .* row 3 \(1 of 12\)"):
        MEASURES[name](x, jnp.asarray(X))
    traced = jax.jit(MEASURES[name])
    assert np.isfinite(traced(X, X[::-1]))
    if name != "wasserstein_1d" or np.isnan(value):  # the way to an infinite sample is infinite
        assert np.isnan(traced(x, X))


def test_moments_that_are_not_finite_are_refused():
    good = quality.gaussian_moments(jnp.asarray(X))
    bad = good._replace(covariance=good.covariance.at[2].set(np.nan))
    for fn in (quality.frechet_distance, quality.gaussian_kl):
        with pytest.raises(NotFiniteError, match=r"b.covariance .* row 0, 1, 2, 3|row 2"):
            fn(good, bad)


def test_the_divergence_of_samples_that_coincide_is_finite():
    F, fn = 3, jax.jit(quality.knn_kl)
    x, y = np.random.default_rng(1).normal(size=(2, 100, F)).astype(np.float32)
    twice = np.repeat(x[:50], 2, axis=0)
    for a, b in ((twice, x), (x, twice), (twice, twice), (x, x)):
        assert abs(fn(a, b)) < 20 * F
    collapsed = np.repeat(x[:1], 100, axis=0)
    assert 8 * F < fn(collapsed, y) < 20 * F
    assert fn(collapsed, x) == pytest.approx(np.log(100), abs=1e-3)  # one x of a hundred
    assert fn(collapsed, collapsed) == pytest.approx(0, abs=1e-3)
    assert fn(0 * x, 0 * x) == pytest.approx(0, abs=1e-3)
    # what coincides depends on the scale
    assert float(fn(1e3 * twice, 1e3 * y)) == pytest.approx(float(fn(twice, y)), abs=0.01)


@pytest.mark.parametrize("epsilon", [1e-1, 1e-2, 1e-4])
def test_transport_goes_on_until_it_has_converged(epsilon):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 2)).astype(np.float32)
    y = rng.permutation(x + 2)  # by (2, 2): exactly 8, and more than that with entropy
    measure = jax.jit(lambda a, b: quality.sinkhorn(a, b, epsilon=epsilon))
    assert 8 - 1e-3 <= measure(x, y) < 8 + 5 * epsilon


def test_transport_that_has_not_converged_is_no_number():
    x, options = X[:, :2], {"epsilon": 1e-4, "num_iterations": 2, "max_iterations": 3}
    for fn in (quality.sinkhorn, quality.sinkhorn_divergence):
        with pytest.raises(NotFiniteError, match=r"not converged: epsilon=0.0001, 2 \+ 3 iter"):
            fn(x, x[::-1] + 2, **options)
    assert np.isnan(jax.jit(partial(quality.sinkhorn, **options))(x, x[::-1] + 2))


def test_gradients_of_transport_are_finite_at_equal_samples_and_lead_to_the_others():
    x = jnp.asarray(X[:, :2])
    value, grad = jax.jit(
        jax.value_and_grad(lambda a: quality.sinkhorn_divergence(a, x + 2, epsilon=0.05))
    )(x)
    assert value == pytest.approx(8, rel=1e-3)
    np.testing.assert_allclose(12 * grad, -4, rtol=0.05)  # of ‖x − y‖² at a shift of 2
    for fn in (MEASURES["sliced"], lambda a, b: quality.wasserstein_1d(a[:, 0], b[:, 0], p=2)):
        assert np.isfinite(jax.jit(jax.grad(fn))(x, x)).all()


# --- families and networks


def test_batches_far_from_zero_are_normalised():
    x = (1e4 + 0.1 * np.random.default_rng(0).normal(size=(3, 8, 8, 32))).astype(np.float32)
    params, stats = (
        {a: jnp.ones(3), b: jnp.zeros(3)} for a, b in (("scale", "bias"), ("var", "mean"))
    )
    y, new = jax.jit(lambda p, s, x: batch_norm(p, s, x, True))(params, stats, x)
    assert float(y.std()) == pytest.approx(1, abs=0.01) and abs(float(y.mean())) < 0.05
    np.testing.assert_allclose(new["var"], 0.9 + 0.1 * 0.01, rtol=1e-3)


def test_a_kernel_of_zeros_has_a_spectral_norm():
    def total(kernel):
        return spectral_norm(kernel, jnp.ones(2) / 2**0.5, True)[0].sum()

    value, grad = jax.jit(jax.value_and_grad(total))(jnp.zeros((3, 2)))
    assert value == 0 and np.isfinite(grad).all()


@pytest.mark.parametrize(
    "rows", [[0, 0, 1], [0, 1, 0], [0, 0, 0]], ids=lambda rows: "".join(map(str, rows))
)
def test_repeated_rows_become_orthonormal(rows):
    fn = jax.jit(orthonormal_rows)
    found = fn(X[rows])
    np.testing.assert_allclose(found @ found.T, np.eye(3), atol=1e-5)
    np.testing.assert_allclose(found[0], X[0] / np.linalg.norm(X[0]), rtol=1e-5)
    with_zero = fn(broken(X[rows], 0, 0))
    np.testing.assert_allclose(with_zero @ with_zero.T, np.eye(3), atol=1e-5)
    assert np.isnan(fn(broken(X[:3], 1))[1]).all()


def test_log_variances_are_bounded_with_the_gradient_of_the_identity():
    x = jnp.array([-1e3, -30.0, -3.0, 0.1, LARGEST, 1e3])
    np.testing.assert_array_equal(bounded(x)[:5], x[:5])
    assert bounded(x)[5] == LARGEST and np.isnan(bounded(jnp.nan)) and bounded(-1e3, -20.0) == -20
    np.testing.assert_array_equal(jax.grad(lambda x: bounded(x).sum())(x), 1)


def test_a_vae_with_a_large_log_variance_has_a_loss_and_a_way_back(vae):
    params, state = vae.init(jax.random.key(0))
    head = params["encoder"]["log_var"]
    head = {**head, "bias": head["bias"] + 200.0}
    params = {**params, "encoder": {**params["encoder"], "log_var": head}}
    x = jnp.full((4, *IMAGE_SHAPE), 0.5)
    hparams = {name: jnp.asarray(value) for name, value in vae.hparams.items()}

    def loss(params):
        batch = type("Batch", (), {"x": x, "label": None})
        return vae.players[0].loss_fn(params, state, jax.random.key(1), batch, hparams)[0]

    value, grads = jax.jit(jax.value_and_grad(loss))(params)
    assert np.isfinite(value) and trees.all_finite(grads)
    assert (grads["encoder"]["log_var"]["bias"] > 0).all()  # a step down leads back


def test_densities_and_draws_are_numbers_where_a_variance_is_not():
    numbers = jnp.array([0.0, 0.0, 0.5, 0.5, 200.0, 200.0])
    assert np.isfinite(mixture_log_density(numbers, jnp.array(0.5)))
    family = small("ppca")
    params, _ = family.init(jax.random.key(0))
    params["decoder"]["log_variance"] = jnp.array(-200.0)
    evaluate_fn = jax.jit(lambda p, x: family.evaluate(p, {}, None, x, {})["log_likelihood"])
    assert np.isfinite(evaluate_fn(params, jnp.ones((2, *IMAGE_SHAPE)))).all()


def test_codes_that_do_not_vary_in_a_direction_can_be_drawn():
    a = np.random.default_rng(4).normal(size=(200, 6, 2)).astype(np.float32)
    singular = jnp.asarray(a @ a.transpose(0, 2, 1))  # rank 2 of 6: eigenvalues round below zero
    noise = jax.random.normal(jax.random.key(0), (5, 6))
    assert np.linalg.eigvalsh(singular).min() < 0
    assert np.isfinite(jax.vmap(lambda c: correlated(noise, jnp.zeros(6), c))(singular)).all()
    regular = singular[0] + jnp.eye(6)
    textbook = jax.random.multivariate_normal(
        jax.random.key(0), jnp.zeros(6), regular, (5,), method="eigh"
    )
    np.testing.assert_array_equal(correlated(noise, jnp.zeros(6), regular), textbook)


# --- members


def test_a_metric_that_cannot_be_computed_is_no_divergence(vae, data):
    def finished(evaluate, bias=0.0):
        family = vae._replace(evaluate=evaluate)
        inputs = member_inputs(
            jax.random.key(0), np.full((1, 3), 1 / 3), family, init="independent", hparams={}
        )
        member, task = trees.take(inputs, 0), Task(family, 2, 4)

        @jax.jit
        def run(member, data, bias):
            carry = start_member(member, task)
            carry = carry._replace(params=jax.tree.map(lambda x: x + bias, carry.params))
            return finish_member(carry, member, data, task).metrics

        return run(member, data, bias)

    def unknown(params, state, key, x, hparams):
        return {"elbo": jnp.full(len(x), jnp.nan)}

    metrics = finished(unknown)
    assert np.isnan(metrics["elbo"]) and metrics["finite"]
    assert not finished(unknown, np.nan)["finite"] and finished(vae.evaluate)["finite"]


@pytest.fixture(scope="module")
def diverged(tmp_path_factory):
    """Six members: all of train, and one more, diverged."""
    path = tmp_path_factory.mktemp("zoo") / "vae"
    split = ["train"] * 3 + ["val"] + ["test"] * 2
    rates = np.full(6, 1e9)
    members = pd.DataFrame({"member": range(6), "split": split, "learning_rate": rates})
    create_cell(path, {"segment_size": 6, "family": "vae"}, members)
    finite = np.array([False] * 3 + [True, False, True])
    params = {"encoder": {"kernel": np.ones((6, 2), np.float32)}}
    write_segment(path, 0, Trained(params, {}, {"finite": finite}))
    complete_cell(path)
    return path


def test_that_all_members_diverged_is_said(diverged):
    words = r"all 3 members of .* diverged: .* learning rate .*learning_rate 1e\+09 to 1e\+09"
    with pytest.raises(StoreError, match=words):
        load_zoo(diverged, split="train", finite_only=True)
    assert load_zoo(diverged, split="test", finite_only=True).members["member"].tolist() == [5]
    assert len(load_zoo(diverged, split="train").members) == 3
    with pytest.raises(ValueError, match="no member of"):
        load_zoo(diverged, members=[])


def test_a_split_of_which_all_members_diverged_is_named(diverged):
    from experiments.common import best_score, needs_splits

    zoo = load_zoo(diverged, finite_only=True)
    needs_splits(zoo, "val", "test")
    with pytest.raises(StoreError, match="split train is left: all of them diverged"):
        needs_splits(zoo, "train", "val")
    log = pd.DataFrame({"val": [np.nan, 3.0, 2.0], "none": [np.nan] * 3})
    assert best_score(log, "val") == 2 and best_score(log, "none") == np.inf


# --- encoders


def train(train_set, val_set, steps=2, **options):
    return train_encoder(
        jax.random.key(0),
        MLPEncoder(SPEC, 3, hidden=(4,)),
        weighted_sum({"mse": 1.0}),
        train_set,
        val_set,
        steps=steps,
        **options,
    )


GOOD = Examples(X, to_sphere(np.abs(X[:, :3])), np.arange(12) + 100)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_members_that_are_not_finite_are_named_before_any_training(value):
    for bad, words in (
        (GOOD._replace(features=broken(value=value)), r"features of {} members .* member 103 "),
        (GOOD._replace(targets=broken(GOOD.targets, 5, value)), r"targets of {} .* member 105 "),
    ):
        with pytest.raises(NotFiniteError, match=words.format("train")):
            train(bad, GOOD, steps=10**9)
        with pytest.raises(NotFiniteError, match=words.format("validation")):
            train(GOOD, bad, steps=10**9)
    none = Examples(X[:0], GOOD.targets[:0])
    with pytest.raises(ValueError, match="there are no validation members"):
        train(GOOD, none)


def test_a_validation_score_that_is_not_finite_stops_and_names_the_members():
    def prepare(key, x):
        return jnp.where(x[0] > 1e20, x * x, x)  # member 107 overflows

    huge = broken(row=7, value=1e30)
    with pytest.raises(NotFiniteError, match=r"val_angle_deg after step 2 is nan: .* member 107 "):
        train(GOOD, GOOD._replace(features=huge), prepare=prepare)
    with pytest.raises(NotFiniteError, match=r"train_own after step 2 is inf, though all"):
        train(GOOD, GOOD, score=lambda x, d: jnp.inf, score_name="own")
    assert len(train(GOOD, GOOD).log) == 1


def test_a_learning_rate_that_diverges_is_not_chosen(monkeypatch):
    from ml_collections import ConfigDict

    from experiments import encoders

    monkeypatch.setattr(encoders, "encoder_name", lambda entry: "mlp")
    entry = ConfigDict({"objective": {"mse": 1.0}, "train": {"steps": 1, "learning_rate": 0.0}})

    def train_fn(objective, train, val, *, on_eval, learning_rate, steps):
        if learning_rate > 1:
            raise NotFiniteError("loss not finite at step 0")
        return encoders.TrainedEncoder({}, [{"val_angle_deg": learning_rate}])

    def best_of(*rates):
        return encoders._best_of_rates(entry, rates, "seed 0", train_fn, GOOD, GOOD)

    assert best_of(9.0, 0.2, 0.1, 8.0).log == [{"val_angle_deg": 0.1, "learning_rate": 0.1}]
    with pytest.raises(NotFiniteError, match=r"diverged: learning_rate=9.0: loss.*; .*=8.0: loss"):
        best_of(9.0, 8.0)


def test_what_a_normaliser_is_fitted_on_must_be_finite():
    with pytest.raises(NotFiniteError, match=r"features must be finite .* row 3 \(1 of 12\)"):
        fit_normaliser(broken(), SPEC)


def test_an_image_that_comes_back_exactly_has_a_logarithm():
    def same(params, state, x):
        return x

    context = Context(SPEC, same, jnp.zeros((3, *IMAGE_SHAPE)), decode=same)
    assert np.isfinite(reconstruction({}, {}, context)).all()


def test_images_that_are_not_numbers_are_not_counted():
    def count(x):
        return sampled_proportions(
            jax.random.split(jax.random.key(0), len(x)),
            {"x": jnp.asarray(x)},
            {},
            sample=lambda params, state, key, num: jnp.ones((num, 1)) * params["x"],
            classify=lambda images: images,
            num_samples=5,
        )

    assert count(X[:2]).shape == (2, 4)
    with pytest.raises(NotFiniteError, match="images that member 1 of these 2 generates"):
        count(broken(X[:2], 1))


@pytest.mark.parametrize("control", ["ridge", "boosted"])
def test_a_control_is_not_chosen_on_no_members(control):
    labelled = Labelled(X, to_sphere(np.abs(X[:, :3])) ** 2)
    with pytest.raises(ValueError, match="there are no val members"):
        CONTROLS[control](labelled, Labelled(X[:0], labelled.mixtures[:0]), X)


def test_what_is_searched_for_must_be_finite():
    assert matching.nearest(X[0], X, 1)[0][0] in range(12)
    with pytest.raises(NotFiniteError, match="the query"):
        matching.nearest(broken()[3], X, 1)
    with pytest.raises(NotFiniteError, match=r"moments .* row 3"):
        matching.moment_distances((X, X), (broken(), X))


# --- the rest


def collections(num=12):
    group = np.repeat(np.arange(4, dtype=np.int32), num // 4)
    images, names = np.zeros((num, 2, 2, 1), np.uint8), ("a", "b", "c", "d")
    return Collections(images, group, np.array([0, 0, 1, 1], np.int32), names, ("k", "l"))


def test_vectors_of_objects_that_are_not_finite_are_named():
    c, halves = collections(), collections_evaluate.split_halves(collections(), 0)
    for measure in (
        lambda x: measure_bounds(x, c, num_pairs=3, seed=0),
        lambda x: one_shot(x, members_of(c), ways=2, seed=0),
        lambda x: collections_evaluate.group_vectors(AGGREGATIONS["mean"], {}, x, members_of(c)),
        lambda x: pooling.train_pooling(
            jax.random.key(0), AGGREGATIONS["attention"], x, members_of(c), steps=1
        ),
    ):
        with pytest.raises(NotFiniteError, match=r"vectors of objects .* object 3 "):
            measure(broken())
    with pytest.raises(NotFiniteError, match=r"vectors of groups .* group b "):
        collections_evaluate.group_metrics(lambda members: broken(X[:4], 1), c, halves)


def test_pooling_is_not_learned_from_groups_of_one_object():
    alone = collections()._replace(group=np.array([0] * 5 + [1] * 5 + [2] + [3], np.int32))
    with pytest.raises(ValueError, match="group 2, 3 of 4 has fewer than two objects"):
        pooling.train_pooling(
            jax.random.key(0), AGGREGATIONS["attention"], X, members_of(alone), steps=1
        )


def test_images_to_fit_must_be_finite():
    images = broken(np.zeros((5, *IMAGE_SHAPE), np.float32))
    with pytest.raises(NotFiniteError, match=r"images .* image 3 "):
        fit_images(jax.random.key(0), images, small("inr"), steps=1, width=1)


def test_a_plan_that_does_not_fit_is_not_the_fastest(vae, data, monkeypatch):
    inputs = member_inputs(
        jax.random.key(0), np.full((4, 3), 1 / 3), vae, init="independent", hparams={}
    )
    monkeypatch.setitem(tuning.SHORT_RUN, "cpu", 0)
    monkeypatch.setattr(tuning, "_try", lambda r, *_: tuning.Trial(r.plan, float("inf"), 0.0))
    with pytest.raises(MemoryError, match="not even one of 2, 1 members at a time fits"):
        tuning.tune(
            inputs,
            data,
            Task(vae, 2, 4),
            num_members=4,
            devices=jax.local_devices()[:1],
            candidates=(tuning.Plan("scan", 2), tuning.Plan("scan", 1)),
        )


@pytest.mark.parametrize("name", ["collection_item", "collection_collection"])
@pytest.mark.parametrize("view", [0, 1])
def test_an_object_that_is_not_finite_shows_in_losses_by_collections(name, view):
    objective = GROUP_OBJECTIVES[name](3, 2, num_collections=2)
    views = [jax.random.normal(jax.random.key(n), (4, 3)) for n in range(2)]

    def loss(*views):
        batch = GroupBatch(views[0], jnp.array([0, 0, 1, 1]), views[1])
        return objective.loss({}, objective.start(), batch)[0]

    assert jnp.isfinite(loss(*views))
    views[view] = views[view].at[1, 0].set(jnp.nan)
    assert jnp.isnan(loss(*views))
