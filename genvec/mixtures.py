"""Mixture weights, splits assigned per mixture, and the batches a member draws from its own."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from genvec.data import class_indices
from genvec.keys import fold_in_each
from genvec.types import Batch, Dataset, Split
from genvec.validity import check_classes, check_dataset


class MixtureData(NamedTuple):
    """Images of the K chosen classes, sorted by class: a draw is two numbers and a gather."""

    images: jax.Array  # uint8 [M, H, W, C]
    starts: jax.Array  # int32 [K], where each class begins
    counts: jax.Array  # int32 [K], how many images it has
    heldout_images: jax.Array  # uint8 [M', H, W, C]
    heldout_labels: jax.Array  # int32 [M'], index into the K classes


def to_unit(images: jax.Array) -> jax.Array:
    """uint8 0..255 → float32 in [0, 1]."""
    return images.astype(jnp.float32) / 255.0


def sample_mixtures(key: jax.Array, num: int, num_classes: int, alpha: float) -> jax.Array:
    """Class proportions [num, K] from Dirichlet(alpha); row i depends on the key and i alone."""
    keys = fold_in_each(key, jnp.arange(num))
    return jax.vmap(lambda k: jax.random.dirichlet(k, jnp.full(num_classes, alpha)))(keys)


def spread(mixtures: np.ndarray, classes: Sequence[int], num_classes: int) -> np.ndarray:
    """Proportions [n, k] of some classes → of all K of them [n, K], the others at zero."""
    wide = np.zeros((len(mixtures), num_classes), mixtures.dtype)
    wide[:, list(classes)] = mixtures
    return wide


def unseen_mixtures(
    key: jax.Array, num: int, num_classes: int, unseen: Sequence[int], alpha: float
) -> np.ndarray:
    """Proportions [num, K]: the `unseen` classes have 20 to 100 % together, uniformly drawn.

    Within the unseen classes, and within the others, proportions are from Dirichlet(alpha).
    """
    share_key, unseen_key, seen_key = jax.random.split(key, 3)
    seen = [k for k in range(num_classes) if k not in unseen]
    share = np.asarray(jax.random.uniform(share_key, (num, 1), minval=0.2, maxval=1.0))
    parts = [
        spread(np.asarray(sample_mixtures(k, num, len(classes), alpha)), classes, num_classes)
        for k, classes in ((unseen_key, unseen), (seen_key, seen))
    ]
    return share * parts[0] + (1 - share) * parts[1]


def pure_mixtures(key: jax.Array, mixtures: np.ndarray) -> np.ndarray:
    """For each of the proportions [N, K] one class, drawn from them: [N, K] of zeros and a one.

    Row i depends on the key, i and its proportions alone; a class of weight 0 is never drawn.
    """
    keys = fold_in_each(key, jnp.arange(len(mixtures)))
    u = np.asarray(jax.vmap(jax.random.uniform)(keys), np.float64)
    upper = np.cumsum(mixtures, axis=1, dtype=np.float64)
    label = np.argmax(upper > u[:, None] * upper[:, -1:], axis=1)
    return np.eye(mixtures.shape[1], dtype=mixtures.dtype)[label]


def assign_splits(
    seed: int,
    num: int,
    *,
    val_fraction: float,
    test_fraction: float,
    num_triplets: int,
    first: Mapping[str, int] | None = None,
) -> Split:
    """Deals `num` mixtures to train, val and test, and pairs test mixtures into triplets.

    Triplet r joins two test members, no member twice, with the additional member `num + r`, which
    is to be trained on the union D1 + D2 (`triplet_mixtures`).

    Args:
      first: {"num": n, "val": v, "test": t} for zoos in which smaller cells have but the first
        members: of the first n, v are val and t are test; the others make up the fractions.

    Raises:
      ValueError: a split would be empty, or the test split is too small for the triplets.
    """
    num_val, num_test = round(num * val_fraction), round(num * test_fraction)
    num_train = num - num_val - num_test
    if min(num_train, num_val, num_test - 1) < 1:
        raise ValueError(
            f"{num} members with val_fraction={val_fraction} and test_fraction={test_fraction} "
            f"give {num_train}/{num_val}/{num_test} train/val/test members; "
            "train and val need one, test needs two"
        )
    if num_triplets < 0 or num_triplets == 1:
        raise ValueError(f"num_triplets is {num_triplets}; allowed: 0, or at least 2 to compare")
    if 2 * num_triplets > num_test:
        raise ValueError(
            f"{num_triplets} triplets need {2 * num_triplets} test members, there are {num_test}"
        )
    generator = np.random.default_rng(seed)
    dealt = []
    for start, count, val, test in _parts(num, num_val, num_test, dict(first or {})):
        order = start + generator.permutation(count)
        dealt.append(np.split(order, [count - val - test, count - test]))
    train, val, test = (np.concatenate(parts) for parts in zip(*dealt, strict=True))
    pairs = test[: 2 * num_triplets].reshape(num_triplets, 2)
    thirds = num + np.arange(num_triplets)[:, None]
    return Split(
        train=np.sort(train),
        val=np.sort(val),
        test=np.sort(test),
        triplets=np.concatenate([pairs, thirds], axis=1),
    )


def _parts(num: int, num_val: int, num_test: int, first: Mapping[str, int]) -> list[tuple]:
    """(start, members, val members, test members) of what is dealt at once."""
    if not first:
        return [(0, num, num_val, num_test)]
    n, val, test = first["num"], first["val"], first["test"]
    parts = [(0, n, val, test), (n, num - n, num_val - val, num_test - test)]
    if any(min(count, v, t, count - v - t) < 0 for _, count, v, t in parts):
        raise ValueError(
            f"first is {val} val and {test} test of the first {n} members; in all there are {num}, "
            f"of which {num_val} are val and {num_test} test"
        )
    return parts


def triplet_mixtures(mixtures: np.ndarray, triplets: np.ndarray) -> np.ndarray:
    """Proportions [R, K] of the unions D1 + D2 of equally large data sets: the mean of the two."""
    return (mixtures[triplets[:, 0]] + mixtures[triplets[:, 1]]) / 2


def group_by_class(dataset: Dataset, classes: Sequence[int]) -> MixtureData:
    """The K `classes` of a data set (indices into its class names), ready to draw from.

    Raises:
      KeyError: an index that is of no class.
      ValueError: the data set is not what `check_dataset` allows; a class is given twice; one has
        no train image, or none has a held-out one (see `check_classes`).
    """
    classes = class_indices(check_dataset(dataset), classes)
    check_classes(dataset, classes)
    parts = [dataset.images[dataset.labels == label] for label in classes]
    counts = np.array([len(part) for part in parts])
    heldout = [dataset.heldout_images[dataset.heldout_labels == label] for label in classes]
    return MixtureData(
        images=jnp.asarray(np.concatenate(parts)),
        starts=jnp.asarray(np.cumsum(counts) - counts, jnp.int32),
        counts=jnp.asarray(counts, jnp.int32),
        heldout_images=jnp.asarray(np.concatenate(heldout)),
        heldout_labels=jnp.asarray(np.repeat(np.arange(len(classes)), [len(h) for h in heldout])),
    )


def draw_rows(
    key: jax.Array, mixture: jax.Array, starts: jax.Array, counts: jax.Array, num: int
) -> tuple[jax.Array, jax.Array]:
    """Draws with replacement: a class by the mixture [K], then one of its rows uniformly.

    A class of weight zero is never drawn, however its neighbours' sums are rounded.

    Args:
      starts, counts: where the rows of each class begin and how many there are, [K]; each class
        with weight has one at least.

    Returns:
      Rows [num] of a table that is sorted by class, and their classes [num].
    """
    chex.assert_equal_shape([mixture, starts, counts])
    class_u, row_u = jax.random.uniform(key, (2, num))
    upper = jnp.cumsum(mixture)[:-1]
    label = _nearest_with_weight(mixture)[jnp.sum(class_u[:, None] >= upper, axis=1)]
    # uniform < 1, yet its product with a large count can round up to the count itself
    offset = jnp.minimum((row_u * counts[label]).astype(jnp.int32), counts[label] - 1)
    return starts[label] + offset, label


def _nearest_with_weight(mixture: jax.Array) -> jax.Array:
    """Each class itself [K]; for one of weight zero the class with weight before it, or the first.

    The sums of a mixture can end below 1, and sums in a tree can differ where nothing was added:
    a draw in such a gap of one unit in the last place would go to a class of weight zero.
    """
    has_weight = mixture > 0
    before = jax.lax.cummax(jnp.where(has_weight, jnp.arange(len(mixture)), -1))
    return jnp.where(before < 0, jnp.argmax(has_weight), before)


def heldout_weights(mixture: jax.Array, labels: jax.Array) -> jax.Array:
    """Weights [M'] of held-out images with labels [M'], for means in the proportions [K] of d.

    A class's share is divided equally among its images. A class without held-out images is left
    out: the shares of the others are scaled up to sum to 1. Where no class of the mixture has any,
    the weights, and with them the mean, are NaN: it cannot be computed.
    """
    onehot = jax.nn.one_hot(labels, mixture.shape[0])
    counts = jnp.sum(onehot, axis=0)
    seen = counts > 0
    weights = onehot @ jnp.where(seen, mixture / jnp.where(seen, counts, 1), 0)
    return weights / jnp.where(jnp.all(seen), 1, jnp.sum(jnp.where(seen, mixture, 0)))


def draw_batch(key: jax.Array, mixture: jax.Array, data: MixtureData, batch_size: int) -> Batch:
    """Images of one member's next batch, drawn with replacement from its mixture [K]."""
    rows, label = draw_rows(key, mixture, data.starts, data.counts, batch_size)
    return Batch(to_unit(data.images[rows]), label)
