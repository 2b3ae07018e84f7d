"""Learning to pool: the two halves of a group should get the same vector."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from genvec import trees
from genvec.collections.aggregate import Aggregation
from genvec.collections.data import Members
from genvec.geometry import to_sphere
from genvec.objectives import n_pair
from genvec.types import NotFiniteError

# Of the N-pair loss. At 0.1 it rewards what moves groups further apart that are told apart already.
TEMPERATURE = 0.01


def train_pooling(
    key: jax.Array,
    aggregation: Aggregation,
    x: np.ndarray,
    members: Members,
    *,
    steps: int,
    groups: int = 64,
    learning_rate: float = 3e-3,
) -> Mapping[str, Any]:
    """What an aggregation learns on embedded objects x [M, D] of training groups; {} for nothing.

    Adam on the N-pair loss between the directions of the vectors of two halves of each group,
    which are drawn anew in every step.

    Raises:
      NotFiniteError: objects that are not finite, by their rows; or training diverged.
      ValueError: a group of one object, which has no two halves.
    """
    if aggregation.init is None:
        return {}
    trees.check_finite("vectors of objects", x, unit="object")
    if len(small := np.flatnonzero(members.sizes < 2)):
        raise ValueError(
            f"{trees.named('group', small)} of {len(members.sizes)} has fewer than two objects; "
            "pooling is learned from the two halves of each group"
        )
    grouped, mask = jnp.asarray(x[members.index]), jnp.asarray(members.mask)
    groups = min(groups, len(mask))
    start = aggregation.init(key, x.shape[1])
    fixed = {"scale": jnp.sqrt(jnp.mean(jnp.asarray(x) ** 2))} if "scale" in start else {}
    params = {name: value for name, value in start.items() if name not in fixed}
    tx = optax.adam(learning_rate)
    pool = jax.vmap(aggregation.fn, (None, 0, 0))

    def loss_fn(params, key):
        group_key, half_key = jax.random.split(key)
        _, rows = jax.lax.top_k(jax.random.uniform(group_key, (len(mask),)), groups)
        order = jnp.where(mask[rows], jax.random.uniform(half_key, mask[rows].shape), -1.0)
        rank = jnp.argsort(jnp.argsort(-order, axis=1), axis=1)
        first = rank < mask[rows].sum(axis=1, keepdims=True) // 2
        halves = (first, mask[rows] & ~first)
        ours, theirs = (to_sphere(pool({**params, **fixed}, grouped[rows], h)) for h in halves)
        return n_pair(ours, theirs, temperature=TEMPERATURE)

    def step_fn(carry, key):
        params, opt_state = carry
        loss, grads = jax.value_and_grad(loss_fn)(params, key)
        updates, opt_state = tx.update(grads, opt_state)
        return (optax.apply_updates(params, updates), opt_state), loss

    @jax.jit
    def run(params):
        keys = jax.random.split(key, steps)
        return jax.lax.scan(step_fn, (params, tx.init(params)), keys)[0][0]

    learned = {**run(params), **fixed}
    if not trees.all_finite(learned):
        raise NotFiniteError(f"pooling diverged with learning_rate={learning_rate}")
    return learned
