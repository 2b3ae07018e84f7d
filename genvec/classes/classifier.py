"""Classifiers of images: trained here, so that features and counts need nothing from elsewhere."""

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
from genvec.images import in_batches
from genvec.networks import MLPClassifier, ResNet, initialise
from genvec.registry import lookup
from genvec.types import NotFiniteError
from genvec.validity import check_images, check_labels


class Classifier(NamedTuple):
    """A trained classifier: arrays, and the pure function that they complete."""

    variables: Mapping[str, Any]  # "params" and, with batch norm, "batch_stats"
    # (variables, x [B, H, W, C] in [0, 1]) → logits [B, L]
    apply: Callable[[Mapping[str, Any], jax.Array], jax.Array]


class Training(NamedTuple):
    """A classifier on its way: all that training goes on from."""

    step: int  # updates done
    params: Any
    statistics: Any  # the collections beside the parameters, such as "batch_stats"
    opt_state: optax.OptState


def adamw(learning_rate: float, weight_decay: float, num_steps: int) -> Any:
    """AdamW; cosine learning rate from the first step to 0."""
    schedule = optax.cosine_decay_schedule(learning_rate, num_steps)
    return optax.adamw(schedule, weight_decay=weight_decay)


def sgd(learning_rate: float, weight_decay: float, num_steps: int) -> Any:
    """Nesterov momentum 0.9, decay added to the gradient; a warm-up over a tenth, cosine to 0.

    Reference: He et al. 2015, arXiv 1512.03385, section 4.2, but for the schedule.
    """
    schedule = optax.warmup_cosine_decay_schedule(0.0, learning_rate, num_steps // 10, num_steps)
    return optax.chain(
        optax.add_decayed_weights(weight_decay), optax.sgd(schedule, momentum=0.9, nesterov=True)
    )


OPTIMISERS = {"adamw": adamw, "sgd": sgd}


def classifier_from(network: nn.Module, variables: Mapping[str, Any]) -> Classifier:
    """The classifier that `variables` (read from disk, for example) make of a `network`."""

    def apply(variables: Mapping[str, Any], x: jax.Array) -> Any:
        return network.apply(variables, x)

    return Classifier(variables, apply)


def only_classes(classifier: Classifier, indices: Sequence[int]) -> Classifier:
    """The same classifier told that no other classes are possible: logits [B, len(indices)]."""
    columns = jnp.asarray(indices)
    return classifier._replace(
        apply=lambda variables, x: classifier.apply(variables, x)[:, columns]
    )


def train_classifier(
    key: jax.Array,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    network: nn.Module,
    num_steps: int,
    batch_size: int = 128,
    optimiser: str = "adamw",
    learning_rate: float = 3e-3,
    weight_decay: float = 1e-4,
    max_shift: int = 1,
    mirror: bool = False,
    resume: Callable[[Training], Training] | None = None,
    on_step: Callable[[Training, jax.Array], object] | None = None,
) -> Classifier:
    """Trains a network to tell classes apart by cross entropy.

    Step t draws its batch with replacement and changes every image by `fold_in(key, t)`, so that a
    training that was interrupted ends where it would have.

    Args:
      key: a `jax.random.key`.
      images: uint8 [M, H, W, C]; kept on the device as they are.
      labels: int [M] in 0..L-1.
      network: x [B, H, W, C] in [0, 1] → logits [B, L]; see `CLASSIFIERS`.
      num_steps: updates.
      batch_size: images an update.
      optimiser: one of `OPTIMISERS`.
      learning_rate: the largest of its schedule.
      weight_decay: He et al. 2015, section 4.2, use 1e-4.
      max_shift: images are shifted by up to so many pixels in y and x, zeros come in; 0 for none.
      mirror: half of the images are flipped, left to right.
      resume: start → where to go on from, of the same structure.
      on_step: called after each update with (what there is now, loss). The loss is a scalar on the
        device: reading it waits for the update.

    Raises:
      ValueError: images and labels do not fit each other or the network.
      NotFiniteError: training diverged.
    """
    check_images(images, "images to train on")
    if not len(images):
        raise ValueError("there are no images to train on")
    data, target = jnp.asarray(images), jnp.asarray(labels, jnp.int32)
    init_key, step_key = jax.random.split(key)
    x = jnp.zeros((1, *images.shape[1:]))
    variables = initialise(network, init_key, x)
    tx = lookup(OPTIMISERS, optimiser, kind="optimiser")(learning_rate, weight_decay, num_steps)
    num_classes = jax.eval_shape(network.apply, variables, x).shape[-1]
    check_labels(labels, len(images), num_classes, "images to train on")

    def loss_fn(params, statistics, x, label):
        logits, statistics = network.apply(
            {"params": params, **statistics}, x, mutable=list(statistics)
        )
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, label).mean()
        return loss, statistics

    @jax.jit
    def update(state, step, images, labels):
        params, statistics, opt_state = state
        draw_key, change_key = jax.random.split(jax.random.fold_in(step_key, step))
        index = _draw(draw_key, (batch_size,), len(images))
        x = shift_images(change_key, images[index], max_shift)
        x = mirror_images(jax.random.fold_in(change_key, 1), x) if mirror else x
        grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
        x = x.astype(jnp.float32) / 255
        (loss, statistics), grads = grad_fn(params, statistics, x, labels[index])
        updates, opt_state = tx.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), statistics, opt_state), loss

    params = variables["params"]
    statistics = {name: value for name, value in variables.items() if name != "params"}
    training = Training(0, params, statistics, tx.init(params))
    training = training if resume is None else resume(training)
    # a loop over dispatched steps: inside lax.scan convolutions lose their fast path on the CPU
    for step in range(training.step, num_steps):
        state, loss = update(training[1:], step, data, target)
        training = Training(step + 1, *state)
        if on_step is not None:
            on_step(training, loss)
    variables = {"params": training.params, **training.statistics}
    if not trees.all_finite(variables):
        raise NotFiniteError(f"the classifier diverged with learning_rate={learning_rate}")
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


def mirror_images(key: jax.Array, images: jax.Array) -> jax.Array:
    """Flips each image [B, H, W, C] left to right with probability ½."""
    flipped = jax.random.bernoulli(key, 0.5, (len(images), 1, 1, 1))
    return jnp.where(flipped, images[:, :, ::-1], images)


def _draw(key: jax.Array, shape: tuple[int, ...], count: int) -> jax.Array:
    """Whole numbers in 0..count-1; compiles in half the time of `jax.random.randint`."""
    u = jax.random.uniform(key, shape)
    return jnp.minimum(
        (u * count).astype(jnp.int32), count - 1
    )  # the product can round up to count


def predict(classifier: Classifier, images: np.ndarray, *, batch_size: int = 512) -> np.ndarray:
    """Logits float32 [M, L] of images uint8 [M, H, W, C], computed `batch_size` at a time."""
    chex.assert_rank(images, 4)

    @jax.jit
    def logits(variables, x):
        return classifier.apply(variables, x.astype(jnp.float32) / 255)

    return in_batches(partial(logits, classifier.variables), images, batch_size=batch_size)


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
    """Share of the images whose largest logit [M, L] is that of their label [M].

    Raises:
      ValueError: there are no images, or labels that are no integers in 0..L-1.
    """
    if not len(logits):
        raise ValueError("there are no images to measure an accuracy on")
    check_labels(labels, len(logits), logits.shape[1], "images to measure an accuracy on")
    return float(np.mean(np.argmax(logits, axis=1) == labels))


CLASSIFIERS = {"resnet": ResNet, "mlp": MLPClassifier}
