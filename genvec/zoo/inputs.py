"""What tells one member of a zoo from another: keys, mixture, hyper-parameters."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genvec.arguments import is_number
from genvec.keys import fold_in_each, fold_in_name
from genvec.types import Family, HParams

# Hyper-parameters once had the numbers of their places among a family's, sorted. Those of then keep
# them, and so what is drawn for them; any other has the number of its name.
_ADVERSARIAL = ("critic_learning_rate", "instance_noise", "learning_rate", "stage_steps")
_LOSSES = ("cgan", "minimax", "non_saturating", "lsgan", "lsgan_pearson", "wgan")
SORTED: Mapping[str, tuple[str, ...]] = {
    "aae": ("adversarial", "critic_learning_rate", "learning_rate"),
    "ae": ("learning_rate",),
    "bayesian_pca": ("learning_rate", "num_images"),
    "contractive_ae": ("contraction", "learning_rate"),
    "denoising_ae": ("learning_rate", "noise"),
    "density": ("learning_rate",),
    "hyper_vae": ("learning_rate",),
    "inr": ("learning_rate",),
    "mad_gan": ("critic_learning_rate", "instance_noise", "learning_rate"),
    "pca": ("learning_rate",),
    "ppca": ("learning_rate",),
    "sparse_ae": ("learning_rate", "sparsity"),
    "vae": ("beta", "learning_rate", "sigma"),
    "wae": ("divergence", "learning_rate"),
    "wgan_gp": tuple(sorted((*_ADVERSARIAL, "gradient_penalty"))),
    **dict.fromkeys(_LOSSES, _ADVERSARIAL),
}


class MemberInputs(NamedTuple):
    """Of one member; every leaf carries the leading axis N once stacked."""

    key: jax.Array  # of its batches and noise
    init_key: jax.Array  # of its first parameters: its own, or everybody's
    mixture: jax.Array  # [K] proportions
    hparams: HParams  # name → scalar


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
    members = jnp.arange(num)
    init_keys = fold_in_each(init_key, members)
    kept = {name: number for number, name in enumerate(SORTED.get(family.name, ()))}
    columns = {}
    for name in sorted(family.hparams):
        low, high = _range(name, hparams.get(name, family.hparams[name]))
        own_key = fold_in_name(hparam_key, name, kept)
        u = jax.vmap(jax.random.uniform)(fold_in_each(own_key, members))
        columns[name] = low * (high / low) ** u if high > low else jnp.full(num, low)
    return MemberInputs(
        key=fold_in_each(train_key, members),
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


def _range(name: str, value: float | Sequence[float]) -> tuple[float, float]:
    ends = tuple(value) if isinstance(value, Sequence) else (value, value)
    fit = len(ends) == 2 and all(map(is_number, ends)) and 0 <= ends[0] <= ends[1]
    if not fit or (ends[0] == 0 and ends[1] > 0):
        raise ValueError(f"hyper-parameter {name} is {value}; give a number ≥ 0 or 0 < low ≤ high")
    return float(ends[0]), float(ends[1])
