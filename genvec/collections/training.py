"""Training an encoder of objects by their groups: P groups a step, K objects of each."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.errors import ScopeParamShapeError

from genvec import trees
from genvec.collections.data import Collections, Members, check_sizes, members_of
from genvec.images import in_batches
from genvec.networks import ConvEmbedder, EfficientNet, ResNet, initialise
from genvec.objectives import GroupBatch, GroupObjective
from genvec.types import NotFiniteError

REGROUP_OBJECTS = 2_048  # embedded anew for the groups of an objective that clusters


class Training(NamedTuple):
    """An encoder of objects on its way: all that training goes on from."""

    step: int  # updates done
    params: Any  # {"network", "objective"}
    statistics: Any  # the network's collections beside its parameters, such as "batch_stats"
    state: Any  # the objective's
    opt_state: optax.OptState


class ObjectEncoder(NamedTuple):
    """A trained network of objects, and what its objective learned."""

    variables: Mapping[str, Any]  # of the network
    objective: Mapping[str, Any]  # parameters of the objective


def train_objects(
    key: jax.Array,
    network: nn.Module,
    objective: GroupObjective,
    collections: Collections,
    *,
    steps: int,
    groups: int,
    objects: int,
    learning_rate: float = 2e-3,
    weight_decay: float = 1e-4,
    warp: float = 1.0,
    resume: Callable[[Training], Training] | None = None,
    on_step: Callable[[Training, jax.Array], object] | None = None,
) -> ObjectEncoder:
    """AdamW with a cosine schedule on batches of P groups × K objects, drawn without replacement.

    What step t draws depends on the key and t alone, so that a training that was interrupted ends
    where it would have. An objective of two views gets each object twice, differently warped.

    Args:
      key: a `jax.random.key`.
      network: x [B, H, W, C] in [0, 1] → [B, D]; see `OBJECT_NETWORKS`.
      objective: from `make_group_objective`, for D and the groups of `collections`.
      collections: to learn from; see `turned` for the rotations as classes of their own.
      steps: updates.
      groups, objects: P and K.
      learning_rate: the largest of its schedule.
      weight_decay: of the network and of the objective's parameters.
      warp: how much each drawing is changed; 0 for not at all, see `warp_images`.
      resume: start → where to go on from, of the same structure.
      on_step: called after each update with (what there is now, loss), see `train_classifier`.

    Raises:
      ValueError: fewer than P groups, or a group with fewer than K objects; the message names it.
      NotFiniteError: training diverged, or objects embed as numbers that are not finite.
    """
    check_sizes(collections, objects, f"a batch of {objects} objects a group")
    if not 1 <= groups <= len(collections.group_names):
        raise ValueError(
            f"a batch of {groups} groups; allowed: 1..{len(collections.group_names)}, all there are"
        )
    init_key, objective_key, step_key, regroup_key = jax.random.split(key, 4)
    variables = initialise(network, init_key, jnp.zeros((1, *collections.images.shape[1:])))
    params = {"network": variables["params"], "objective": objective.init(objective_key)}
    statistics = {name: value for name, value in variables.items() if name != "params"}
    schedule = optax.warmup_cosine_decay_schedule(0.0, learning_rate, steps // 20, steps)
    tx = optax.adamw(schedule, weight_decay=weight_decay)
    members = members_of(collections)
    data = jnp.asarray(collections.images)

    def loss_fn(params, statistics, state, x, group, key):
        embeddings, statistics = network.apply(
            {"params": params["network"], **statistics},
            x,
            mutable=list(statistics),
            rngs={"dropout": key},
        )
        first, *second = jnp.split(embeddings, len(x) // len(group))
        batch = GroupBatch(first, group, *second)
        loss, state = objective.loss(params["objective"], state, batch)
        return loss, (statistics, jax.lax.stop_gradient(state))

    @jax.jit
    def update(training, data):
        step, params, statistics, state, opt_state = training
        draw_key, warp_key, drop_key = jax.random.split(jax.random.fold_in(step_key, step), 3)
        index, group = draw_objects(draw_key, members, groups, objects)
        x = data[jnp.tile(index, 2 if objective.two_views else 1)].astype(jnp.float32) / 255
        x = warp_images(warp_key, x, warp) if warp > 0 else x
        grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
        (loss, aux), grads = grad_fn(params, statistics, state, x, group, drop_key)
        updates, opt_state = tx.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        return Training(step + 1, params, aux[0], aux[1], opt_state), loss

    embed = object_embedder(network, objective)
    cluster: Any = objective.regroup and jax.jit(objective.regroup)

    def regroup(training):
        """With the state of an objective that clusters made anew, from objects as they lie now."""
        draw_key, cluster_key = jax.random.split(jax.random.fold_in(regroup_key, training.step))
        num = min(REGROUP_OBJECTS, len(collections.images))
        index = jax.random.choice(draw_key, len(collections.images), (num,), replace=False)
        drawn = embed(_encoder(training), collections.images[np.asarray(index)])
        what = f"vectors of objects at step {training.step}"
        trees.check_finite(what, drawn, index, unit="object")
        state = cluster(training.state, cluster_key, jnp.asarray(drawn))
        return training._replace(state=state)

    training = Training(0, params, statistics, objective.start(), tx.init(params))
    training = training if resume is None else resume(training)
    for step in range(training.step, steps):  # not lax.scan, see `train_classifier`
        if cluster is not None and step % objective.regroup_every == 0:
            training = regroup(training)
        training, loss = update(training, data)
        if on_step is not None:
            on_step(training, loss)
    if not trees.all_finite((training.params, training.statistics, training.state)):
        raise NotFiniteError(f"the encoder diverged with learning_rate={learning_rate}")
    return _encoder(training)


def draw_objects(
    key: jax.Array, members: Members, groups: int, objects: int
) -> tuple[jax.Array, jax.Array]:
    """P different groups and K different objects of each: index and group, int [P·K]."""
    group_key, object_key = jax.random.split(key)
    index, mask = jnp.asarray(members.index), jnp.asarray(members.mask)
    _, group = jax.lax.top_k(jax.random.uniform(group_key, (len(index),)), groups)
    order = jnp.where(mask[group], jax.random.uniform(object_key, mask[group].shape), -1.0)
    _, place = jax.lax.top_k(order, objects)
    return jnp.take_along_axis(index[group], place, axis=1).ravel(), jnp.repeat(group, objects)


def warp_images(key: jax.Array, x: jax.Array, strength: float) -> jax.Array:
    """Each image [B, H, W, C] under a random affine map; linear interpolation, zeros come in.

    At strength 1: turned by up to 10°, sheared by up to 0.15, each side scaled by 0.85 to 1.15 and
    shifted by up to 7 % of the height.
    """
    num, height, width, _ = x.shape
    limits = jnp.array([jnp.pi / 18, 0.15, 0.15, 0.15, 0.07 * height, 0.07 * height]) * strength
    turn, shear, *scale, down, right = (jax.random.uniform(key, (num, 6), minval=-1.0) * limits).T
    cos, sin, zero, one = jnp.cos(turn), jnp.sin(turn), jnp.zeros(num), jnp.ones(num)
    turned = jnp.stack([jnp.stack([cos, -sin], -1), jnp.stack([sin, cos], -1)], 1)
    sheared = jnp.stack([jnp.stack([one, shear], -1), jnp.stack([zero, one], -1)], 1)
    scaled = jnp.stack([1 + scale[0], 1 + scale[1]], -1)
    linear = (turned @ sheared) * scaled[:, None]  # [B, 2, 2], of the target's places
    centre = jnp.array([(height - 1) / 2, (width - 1) / 2])
    grid = jnp.stack(jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij"), -1)
    shift = jnp.stack([down, right], -1)
    places = jnp.einsum("bij,hwj->bihw", linear, grid - centre)
    places += (centre + shift)[:, :, None, None]
    sample = partial(jax.scipy.ndimage.map_coordinates, order=1, mode="constant")
    of_channels = jax.vmap(sample, in_axes=(2, None), out_axes=2)
    return jax.vmap(lambda image, place: of_channels(image, list(place)))(x, places)


def object_embedder(
    network: nn.Module, objective: GroupObjective
) -> Callable[[ObjectEncoder, np.ndarray], np.ndarray]:
    """(encoder, images uint8 [M, H, W, C]) → vectors float32 [M, D'], for Euclidean distances.

    It raises ValueError for images of another shape than the encoder was trained on, as far as
    the parameters tell: always for another number of channels.
    """

    @jax.jit
    def embed(encoder, x):
        embeddings: Any = network.apply(encoder.variables, x.astype(jnp.float32) / 255)
        return objective.embed(encoder.objective, embeddings)

    def embed_all(encoder, images):
        try:
            return in_batches(partial(embed, encoder), images)
        except ScopeParamShapeError as error:
            shape = " × ".join(map(str, images.shape[1:]))
            raise ValueError(f"images of {shape} do not fit the encoder: {error}") from None

    return embed_all


def _encoder(training: Training) -> ObjectEncoder:
    params = training.params
    return ObjectEncoder({"params": params["network"], **training.statistics}, params["objective"])


OBJECT_NETWORKS: Mapping[str, Callable[..., nn.Module]] = {
    "conv": ConvEmbedder,
    "resnet": ResNet,
    "efficientnet": EfficientNet,
}
