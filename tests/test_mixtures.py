import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from genvec.mixtures import assign_splits, draw_batch, sample_mixtures, triplet_mixtures


def test_mixtures_are_dirichlet_and_do_not_depend_on_their_number():
    mixtures = np.asarray(sample_mixtures(jax.random.key(0), 2000, 3, 0.7))
    np.testing.assert_allclose(mixtures.sum(1), 1, rtol=1e-5)
    marginal = stats.beta(0.7, 1.4)  # of a Dirichlet(0.7, 0.7, 0.7)
    assert stats.kstest(mixtures[:, 0], marginal.cdf).pvalue > 0.01
    assert stats.kstest(mixtures[:, 0], stats.beta(1, 2).cdf).pvalue < 1e-3  # Dirichlet(1) is not
    few = sample_mixtures(jax.random.key(0), 10, 3, 0.7)
    np.testing.assert_allclose(mixtures[:10], few, rtol=1e-5)


def test_splits_are_disjoint_and_hold_every_member():
    split = assign_splits(0, 100, val_fraction=0.1, test_fraction=0.3, num_triplets=15)
    together = np.concatenate([split.train, split.val, split.test])
    np.testing.assert_array_equal(np.sort(together), np.arange(100))
    assert (len(split.train), len(split.val), len(split.test)) == (60, 10, 30)


def test_triplets_join_unseen_members_no_member_twice():
    split = assign_splits(0, 100, val_fraction=0.1, test_fraction=0.3, num_triplets=15)
    parts, sums = split.triplets[:, :2], split.triplets[:, 2]
    assert set(parts.ravel()) <= set(split.test)
    assert len(set(parts.ravel())) == 30
    np.testing.assert_array_equal(sums, np.arange(100, 115))


def test_union_of_two_equal_data_sets_has_the_mean_proportions():
    mixtures = np.array([[1.0, 0.0], [0.5, 0.5], [0.2, 0.8]])
    np.testing.assert_allclose(triplet_mixtures(mixtures, np.array([[0, 1, 3]])), [[0.75, 0.25]])


@pytest.mark.parametrize(
    ("num", "val", "test", "triplets", "message"),
    [
        (0, 0.1, 0.1, 0, "0 members"),
        (10, 0.0, 0.2, 0, "8/0/2"),
        (10, 0.5, 0.5, 0, "0/5/5"),
        (10, 0.1, 0.1, 0, "8/1/1"),
        (10, 0.1, 0.2, 2, "2 triplets need 4 test members, there are 2"),
        (10, 0.1, 0.2, 1, "num_triplets is 1"),
        (10, 0.1, 0.2, -1, "num_triplets is -1"),
    ],
)
def test_impossible_splits_are_refused(num, val, test, triplets, message):
    with pytest.raises(ValueError, match=message):
        assign_splits(0, num, val_fraction=val, test_fraction=test, num_triplets=triplets)


def test_batches_follow_the_mixture_and_hold_images_of_their_labels(data):
    mixture = jnp.array([0.2, 0.0, 0.8])
    batch = draw_batch(jax.random.key(0), mixture, data, 20_000)
    share = np.bincount(batch.label, minlength=3) / 20_000
    np.testing.assert_allclose(share, mixture, atol=0.015)
    brightest = np.asarray(batch.x).mean((2, 3)).argmax(1)  # class k is bright in row k
    np.testing.assert_array_equal(brightest, batch.label)
    assert batch.x.shape == (20_000, 4, 4, 1)
    assert 0 <= batch.x.min() < batch.x.max() <= 1


def test_images_of_a_class_are_drawn_uniformly(data):
    batch = draw_batch(jax.random.key(1), jnp.array([0.0, 1.0, 0.0]), data, 20_000)
    images = np.asarray(data.images[30:50]).reshape(20, -1)
    drawn = np.round(np.asarray(batch.x) * 255).reshape(-1, 1, 16)
    which = (drawn == images).all(-1).argmax(1)
    assert stats.chisquare(np.bincount(which, minlength=20)).pvalue > 0.001


def test_grouping_keeps_classes_in_the_order_asked_for(dataset):
    from genvec.mixtures import group_by_class

    grouped = group_by_class(dataset, (2, 0))
    np.testing.assert_array_equal(grouped.counts, [10, 30])
    np.testing.assert_array_equal(grouped.images[:10], dataset.images[50:])
    np.testing.assert_array_equal(np.bincount(grouped.heldout_labels), [5, 15])
