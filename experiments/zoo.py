"""Stage 2: sample the mixtures and train the zoo, going on where an earlier run stopped."""

import importlib.metadata

import jax
import numpy as np
import pandas as pd

from experiments.common import bar, check, clock, main, mixture_data, stream
from genvec.mixtures import sample_mixtures, triplet_mixtures
from genvec.store import (
    complete_zoo,
    create_zoo,
    missing_segments,
    read_json,
    read_manifest,
    segment_rows,
    write_segment,
)
from genvec.symmetry import check_spec, spec_to_json
from genvec.zoo import member_inputs, train_zoo

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def run_stage(config, run) -> None:
    setup, chosen = check(config), read_json(run.classes)
    parts = sample_mixtures(
        stream(config, "mixtures"),
        config.mixtures.num,
        len(chosen["classes"]),
        config.mixtures.alpha,
    )
    mixtures = np.asarray(parts)
    mixtures = np.concatenate([mixtures, triplet_mixtures(mixtures, setup.split.triplets)])
    inputs = member_inputs(
        stream(config, "zoo"),
        mixtures,
        setup.family,
        init=config.zoo.init,
        hparams=config.zoo.hparams.to_dict(),
    )
    if not (run.zoo / "manifest.json").exists():
        check_spec(setup.family.spec, setup.family.init(jax.random.key(0))[0])
        table = members_table(setup.split, mixtures, chosen["classes"], inputs.hparams)
        create_zoo(run.zoo, manifest(config, setup.family, chosen["classes"]), table)
    header = read_manifest(run.zoo)
    if header["complete"]:
        return
    rows = segment_rows(header)
    segments = {number: rows[number] for number in missing_segments(run.zoo)}
    done = len(mixtures) - sum(part.stop - part.start for part in segments.values())
    with clock(run, "zoo"), bar(len(mixtures), "zoo", "member", done) as progress:

        def on_segment(number, trained):
            write_segment(run.zoo, number, trained)
            progress.update(len(trained.metrics["finite"]))

        train_zoo(
            inputs,
            mixture_data(setup.dataset, run),
            segments,
            on_segment,
            family=setup.family,
            steps=config.zoo.steps,
            batch_size=config.zoo.batch_size,
            width=config.zoo.width,
        )
        complete_zoo(run.zoo)


def members_table(split, mixtures, classes, hparams) -> pd.DataFrame:
    """A row a member: split, triplet (−1 for none), mixture, hyper-parameters."""
    role, triplet = np.full(len(mixtures), "sum", object), np.full(len(mixtures), -1)
    for name in ("train", "val", "test"):
        role[getattr(split, name)] = name
    for number, members in enumerate(split.triplets):
        triplet[members] = number
    columns = {"member": np.arange(len(mixtures)), "split": role, "triplet": triplet}
    columns |= {f"mixture_{name}": mixtures[:, k] for k, name in enumerate(classes)}
    return pd.DataFrame(columns | {name: np.asarray(value) for name, value in hparams.items()})


def manifest(config, family, classes) -> dict:
    """Everything that made the zoo, in plain values."""
    return {
        "family": family.name,
        "architecture": family.architecture,
        "spec": spec_to_json(family.spec),
        "dataset": config.data.name,
        "classes": classes,
        "seed": config.seed,
        "config": {"mixtures": config.mixtures.to_dict(), "zoo": config.zoo.to_dict()},
        "init": config.zoo.init,
        "segment_size": config.zoo.segment_size,
        "vmap_width": config.zoo.width,
        "num_devices": jax.device_count(),
        "platform": jax.devices()[0].device_kind,
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


if __name__ == "__main__":
    main(run_stage)
