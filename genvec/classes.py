"""Classes as vectors: train a classifier, embed the classes, choose the K farthest apart."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from genvec import trees
from genvec.networks import MLPClassifier, ResNet, initialise

MAX_SUBSETS = 20_000  # enumerated in about a second; covers every choice among up to 16 classes


class Classifier(NamedTuple):
    """A trained classifier: arrays, and the pure function that they complete."""

    variables: Mapping[str, Any]  # "params" and, with batch norm, "batch_stats"
    # (variables, x [B, H, W, C] in [0, 1]) → logits [B, L]
    apply: Callable[[Mapping[str, Any], jax.Array], jax.Array]


def classifier_from(network: nn.Module, variables: Mapping[str, Any]) -> Classifier:
    """The classifier that `variables` (read from disk, for example) make of a `network`."""

    def apply(variables: Mapping[str, Any], x: jax.Array) -> Any:
        return network.apply(variables, x)

    return Classifier(variables, apply)


def train_classifier(
    key: jax.Array,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    network: nn.Module,
    num_steps: int,
    batch_size: int = 128,
    learning_rate: float = 3e-3,
    weight_decay: float = 1e-4,
    max_shift: int = 1,
    on_step: Callable[[int, int, jax.Array], object] | None = None,
) -> Classifier:
    """Trains a network to tell classes apart: cross entropy, AdamW, cosine learning rate to 0.

    Step t draws its batch with replacement and shifts every image by `fold_in(key, t)`.

    Args:
      key: a `jax.random.key`.
      images: uint8 [M, H, W, C]; kept on the device as they are.
      labels: int [M] in 0..L-1.
      network: x [B, H, W, C] in [0, 1] → logits [B, L]; see `CLASSIFIERS`.
      num_steps: updates.
      batch_size: images an update.
      learning_rate: at the first step.
      weight_decay: decoupled; He et al. 2015, section 4.2, use 1e-4.
      max_shift: images are shifted by up to so many pixels in y and x, zeros come in; 0 for none.
      on_step: called after each update with (updates done, num_steps, loss). The loss is a scalar
        on the device: reading it waits for the update.

    Raises:
      ValueError: images and labels do not fit each other or the network.
      FloatingPointError: training diverged.
    """
    _check_labelled(images, labels)
    data, target = jnp.asarray(images), jnp.asarray(labels, jnp.int32)
    init_key, step_key = jax.random.split(key)
    x = jnp.zeros((1, *images.shape[1:]))
    variables = initialise(network, init_key, x)
    tx = optax.adamw(
        optax.cosine_decay_schedule(learning_rate, num_steps), weight_decay=weight_decay
    )
    num_classes = jax.eval_shape(network.apply, variables, x).shape[-1]
    if labels.max() >= num_classes:
        raise ValueError(f"label {labels.max()} for a network of {num_classes} classes")

    def loss_fn(params, statistics, x, label):
        logits, statistics = network.apply(
            {"params": params, **statistics}, x, mutable=list(statistics)
        )
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, label).mean()
        return loss, statistics

    @jax.jit
    def update(state, step, images, labels):
        params, statistics, tx_state = state
        draw_key, shift_key = jax.random.split(jax.random.fold_in(step_key, step))
        index = _draw(draw_key, (batch_size,), len(images))
        x = shift_images(shift_key, images[index], max_shift).astype(jnp.float32) / 255
        grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
        (loss, statistics), grads = grad_fn(params, statistics, x, labels[index])
        updates, tx_state = tx.update(grads, tx_state, params)
        return (optax.apply_updates(params, updates), statistics, tx_state), loss

    params = variables["params"]
    statistics = {name: value for name, value in variables.items() if name != "params"}
    state = (params, statistics, tx.init(params))
    # a loop over dispatched steps: inside lax.scan convolutions lose their fast path on the CPU
    for step in range(num_steps):
        state, loss = update(state, step, data, target)
        if on_step is not None:
            on_step(step + 1, num_steps, loss)
    variables = {"params": state[0], **state[1]}
    if not trees.all_finite(variables):
        raise FloatingPointError(f"the classifier diverged with learning_rate={learning_rate}")
    return classifier_from(network, variables)


def shift_images(key: jax.Array, images: jax.Array, max_shift: int) -> jax.Array:
    """Shifts each image [B, H, W, C] by up to ±max_shift pixels in y and x; zeros come in."""
    if max_shift == 0:
        return images
    border = (max_shift, max_shift)
    padded = jnp.pad(images, ((0, 0), border, border, (0, 0)))
    corners = _draw(key, (len(images), 2), 2 * max_shift + 1)

    def crop(image, corner):
        return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), images.shape[1:])

    return jax.vmap(crop)(padded, corners)


def _draw(key: jax.Array, shape: tuple[int, ...], count: int) -> jax.Array:
    """Whole numbers in 0..count-1; compiles in half the time of `jax.random.randint`."""
    u = jax.random.uniform(key, shape)
    return jnp.minimum(
        (u * count).astype(jnp.int32), count - 1
    )  # the product can round up to count


def predict(classifier: Classifier, images: np.ndarray, *, batch_size: int = 512) -> np.ndarray:
    """Logits float32 [M, L] of images uint8 [M, H, W, C], computed `batch_size` at a time."""
    chex.assert_rank(images, 4)
    apply = jax.jit(classifier.apply)
    logits = []
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        missing = min(batch_size, len(images)) - len(batch)  # one shape, so one compilation
        padded = np.pad(batch, ((0, missing), (0, 0), (0, 0), (0, 0)))
        x = jnp.asarray(padded).astype(jnp.float32) / 255
        logits.append(np.asarray(apply(classifier.variables, x))[: len(batch)])
    return np.concatenate(logits)


def features(classifier: Classifier, x: jax.Array) -> jax.Array:
    """What the last dense layer of a classifier sees of images [B, H, W, C] in [0, 1]: [B, F]."""
    seen = []

    def watch(next_fn, args, kwargs, context):
        if isinstance(context.module, nn.Dense):
            seen.append(args[0])
        return next_fn(*args, **kwargs)

    with nn.intercept_methods(watch):
        classifier.apply(classifier.variables, x)
    return seen[-1]


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Share of the images whose largest logit [M, L] is that of their label [M]."""
    chex.assert_shape(labels, (len(logits),))
    return float(np.mean(np.argmax(logits, axis=1) == labels))


def class_embeddings(embeddings: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Mean embedding of each class, float64 [L, D], from embeddings [M, D] and labels int [M].

    Raises:
      ValueError: a class has no image.
    """
    chex.assert_shape(labels, (len(embeddings),))
    counts = np.bincount(labels, minlength=num_classes)
    if len(counts) > num_classes or not counts.all():
        raise ValueError(f"labels must hold all of 0..{num_classes - 1}; images a class: {counts}")
    sums = np.zeros((num_classes, embeddings.shape[1]))
    np.add.at(sums, labels, embeddings)
    return sums / counts[:, None]


def distance_matrix(embeddings: np.ndarray) -> np.ndarray:
    """Euclidean distances [L, L] between embeddings [L, D]; symmetric, zeros on the diagonal."""
    return np.stack([np.linalg.norm(embeddings - row, axis=1) for row in embeddings])


def farthest_classes(distances: np.ndarray, num_classes: int) -> tuple[int, ...]:
    """The K classes whose smallest pairwise distance is largest, in ascending order.

    Ties go to the larger sum of pairwise distances, then to the lexicographically first subset.
    Exact, by enumeration, up to `MAX_SUBSETS` subsets. Beyond that greedy: from the farthest pair,
    add the class farthest from the chosen ones, then swap a chosen class for another while that
    helps; for a metric, the smallest distance is at least half of the best possible one.
    Reference: Ravi, Rosenkrantz & Tayi 1994, "Heuristic and special case algorithms for dispersion
    problems" (the bound of the greedy choice; swaps only improve on it).

    Args:
      distances: [L, L], symmetric.
      num_classes: K, in 2..L.

    Raises:
      ValueError: K is out of range, or the distances are not a finite symmetric matrix.
    """
    distances = np.asarray(distances, np.float64)
    chex.assert_shape(distances, (len(distances), len(distances)))
    if not np.isfinite(distances).all() or not np.allclose(distances, distances.T):
        raise ValueError("distances must be finite and symmetric")
    total = len(distances)
    if not 2 <= num_classes <= total:
        raise ValueError(f"num_classes={num_classes} must lie in 2..{total}, the number of classes")
    score = partial(_dispersion, distances)
    if math.comb(total, num_classes) <= MAX_SUBSETS:
        return max(itertools.combinations(range(total), num_classes), key=score)  # first of equals
    chosen = max(itertools.combinations(range(total), 2), key=score)
    while len(chosen) < num_classes:
        rest = (c for c in range(total) if c not in chosen)
        chosen = max((tuple(sorted((*chosen, c))) for c in rest), key=score)
    while True:
        swaps = (
            tuple(sorted({*chosen, new} - {old}))
            for old in chosen
            for new in range(total)
            if new not in chosen
        )
        best = max(swaps, key=score)
        if score(best) <= score(chosen):
            return chosen
        chosen = best


def _dispersion(distances: np.ndarray, subset: Sequence[int]) -> tuple[float, float]:
    """(smallest, sum) of a subset's pairwise distances; fsum, so that equal sums stay equal."""
    pairs = [distances[i, j] for i, j in itertools.combinations(subset, 2)]
    return min(pairs), math.fsum(pairs)


def _check_labelled(images: np.ndarray, labels: np.ndarray) -> None:
    if images.dtype != np.uint8 or images.ndim != 4 or labels.shape != (len(images),):
        raise ValueError(
            f"images {images.dtype}{images.shape} and labels {labels.shape} "
            "must be uint8 [M, H, W, C] and [M]"
        )
    if len(images) == 0 or labels.min() < 0:
        raise ValueError("there must be images, and labels from 0 up")


CLASSIFIERS = {"resnet": ResNet, "mlp": MLPClassifier}
