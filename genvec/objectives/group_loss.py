"""Group Loss: labels spread over a batch by the correlations of its embeddings."""

import jax
import jax.numpy as jnp

from genvec.objectives.contract import GroupBatch, GroupObjective, check_batch, normalise, nothing

LEAST_SUPPORT = 1e-6  # far below a correlation of 0.1 times a probability of one in a thousand


def group_loss(
    dimension: int,
    num_groups: int,
    *,
    num_anchors: int = 1,
    iterations: int = 2,
    temperature: float = 10.0,
) -> GroupObjective:
    """Mean of −log X_{i, own group} after rounds of X ← X ∘ (W X), rows scaled to sum one.

    X [B, G] begins as the softmax of a linear classifier; W [B, B] is max(0, Pearson correlation)
    of the embeddings with a zero diagonal. The first `num_anchors` objects of a group in batch
    order are anchors: their rows begin, and stay, one-hot at their group. They do not count in the
    mean; groups of anchors alone cost nothing, and a batch of anchors alone has loss 0. An object
    without positive correlations keeps its prior. The gradient flows through X and W.
    `embed` takes the mean over D off and scales to length one: cosines are then the correlations.
    Reference: Elezi et al. 2020, arXiv 1912.00385, section 3. Their code (dvl-tum/group_loss) takes
    one iteration, two or three anchors, temperatures of 24 to 79 for a pretrained network, leaves
    the diagonal of W at one, and adds a plain cross-entropy of the classifier.

    Args:
      dimension, num_groups: D, at least 2, and G.
      num_anchors: of each group in the batch; 0 for none.
      iterations: of the replicator dynamics; 0 leaves the cross-entropy of the classifier.
      temperature: what the classifier's logits are divided by. At 1 the classifier soon gives the
        labels by itself, and embeddings that do not correlate with their group stay as they are.

    Raises:
      ValueError: a dimension below 2, a negative number of anchors or iterations, or a temperature
        that is not positive.
    """
    if dimension < 2:
        raise ValueError(f"dimension is {dimension}; a correlation needs at least 2")
    for name, number in {"num_anchors": num_anchors, "iterations": iterations}.items():
        if number < 0:
            raise ValueError(f"{name} is {number}; it must not be negative")
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}; it must be positive")

    def init(key):
        weights = jax.random.normal(key, (num_groups, dimension)) / dimension**0.5
        return {"weights": weights, "bias": jnp.zeros(num_groups)}

    def loss(params, state, batch: GroupBatch):
        check_batch(batch, dimension)
        own = batch.group[:, None] == jnp.arange(num_groups)
        anchor = first_of_group(batch.group, num_anchors)
        logits = (batch.embeddings @ params["weights"].T + params["bias"]) / temperature
        one_hot = jnp.where(own, 0.0, -jnp.inf)
        log_x = jnp.where(anchor[:, None], one_hot, jax.nn.log_softmax(logits))

        directions = embed(params, batch.embeddings)
        similarity = jnp.maximum(0, directions @ directions.T)
        similarity = jnp.where(jnp.eye(len(similarity), dtype=bool), 0, similarity)
        log_x = replicator(log_x, similarity, iterations)
        found = jnp.take_along_axis(log_x, batch.group[:, None], axis=1)[:, 0]
        return -jnp.sum(jnp.where(anchor, 0, found)) / jnp.maximum(1, jnp.sum(~anchor)), state

    def embed(params, embeddings):
        del params
        return normalise(embeddings - jnp.mean(embeddings, axis=1, keepdims=True))

    return GroupObjective(init, nothing, loss, embed)


def first_of_group(group: jax.Array, num: int) -> jax.Array:
    """Whether an object is one of the first `num` of its group in the batch: [B] → bool [B]."""
    earlier = jnp.tril(group[:, None] == group, k=-1)
    return jnp.sum(earlier, axis=1) < num


def replicator(log_x: jax.Array, similarity: jax.Array, iterations: int) -> jax.Array:
    """log X [B, G] after `iterations` of X ← X ∘ (W X) / row sums, with W [B, B] non-negative.

    W X is kept off zero by `LEAST_SUPPORT`: a row without any support stays as it is, and a group
    without support gets a small probability, not log 0.
    """
    for _ in range(iterations):
        support = similarity @ jnp.exp(log_x)
        log_x = jax.nn.log_softmax(log_x + jnp.log(support + LEAST_SUPPORT), axis=1)
    return log_x
