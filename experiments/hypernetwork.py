"""How near the members that a hypernetwork writes come to members that were trained.

One `hyper_vae` learns from the uniform mixture; for the mixtures of test members of the cell `vae`
it writes a VAE each, which meets the same held-out images as the trained member.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from experiments.checks import check_fields
from experiments.classes import load_counter
from experiments.common import clock, mixture_data, stream
from experiments.done import is_done
from experiments.encoders import mixtures
from experiments.errors import named_section
from experiments.settings import check_settings
from experiments.setup import check
from experiments.start import main
from genvec import trees
from genvec.families import FAMILIES
from genvec.families.hyper_vae import write_member
from genvec.mixtures import heldout_weights, to_unit
from genvec.quality import class_shares
from genvec.registry import lookup
from genvec.store import load_zoo, read_json, write_json
from genvec.types import NotFiniteError
from genvec.zoo import Task, member_inputs, train_member

NUM_SAMPLES = 2_000  # of each member, to count its classes


def run_stage(config, run) -> None:
    """Writes the mean ELBO in nats and the error of the class shares, written and trained."""
    if is_done(run, run.hypernetwork):
        return
    setup = check(config)
    target, settings = setup.cells["vae"].family, config.hypernetwork
    data, classes = mixture_data(setup.dataset, run), read_json(run.classes)["classes"]
    own = {k: v for k, v in target.architecture.items() if k in ("image_shape", "hidden", "latent")}
    family = FAMILIES["hyper_vae"](num_classes=len(classes), **own)
    with clock(run, "hypernetwork"):
        key = jax.random.fold_in(stream(config, "zoo"), 2**31 - 1)  # no member's
        uniform = np.full((1, len(classes)), 1 / len(classes))
        inputs = member_inputs(key, uniform, family, init="independent", hparams={})
        task = Task(family, settings.steps, config.zoo.batch_size)
        train_fn = jax.jit(partial(train_member, task=task))
        hyper = train_fn(trees.take(inputs, 0), data)
        if not hyper.metrics["finite"]:
            raise NotFiniteError(f"the hypernetwork diverged: {dict(family.hparams)}")

        zoo = load_zoo(run.zoo, cell="vae", split="test", finite_only=True)
        rows = np.arange(min(settings.num_members, len(zoo.members)))
        d = jnp.asarray(mixtures(zoo)[rows], jnp.float32)
        written = jax.vmap(partial(write_member, family, hyper.params))(d)
        anyone = jnp.full_like(d, 1 / len(classes))  # the control: one member for all mixtures
        members = {
            "trained": trees.take(zoo.params, rows),
            "written": written,
            "uniform": jax.vmap(partial(write_member, family, hyper.params))(anyone),
        }
        measure = _measure(config, target, data, load_counter(config, run))
        found = {name: jax.device_get(measure(params, d)) for name, params in members.items()}
    gap = found["trained"][0] - found["written"][0]
    write_json(
        run.hypernetwork,
        {
            "num_mixtures": len(rows),
            "steps": settings.steps,
            "gap_nats_mean": float(gap.mean()),
            "gap_nats_worst": float(gap.max()),
            **{f"elbo_{name}": float(elbo.mean()) for name, (elbo, _) in found.items()},
            **{f"share_error_{name}": float(error.mean()) for name, (_, error) in found.items()},
        },
    )


def _measure(config, target, data, classifier):
    """(params of n VAEs, mixtures [n, K]) → ELBO on held-out images and mean |share − d|, [n]."""
    x, hparams = to_unit(data.heldout_images), jax.tree.map(jnp.asarray, dict(target.hparams))
    elbo_key, sample_key = jax.random.split(stream(config, "evaluate"))

    @jax.jit
    @jax.vmap
    def measure(params, d):
        values = target.evaluate(params, {}, elbo_key, x, hparams)["elbo"]
        images = target.sample(params, {}, sample_key, NUM_SAMPLES)
        shares = class_shares(classifier.apply(classifier.variables, images))
        weight = heldout_weights(d, data.heldout_labels)
        return jnp.dot(weight, values), jnp.mean(jnp.abs(shares - d))

    return measure


def check_hypernetwork(config):
    """The config's setup, its section for this script checked as well."""
    check_settings(config, "hypernetwork")
    setup = check(config)
    with named_section("config.hypernetwork"):
        check_fields(config.hypernetwork, "steps", "num_members")
        if lookup(setup.cells, "vae", kind="cell").family.name != "vae":
            raise ValueError("the cell vae holds no VAEs, which the hypernetwork writes")
    return setup


if __name__ == "__main__":
    main(run_stage, check_hypernetwork)
