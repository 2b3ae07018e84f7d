"""What is written down of a cell before it is trained: its members, its plan, what made it."""

import importlib.metadata
import sys

import jax
import numpy as np
import pandas as pd

from genvec import trees
from genvec.store import create_cell, verify_cell
from genvec.symmetry import check_spec, spec_to_json
from genvec.zoo import Plan, Tuned, tune

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def prepare(path, name, cell, header, table, inputs, data) -> None:
    """Writes down what the cell is to be, or holds what is there against it."""
    if (path / "manifest.json").exists():
        damaged = verify_cell(path)
        for number, reason in damaged.items():
            what = "what it is" if number < 0 else f"segment {number}"
            print(f"{name}: {what} is made again: {reason}", file=sys.stderr)
        if -1 not in damaged:
            return
    settings = cell.settings
    check_spec(cell.family.spec, cell.family.init(jax.random.key(0))[0])
    plan, trials = Plan(settings.plan, settings.width), []
    if settings.plan == "auto":
        share = len(table) // jax.process_count()
        args = {"num_members": share, "precision": settings.precision}
        tuned = tune(trees.take(inputs, slice(0, 256)), data, cell.task, **args)
        plan, trials = tuned.runner.plan, _report(name, tuned)
    create_cell(path, header(plan, trials), table)


def _report(name: str, tuned: Tuned) -> list[dict]:
    """Prints what the autotuner tried and chose; the same for the manifest."""
    rows = [{**t.plan._asdict(), "seconds": t.seconds, "cost_s": t.cost} for t in tuned.trials]
    for row in rows:
        speed = f"{row['seconds'] * 1e6:.4g} µs a step and member"
        print(f"{name}: {row['name']} × {row['width']}: {speed}")
    plan = tuned.runner.plan
    why = f"{sum(t.cost for t in tuned.trials):.0f} s of trials" if rows else "too short to tune"
    print(f"{name}: runs as {plan.name} × {plan.width} ({why})")
    return rows


def members_table(split, mixtures, classes) -> pd.DataFrame:
    """A row a mixture: split, triplet (−1 for none), proportions."""
    role, triplet = np.full(len(mixtures), "sum", object), np.full(len(mixtures), -1)
    for name in ("train", "val", "test"):
        role[getattr(split, name)] = name
    role[np.array(split.unseen, int)] = "unseen"
    for number, members in enumerate(split.triplets):
        triplet[members] = number
    columns = {"member": np.arange(len(mixtures)), "split": role, "triplet": triplet}
    columns |= {f"mixture_{name}": mixtures[:, k] for k, name in enumerate(classes)}
    return pd.DataFrame(columns)


def manifest(config, cell, classes, plan, trials) -> dict:
    """Everything that made the cell, in plain values."""
    return {
        "family": cell.family.name,
        "architecture": cell.family.architecture,
        "spec": spec_to_json(cell.family.spec),
        "dataset": config.data.name,
        "classes": classes,
        "seed": config.seed,
        "config": {"mixtures": config.mixtures.to_dict(), "zoo": cell.settings.to_dict()},
        "init": cell.settings.init,
        "segment_size": cell.settings.segment_size,
        "plan": plan.name,
        "vmap_width": plan.width,
        "trials": trials,
        "precision": cell.settings.precision,
        "num_processes": jax.process_count(),
        "num_devices": jax.device_count(),
        "platform": jax.devices()[0].device_kind,
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
    }
