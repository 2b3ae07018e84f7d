"""Instance discrimination: an object's two views against all other objects."""

import jax
import jax.numpy as jnp

from genvec.objectives.contract import GroupBatch, GroupObjective, check_batch, normalise, nothing


def info_nce(dimension: int, num_groups: int, *, temperature: float = 0.1) -> GroupObjective:
    """Mean of −log softmax of cos(x_i, y_j) / temperature at j = i, over both directions.

    x_i and y_i are two views of object i; the groups are not read.
    Reference: van den Oord et al. 2018, arXiv 1807.03748, eq. 4, for two views of an instance; both
    directions as in Radford et al. 2021, arXiv 2103.00020, section 2.3.

    Args:
      dimension, num_groups: D and G.
      temperature: what cosines are divided by.

    Raises:
      ValueError: a temperature that is not positive.
    """
    del num_groups
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}; it must be positive")

    def loss(params, state, batch: GroupBatch):
        check_batch(batch, dimension, two_views=True)
        logits = normalise(batch.embeddings) @ normalise(batch.second).T / temperature
        there, back = (jnp.diagonal(jax.nn.log_softmax(logits, axis=axis)) for axis in (0, 1))
        return -jnp.mean(there + back) / 2, state

    return GroupObjective(nothing, nothing, loss, lambda params, x: normalise(x), two_views=True)
