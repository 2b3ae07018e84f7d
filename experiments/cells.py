"""What is written down of a cell before it is trained: its members, its plan, what made it."""

import importlib.metadata
import sys

import jax
import numpy as np
import pandas as pd

from genvec import trees
from genvec.store import (
    DamageError,
    StoreError,
    cell_paths,
    create_cell,
    differences,
    is_missing,
    read_json,
    read_manifest,
    read_members,
    verify_cell,
)
from genvec.symmetry import check_spec, spec_to_json
from genvec.zoo import Plan, Tuned, tune

SPEED = ("config.zoo.plan:", "config.zoo.width:")  # settings that change no member
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def prepare(path, name, cell, header, table, inputs, data) -> None:
    """Writes down what the cell is to be, or holds what is there against it.

    Raises:
      StoreError: what is there was made by another config, or draws other mixtures.
    """
    if not is_missing(path / "manifest.json"):
        damaged = verify_cell(path, repair=True)
        for number, reason in damaged.items():
            what = "what it is" if number < 0 else f"segment {number}"
            moved = f"(moved to {path / 'damaged'})"
            print(f"{name}: {what} is made again: {reason} {moved}", file=sys.stderr)
        if -1 not in damaged:
            _refuse_other_members(path, table)
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


def _refuse_other_members(path, table) -> None:
    """Members that are still to be trained must be those of the table on the disk."""
    there = read_members(path)
    columns = [name for name in table if name.startswith("mixture_")]
    same = len(there) == len(table) and set(columns) <= set(there)
    same = same and there["split"].tolist() == table["split"].tolist()
    if not same or not np.allclose(there[columns], table[columns], atol=1e-4):
        raise StoreError(
            f"{path} has members with other mixtures or splits than this config draws here: it was "
            "made by another version of genvec or JAX, or on another kind of machine; choose "
            "another folder"
        )


def hold_zoo(config, cells, run) -> None:
    """Holds the zoo in a run's folder, if any, against a config: it may have been copied in.

    Args:
      config: of the run.
      cells: name → `Cell`, what the config says that the zoo is.
      run: its folder. Where it has no config yet, each manifest must be whole, since nothing else
        tells what made the zoo; else a damaged one is left to the zoo's own stage.

    Raises:
      StoreError: another config made the zoo; the message shows what differs.
    """
    if is_missing(run.zoo / "manifest.json"):
        return
    try:
        paths = cell_paths(run.zoo)
        chosen = {} if is_missing(run.classes) else read_json(run.classes)
        classes = chosen.get("classes") if isinstance(chosen, dict) else None
        if lost := cells.keys() - paths.keys():
            raise StoreError(
                f"{run.zoo} has the cells {', '.join(paths)}, and none called "
                f"{', '.join(sorted(lost))}; choose another folder"
            )
        for name in cells:
            if not is_missing(paths[name] / "manifest.json"):
                there = read_manifest(paths[name])
                refuse_other_cell(paths[name], there, made_by(config, cells[name], classes))
    except DamageError:
        if is_missing(run.config):
            raise


def refuse_other_cell(path, there, asked) -> None:
    """Raises StoreError where a manifest tells of other settings than are asked for."""
    told = {name: there[name] for name in asked if name in there}  # earlier versions told less
    lines = differences(told, {name: asked[name] for name in told})
    if changed := [line for line in lines if not line.startswith(SPEED)]:
        raise StoreError(
            f"{path} was made by another config; choose another folder or undo:\n"
            + "\n".join(f"  {line}" for line in changed)
        )


def made_by(config, cell, classes) -> dict:
    """What a cell's members follow from, in plain values; classes may still be None: unknown."""
    values = {
        "family": cell.family.name,
        "architecture": cell.family.architecture,
        "dataset": config.data.name,
        "classes": classes,
        "seed": config.seed,
        "config": {"mixtures": config.mixtures.to_dict(), "zoo": cell.settings.to_dict()},
        "init": cell.settings.init,
        "segment_size": cell.settings.segment_size,
        "precision": cell.settings.precision,
    }
    return {name: value for name, value in values.items() if value is not None}


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
        **made_by(config, cell, classes),
        "spec": spec_to_json(cell.family.spec),
        "plan": plan.name,
        "vmap_width": plan.width,
        "trials": trials,
        "num_processes": jax.process_count(),
        "num_devices": jax.device_count(),
        "platform": jax.devices()[0].device_kind,
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
    }
