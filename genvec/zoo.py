"""The zoo: one pure function trains one member; its vmap trains the population."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, PartitionSpec

from genvec import trees
from genvec.mixtures import MixtureData, draw_batch, to_unit
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
        losses: dict[str, jax.Array] = {}
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
    metrics["finite"] = trees.all_finite((params, state, metrics))
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
    owned: Any = optax.apply_updates(owned, jax.tree.map(lambda u: -length * u, direction))
    if player.project_fn is not None:
        owned = player.project_fn(owned)
    return {**params, **owned}, state, opt_state, loss


def _evaluate(family: Family, params, state, inputs, data) -> Metrics:
    """The family's per-image metrics on the held-out images, weighted to the member's mixture."""
    values = family.evaluate(
        params, state, inputs.key, to_unit(data.heldout_images), inputs.hparams
    )
    labels = jax.nn.one_hot(data.heldout_labels, inputs.mixture.shape[0])
    weight = labels @ (inputs.mixture / jnp.sum(labels, axis=0))
    return {name: jnp.dot(weight, value) for name, value in values.items()}


def member_inputs(
    key: jax.Array,
    mixtures: jax.Array | np.ndarray,
    family: Family,
    *,
    init: str,
    hparams: Mapping[str, float | Sequence[float]],
) -> MemberInputs:
    """Inputs of N members; those of member i depend on the key and i, never on N.

    Args:
      key: of the zoo.
      mixtures: [N, K] proportions.
      family: whose defaults `hparams` may override.
      init: "independent" (each member its own first parameters) or "shared" (all start from one).
      hparams: name → one value for all, or (low, high) to draw each member's log-uniformly.

    Raises:
      ValueError: an unknown init or hyper-parameter, or a range that is none.
    """
    check_hparams(family, init=init, hparams=hparams)
    num = len(mixtures)
    train_key, init_key, hparam_key = jax.random.split(key, 3)
    init_keys = fold_in_each(init_key, num)
    columns = {}
    for number, name in enumerate(sorted(family.hparams)):
        low, high = _range(name, hparams.get(name, family.hparams[name]))
        u = jax.vmap(jax.random.uniform)(fold_in_each(jax.random.fold_in(hparam_key, number), num))
        columns[name] = low * (high / low) ** u if high > low else jnp.full(num, low)
    return MemberInputs(
        key=fold_in_each(train_key, num),
        init_key=jnp.broadcast_to(init_key, num) if init == "shared" else init_keys,
        mixture=jnp.asarray(mixtures, jnp.float32),
        hparams=columns,
    )


def check_hparams(
    family: Family, *, init: str, hparams: Mapping[str, float | Sequence[float]]
) -> None:
    """Raises the errors of `member_inputs`, before there is anything to train."""
    if init not in ("independent", "shared"):
        raise ValueError(f"unknown init {init!r}; known: independent, shared")
    if unknown := set(hparams) - set(family.hparams):
        known = ", ".join(sorted(family.hparams))
        raise ValueError(f"{family.name} has no hyper-parameter {sorted(unknown)}; known: {known}")
    for name, value in hparams.items():
        _range(name, value)


def fold_in_each(key: jax.Array, num: int) -> jax.Array:
    """Keys [num]; key i is `fold_in(key, i)`."""
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(num))


def _range(name: str, value: float | Sequence[float]) -> tuple[float, float]:
    low, high = value if isinstance(value, Sequence) else (value, value)
    if low < 0 or high < low or (low == 0 and high > 0):
        raise ValueError(f"hyper-parameter {name} is {value}; give a number ≥ 0 or 0 < low ≤ high")
    return float(low), float(high)


def train_zoo(
    inputs: MemberInputs,
    data: MixtureData,
    segments: Mapping[int, slice],
    on_segment: Callable[[int, Trained], None],
    *,
    family: Family,
    steps: int,
    batch_size: int,
    width: int,
) -> None:
    """Trains the members of `segments`, and hands each finished segment over.

    Every device takes an equal part of a segment and runs it `width` members at a time: small
    widths stay in a CPU's cache. A member's bits depend on the width (to about 3e-7), not on the
    segment it came in nor on the number of devices.

    Args:
      inputs: of all N members.
      data: images to draw from.
      segments: number → consecutive members; one compilation serves them all.
      on_segment: called with (number, members as numpy arrays with leading axis n).
      family, steps, batch_size: as in `train_member`.
      width: members in one vmap.
    """
    if not segments:
        return
    train_fn = partial(train_member, family=family, steps=steps, batch_size=batch_size)

    def train_part(inputs, data):
        return jax.lax.map(lambda member: train_fn(member, data), inputs, batch_size=width)

    members = PartitionSpec("members")
    mesh = jax.make_mesh((jax.device_count(),), ("members",), axis_types=(AxisType.Auto,))
    # check_vma is off: zeros made inside the scan are replicated, what they become is not
    train_fn_of_all = jax.jit(
        jax.shard_map(
            train_part,
            mesh=mesh,
            in_specs=(members, PartitionSpec()),
            out_specs=members,
            check_vma=False,
        )
    )
    whole = width * jax.device_count()
    longest = max(rows.stop - rows.start for rows in segments.values())
    padded = -(-longest // whole) * whole
    for number, rows in segments.items():
        # a short segment repeats its last member, so that all segments have one shape
        index = np.minimum(rows.start + np.arange(padded), rows.stop - 1)
        trained = jax.device_get(train_fn_of_all(trees.take(inputs, index), data))
        on_segment(number, trees.take(trained, slice(0, rows.stop - rows.start)))
