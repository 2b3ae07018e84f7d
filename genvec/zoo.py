"""The zoo: one pure function trains one member; its vmap trains the population."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from genvec.mixtures import MixtureData, draw_batch, to_unit
from genvec.trees import all_finite
from genvec.types import Family, HParams, Metrics, Params, Player, State

CURVE_POINTS = 32  # of a stored loss curve, whatever the number of steps


class MemberInputs(NamedTuple):
    """What tells one member from another; every leaf carries the leading axis N once stacked."""

    key: jax.Array  # of its batches and noise
    init_key: jax.Array  # of its first parameters: its own, or everybody's
    mixture: jax.Array  # [K] proportions
    hparams: HParams  # name → scalar


class Trained(NamedTuple):
    """One trained member."""

    params: Params
    state: State
    metrics: Metrics


def train_member(
    inputs: MemberInputs, data: MixtureData, *, family: Family, steps: int, batch_size: int
) -> Trained:
    """Trains ONE member on its own mixture: init, then `steps` steps of all players in a scan.

    The learning rate falls linearly to zero over the run, so that the last batches leave no more of
    a trace in the weights than the others.

    Args:
      inputs: of this member, unstacked.
      data: images to draw from, shared by all members.
      family, steps, batch_size: static.

    Returns:
      Parameters, state, and metrics: final losses and loss curves per player, the family's own
      metrics averaged over held-out images in the proportions of the mixture, and `finite`.
    """
    chex.assert_rank(inputs.mixture, 1)
    params, state = family.init(inputs.init_key)
    opt_states = {p.name: p.tx.init(_owned(params, p)) for p in family.players}

    def step_fn(carry, step):
        params, state, opt_states = carry
        decay = 1.0 - step / steps
        losses = {}
        for number, player in enumerate(family.players):
            for update in range(player.num_updates):
                key = jax.random.fold_in(inputs.key, step)
                key = jax.random.fold_in(key, number * 1000 + update)
                batch_key, loss_key = jax.random.split(key)
                batch = draw_batch(batch_key, inputs.mixture, data, batch_size)
                params, state, opt_state, loss = _update(
                    player, params, state, opt_states[player.name], loss_key, batch, inputs, decay
                )
                opt_states = {**opt_states, player.name: opt_state}
            losses[player.name] = loss
        return (params, state, opt_states), losses

    carry, losses = jax.lax.scan(step_fn, (params, state, opt_states), jnp.arange(steps))
    params, state, _ = carry
    metrics = _evaluate(family, params, state, inputs, data)
    for name, values in losses.items():
        points = min(CURVE_POINTS, steps)
        curve = values[: steps - steps % points].reshape(points, -1).mean(axis=1)
        metrics |= {f"{name}_loss_curve": curve, f"{name}_loss": curve[-1]}
    metrics["finite"] = all_finite((params, state, metrics))
    return Trained(params, state, metrics)


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
    owned = optax.apply_updates(owned, jax.tree.map(lambda u: -length * u, direction))
    if player.project_fn is not None:
        owned = player.project_fn(owned)
    return {**params, **owned}, state, opt_state, loss


def _evaluate(family, params, state, inputs, data) -> Metrics:
    """The family's per-image metrics on the held-out images, weighted to the member's mixture."""
    values = family.evaluate(
        params, state, inputs.key, to_unit(data.heldout_images), inputs.hparams
    )
    labels = jax.nn.one_hot(data.heldout_labels, inputs.mixture.shape[0])
    weight = labels @ (inputs.mixture / jnp.sum(labels, axis=0))
    return {name: jnp.dot(weight, value) for name, value in values.items()}
