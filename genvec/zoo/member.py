"""One member: start, step, finish. All that is trained here is trained by these three."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from genvec import trees
from genvec.mixtures import MixtureData, draw_batch, heldout_weights, to_unit
from genvec.types import Family, Metrics, Params, Player, State
from genvec.zoo.inputs import MemberInputs

CURVE_POINTS = 32  # of a stored loss curve, whatever the number of steps
EVALUATED = 128  # held-out images at once, few enough for a CPU's cache


class Task(NamedTuple):
    """What is the same for all members of a cell; static in every program."""

    family: Family
    steps: int
    batch_size: int


class Carry(NamedTuple):
    """A member in training."""

    params: Params
    state: State
    opt_states: Any  # player → optimiser state
    curves: dict[str, jax.Array]  # player → sums of its losses [points]


class Trained(NamedTuple):
    """One trained member."""

    params: Params
    state: State
    metrics: Metrics


def train_member(inputs: MemberInputs, data: MixtureData, task: Task) -> Trained:
    """Trains ONE member on its own mixture: init, then all steps of all players in a loop.

    The learning rate falls linearly to zero over the run, so that the last batches leave no more of
    a trace in the weights than the others.

    Args:
      inputs: of this member, unstacked.
      data: images to draw from, shared by all members.

    Returns:
      Parameters, state, and metrics: final losses and loss curves per player, the family's own
      metrics averaged over held-out images in the proportions of the mixture, and `finite`:
      whether parameters, state and losses are. A member that has diverged is not.
    """
    carry = start_member(inputs, task)
    carry = jax.lax.fori_loop(
        0, task.steps, lambda i, c: step_member(c, i, inputs, data, task), carry
    )
    return finish_member(carry, inputs, data, task)


def start_member(inputs: MemberInputs, task: Task) -> Carry:
    """First parameters and optimiser states."""
    chex.assert_rank(inputs.mixture, 1)
    params, state = task.family.init(inputs.init_key)
    players = task.family.players
    return Carry(
        params,
        state,
        {p.name: p.tx.init(_owned(params, p)) for p in players},
        {p.name: jnp.zeros(_curve(task)[0]) for p in players},
    )


def step_member(
    carry: Carry, step: jax.Array | int, inputs: MemberInputs, data: MixtureData, task: Task
) -> Carry:
    """One step of all players; its random numbers depend on the member's key and `step` alone."""
    params, state, opt_states, curves = carry
    _, length = _curve(task)
    decay = 1.0 - step / task.steps
    for number, player in enumerate(task.family.players):
        for update in range(player.num_updates):
            key = jax.random.fold_in(inputs.key, step)
            key = jax.random.fold_in(key, number * 1000 + update)
            batch_key, loss_key = jax.random.split(key)
            batch = draw_batch(batch_key, inputs.mixture, data, task.batch_size)
            params, state, opt_state, loss = _update(
                player, params, state, opt_states[player.name], loss_key, batch, inputs, decay
            )
            opt_states = {**opt_states, player.name: opt_state}
        # the few steps that are left over after the last whole point are in no point
        curve = curves[player.name].at[step // length].add(loss, mode="drop")
        curves = {**curves, player.name: curve}
    return Carry(params, state, opt_states, curves)


def finish_member(carry: Carry, inputs: MemberInputs, data: MixtureData, task: Task) -> Trained:
    """Metrics of the member as it now is."""
    params, state = carry.params, carry.state
    metrics, losses = _evaluate(task.family, params, state, inputs, data), {}
    for name, sums in carry.curves.items():
        curve = sums / _curve(task)[1]
        losses |= {f"{name}_loss_curve": curve, f"{name}_loss": curve[-1]}
    # not of the family's metrics: one that cannot be computed is NaN, and the member is kept
    finite = trees.all_finite((params, state, losses))
    metrics |= {**losses, "finite": finite}
    return Trained(params, state, metrics)


def _curve(task: Task) -> tuple[int, int]:
    """Points of a loss curve, and how many steps each is the mean of."""
    points = min(CURVE_POINTS, task.steps)
    return points, task.steps // points


def _owned(params: Params, player: Player) -> Params:
    return {name: params[name] for name in player.owns}


def _update(player, params, state, opt_state, key, batch, inputs, decay):
    """One update of one player; the other players' parameters stand still."""

    def loss_fn(owned):
        return player.loss_fn({**params, **owned}, state, key, batch, inputs.hparams)

    owned = _owned(params, player)
    (loss, state), grads = jax.value_and_grad(loss_fn, has_aux=True)(owned)
    direction, opt_state = player.tx.update(grads, opt_state, owned)
    length = inputs.hparams[player.learning_rate] * decay
    owned: Any = optax.apply_updates(owned, jax.tree.map(lambda u: -length * u, direction))
    if player.project_fn is not None:
        owned = player.project_fn(owned)
    return {**params, **owned}, state, opt_state, loss


def _evaluate(family: Family, params, state, inputs, data) -> Metrics:
    """The family's per-image metrics on the held-out images, weighted to the member's mixture.

    Classes without held-out images are left out; NaN where the mixture has no other.
    """

    def values_of(part, images):
        key = jax.random.fold_in(inputs.key, part)
        return family.evaluate(params, state, key, to_unit(images), inputs.hparams)

    images = data.heldout_images
    num = len(images) // EVALUATED
    parts, rest = jnp.split(images, [num * EVALUATED])
    parts = parts.reshape(num, EVALUATED, *images.shape[1:])
    found = jax.lax.map(lambda x: values_of(*x), (jnp.arange(num), parts))
    values = {name: value.reshape(-1) for name, value in found.items()}
    if len(rest):
        last = values_of(num, rest)
        values = {name: jnp.concatenate([value, last[name]]) for name, value in values.items()}
    weight = heldout_weights(inputs.mixture, data.heldout_labels)
    return {name: jnp.dot(weight, value) for name, value in values.items()}
