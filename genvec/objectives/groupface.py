"""ArcFace on features to which learned latent groups of objects add their part."""

import jax
import jax.numpy as jnp

from genvec.objectives.arcface import CENTRE, arcface_logits, check_margin, cross_entropy
from genvec.objectives.contract import GroupBatch, GroupObjective, check_batch, normalise


def groupface(
    dimension: int,
    num_groups: int,
    *,
    num_latent: int = 8,
    scale: float = 16.0,
    margin: float = 0.3,
    weight: float = 0.1,
    momentum: float = 0.9,
) -> GroupObjective:
    """ArcFace of v̄ against the groups + weight · cross-entropy of p against latent labels.

    v̄ = v + Σ_k p(G_k|v) A_k v: the embedding v and its K linear maps A_k, weighted by the decision
    network p(G_k|v), three linear layers with relu between and a softmax. The latent label is the
    argmax over k of `self_distributed`, and has no gradient. The expectation E[p(G_k|v)] in it is
    a mean over the batches so far, this one included, kept in the state; it starts at 1/K.
    Latent groups have nothing to do with the G training groups.
    Reference: Kim et al. 2020, arXiv 2005.10497, eqs. 2, 3 (S-GroupFace) and 8, weight λ = 0.1; A_k
    act on the backbone's features there, before the instance layer, and K = 32.

    Args:
      dimension, num_groups: D and G.
      num_latent: K.
      scale, margin: of `arcface`.
      weight: λ, of the cross-entropy against the latent labels.
      momentum: the share of the old expectation in the new one; 0 is the mean of this batch alone.

    Raises:
      ValueError: num_latent below 2, a negative weight, a momentum outside of [0, 1), or a scale
        or margin that `arcface` refuses.
    """
    check_margin(scale, margin)
    if num_latent < 2:
        raise ValueError(f"num_latent is {num_latent}; it must be at least 2")
    if not weight >= 0:
        raise ValueError(f"weight is {weight}; it must not be negative")
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum is {momentum}; it must be in [0, 1)")
    shapes = {
        "centres": (num_groups, dimension),
        "maps": (num_latent, dimension, dimension),
        "hidden": (2, dimension, dimension),
        "decision": (dimension, num_latent),
    }

    def init(key):
        keys = jax.random.split(key, len(shapes))
        drawn = {
            name: jax.random.normal(key, shape)
            for key, (name, shape) in zip(keys, shapes.items(), strict=True)
        }
        # so that a layer keeps the size of what it is given
        return {
            "centres": CENTRE * drawn["centres"],
            "maps": drawn["maps"] / dimension**0.5,
            "hidden": drawn["hidden"] * (2 / dimension) ** 0.5,
            "decision": drawn["decision"] / dimension**0.5,
        }

    def start():
        return {"expectation": jnp.full(num_latent, 1 / num_latent)}

    def loss(params, state, batch: GroupBatch):
        check_batch(batch, dimension)
        logits = decision_logits(params, batch.embeddings)
        p = jax.lax.stop_gradient(jax.nn.softmax(logits))
        expectation = momentum * state["expectation"] + (1 - momentum) * jnp.mean(p, axis=0)
        latent = jnp.argmax(self_distributed(p, expectation), axis=1)

        cosines = embed(params, batch.embeddings) @ normalise(params["centres"]).T
        identity = arcface_logits(cosines, batch.group, scale=scale, margin=margin)
        total = cross_entropy(identity, batch.group) + weight * cross_entropy(logits, latent)
        return total, {"expectation": expectation}

    def embed(params, embeddings):
        p = jax.nn.softmax(decision_logits(params, embeddings))
        parts = jnp.einsum("kij,bj->bki", params["maps"], embeddings)
        return normalise(embeddings + jnp.sum(p[:, :, None] * parts, axis=1))

    return GroupObjective(init, start, loss, embed)


def decision_logits(params, embeddings: jax.Array) -> jax.Array:
    """What the softmax of the decision network is given: [B, D] → [B, K]."""
    h = embeddings
    for layer in params["hidden"]:
        h = jax.nn.relu(h @ layer)
    return h @ params["decision"]


def self_distributed(p: jax.Array, expectation: jax.Array) -> jax.Array:
    """p̃(G_k|x) = (p(G_k|x) − E_x[p(G_k|x)]) / K + 1/K: [B, K], and E [K] over objects → [B, K].

    Its mean over objects is 1/K for every k: no latent group is favoured.
    """
    num_latent = len(expectation)
    return (p - expectation) / num_latent + 1 / num_latent
