"""Contrastive training of an encoder on the represented members of a zoo."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from genvec import trees
from genvec.geometry import angle_deg
from genvec.keys import fold_in_step
from genvec.networks import initialise
from genvec.objectives import Objective
from genvec.represent import Features, Normaliser
from genvec.types import Array, NotFiniteError, Params

EVAL_WIDTH = 256  # members embedded at once outside of training


class Examples(NamedTuple):
    """Represented members and what their embeddings should be."""

    features: Features  # leading n
    targets: jax.Array  # [n, D] dataset vectors on the sphere
    member: Array | None = None  # [n] their numbers in the zoo, for messages; else their rows

    @property
    def names(self) -> np.ndarray:
        """By what a message calls them, [n]."""
        return np.arange(len(self.targets)) if self.member is None else np.asarray(self.member)


class TrainedEncoder(NamedTuple):
    """The parameters that did best on the validation members, and the way there."""

    params: Params
    log: list[dict[str, float]]  # step, loss, and the score on train and validation members


class _Carry(NamedTuple):
    params: Any
    average: Any  # exponential moving average, the parameters that are evaluated and kept
    opt_state: optax.OptState


def mean_angle(embeddings: jax.Array, targets: jax.Array) -> jax.Array:
    """The mean angle between embeddings and targets [n, D] in degrees."""
    return jnp.mean(angle_deg(embeddings, targets))


def train_encoder(
    key: jax.Array,
    encoder: nn.Module,
    objective: Objective,
    train: Examples,
    val: Examples,
    *,
    steps: int,
    batch_size: int = 64,
    learning_rate: float = 2e-3,
    weight_decay: float = 1e-2,
    average_decay: float = 0.995,
    eval_every: int = 200,
    keep_last: bool = False,
    prepare: Callable[[jax.Array | None, Features], Features] | None = None,
    score: Callable[[jax.Array, jax.Array], jax.Array] = mean_angle,
    score_name: str = "angle_deg",
    on_eval: Callable[[dict[str, float]], None] | None = None,
) -> TrainedEncoder:
    """AdamW with a cosine schedule; batches of members without replacement, epoch by epoch.

    Args:
      key: of the first parameters, the order of members and the augmentation.
      encoder: module for the features of ONE member.
      objective: (embeddings [B, D], targets [B, D]) → scalar.
      train, val: members to fit and members to choose the best step by (smallest score).
      steps: updates; the learning rate falls to zero over them.
      average_decay: of the moving average of the parameters; smaller in the first steps, so that
        the average forgets where it began.
      eval_every: updates in one jitted segment, after which the score is measured; it changes no
        batch and no augmentation.
      keep_last: return the last parameters, whatever their score.
      prepare: (key, what `Examples` hold of one member) → features for the encoder, to augment a
        member anew whenever it is drawn; without augmentation where the key is None.
      score: (embeddings of n members, their targets) → scalar, smaller is better.
      score_name: the log calls it `train_<name>` and `val_<name>`.
      on_eval: called with every row of the log.

    Raises:
      ValueError: there are no train or no validation members.
      NotFiniteError: features or targets are not finite, before anything is trained; or the loss,
        or a score, at some step. Names the members to look at.
    """
    _check("train", train)
    _check("validation", val)
    num, names, val_names = len(train.targets), train.names, val.names
    batch_size = min(batch_size, num)
    train, val = (jax.tree.map(jnp.asarray, x._replace(member=None)) for x in (train, val))
    key, init_key = jax.random.split(key)
    prepare = prepare or (lambda key, features: features)
    first = prepare(None, trees.take(train.features, 0))
    params: Any = initialise(encoder, init_key, first)
    warmup = min(200, steps // 10)
    schedule = optax.warmup_cosine_decay_schedule(0.0, learning_rate, warmup, max(steps, 1))
    tx = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=weight_decay)
    )

    def loss_fn(params, key, batch):
        features = jax.vmap(prepare)(jax.random.split(key, batch_size), batch.features)
        embeddings: Any = jax.vmap(partial(encoder.apply, params))(features)
        return objective(embeddings, batch.targets)

    def step_fn(train, carry, inputs):
        step, index, key = inputs
        loss, grads = jax.value_and_grad(loss_fn)(carry.params, key, trees.take(train, index))
        updates, opt_state = tx.update(grads, carry.opt_state, carry.params)
        params = optax.apply_updates(carry.params, updates)
        decay = jnp.minimum(average_decay, (1 + step) / (10 + step))
        average = optax.incremental_update(params, carry.average, 1 - decay)
        return _Carry(params, average, opt_state), loss

    @partial(jax.jit, donate_argnums=0)
    def run_segment(carry, train, start, index, key):  # a captured `train` would be copied
        steps = start + jnp.arange(len(index))
        inputs = steps, index, jax.vmap(partial(fold_in_step, key))(steps)
        return jax.lax.scan(partial(step_fn, train), carry, inputs)

    carry = _Carry(params, jax.tree.map(jnp.copy, params), tx.init(params))
    probe = jax.tree.map(lambda x: x[: len(val.targets)], train)  # as many train members as val
    best_score, best, log = np.inf, jax.device_get(params), []
    embed = make_embed_fn(encoder, prepare)

    def scored(name, params, examples, names):
        embeddings = embed(params, examples.features)
        found = float(score(embeddings, examples.targets))
        _check_score(f"{name} after step {start + len(index)}", found, embeddings, names)
        return found

    order = _epochs(np.random.default_rng(np.asarray(jax.random.bits(key, (4,)))), num, batch_size)
    for start in range(0, steps, eval_every):
        index = np.stack([next(order) for _ in range(min(eval_every, steps - start))])
        carry, losses = run_segment(carry, train, start, index, key)
        if bad := np.flatnonzero(~np.isfinite(losses)).tolist():
            raise NotFiniteError(
                f"loss not finite at step {start + bad[0]} with learning_rate={learning_rate}; "
                f"train members of that batch: {names[index[bad[0]]].tolist()}"
            )
        row = {
            "step": start + len(index),
            "loss": float(np.mean(losses)),
        }
        for kind, part, of in (("train", probe, names), ("val", val, val_names)):
            name = f"{kind}_{score_name}"
            row[name] = scored(name, carry.average, part, of[: len(part.targets)])
        log.append(row)
        if keep_last or row[f"val_{score_name}"] < best_score:
            best_score, best = row[f"val_{score_name}"], jax.device_get(carry.average)
        if on_eval is not None:
            on_eval(row)
    return TrainedEncoder(best, log)


def make_embed_fn(
    encoder: nn.Module, prepare: Callable[[None, Features], Features] | None = None
) -> Callable[[Params, Features], jax.Array]:
    """(params, features of n members) → embeddings [n, D], compiled once for each n."""

    def embed_one(params, features) -> Any:
        return encoder.apply(params, features if prepare is None else prepare(None, features))

    @jax.jit
    def embed(params, features):
        return jax.lax.map(partial(embed_one, params), features, batch_size=EVAL_WIDTH)

    return embed


def embed_represented(
    embed: Callable[[Params, Features], jax.Array],
    params: Params,
    normaliser: Normaliser,
    represented: Features,
) -> np.ndarray:
    """Embeddings [N, D] of N represented members; beside them there is no normalised copy of all.

    Args:
      embed: made by `make_embed_fn`.
    """
    starts = range(0, len(jax.tree.leaves(represented)[0]), 4 * EVAL_WIDTH)
    parts = (trees.take(represented, slice(i, i + 4 * EVAL_WIDTH)) for i in starts)
    return np.concatenate([embed(params, normaliser(part)) for part in parts])


def _check(kind: str, examples: Examples) -> None:
    """Raises ValueError where there are none, and NotFiniteError with the members that are not."""
    if not len(examples.targets):
        raise ValueError(f"there are no {kind} members; training needs at least one of each kind")
    for part, values in {"features": examples.features, "targets": examples.targets}.items():
        trees.check_finite(f"{part} of {kind} members", values, examples.names, unit="member")


def _check_score(name: str, found: float, embeddings: jax.Array, names: np.ndarray) -> None:
    """Raises NotFiniteError where a score is not, with the members [n] that make it so."""
    if not np.isfinite(found):
        what = f"{name} is {found}"
        trees.check_finite(f"{what}: embeddings", embeddings, names, unit="member")
        raise NotFiniteError(f"{what}, though all embeddings of {len(names)} members are finite")


def _epochs(rng: np.random.Generator, num: int, batch_size: int):
    """Endless batches of indices [B]; within an epoch no member comes twice."""
    while True:
        order = rng.permutation(num)
        yield from order[: num - num % batch_size].reshape(-1, batch_size)
