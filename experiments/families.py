"""Every family at once: a cell each, how good it is, and what an encoder reads from its weights.

python -m experiments.families --config=configs/families.py [--workdir=DIR]
"""

from typing import Any

from ml_collections import ConfigDict

from experiments import (
    classes,
    controls,
    encoders,
    evaluate,
    gallery,
    hypernetwork,
    leave_out,
    quality,
    zoo,
)
from experiments.environment import environment
from experiments.errors import named_section
from experiments.gallery import check_gallery
from experiments.hypernetwork import check_hypernetwork
from experiments.leave_out import check_leave_out
from experiments.quality import check_quality
from experiments.settings import check_settings
from experiments.setup import Setup, check
from experiments.start import main
from genvec.registry import lookup
from genvec.report import families_table, write_gallery
from genvec.store import read_json, write_json


def run_stage(config, run) -> None:
    for stage in (classes, zoo, quality):
        stage.run_stage(config, run)
    for name, cell in check(config).cells.items():
        own = _read_cell(config, name, cell)
        for stage in (encoders, controls, evaluate):
            stage.run_stage(own, run.of_cell(name))
    leave_out.run_stage(config, run)
    if "vae" in config.zoo.cells:
        hypernetwork.run_stage(config, run)
    gallery.run_stage(config, run)
    write_json(run.metrics, summary(config, run))
    print(families_table(read_json(run.metrics)))
    print(f"\n{write_gallery(run)}")


def readers(config, name: str, cell) -> tuple[str, ...]:
    """The encoders of a cell: its own, or its family's, or those that suit the family's symmetry.

    Moments are over neurons that may be permuted. Of a family whose groups are all fixed they are
    its weights, one by one.
    """
    free = set(cell.family.spec.groups) - set(cell.family.spec.fixed)
    keys = (name, cell.family.name, "default" if free else "fixed")
    return next(config.reads[key] for key in keys if key in config.reads)


def _read_cell(config, name: str, cell) -> Any:
    """The config by which the encoders read one cell."""
    named = readers(config, name, cell)
    read_by = {reader: config.encoders[reader].to_dict() for reader in named}
    own: Any = ConfigDict({**config.to_dict(), "cell": name, "encoders": read_by})
    share = (cell.settings.members or config.mixtures.num) / config.mixtures.num
    for encoder in own.encoders.values():  # fewer members, fewer steps, but not below a third
        encoder.train.steps = round(encoder.train.steps * max(share, 1 / 3))
    return own


def check_families(config) -> Setup:
    """All that the stages need, cell by cell."""
    check_settings(config, "quality", "reads", "leave_out", "hypernetwork", "gallery")
    setup = check_quality(config)
    for check_section in (check_leave_out, check_gallery):
        check_section(config)
    if "vae" in setup.cells:
        check_hypernetwork(config)
    with named_section("config.reads"):
        families = {cell.family.name: None for cell in setup.cells.values()}
        known = {**setup.cells, **families, "default": None, "fixed": None}
        for name, keys in config.reads.items():
            lookup(known, name, kind="cell or family")
            for key in keys:
                lookup(config.encoders, key, kind="encoder")
            if not keys:
                raise ValueError(f"{name} is (); at least one encoder must read a cell")
    for name, cell in setup.cells.items():
        with named_section(f"cell {name}"):
            check(_read_cell(config, name, cell))
    return setup


def summary(config, run) -> dict:
    """Cell → every number of it, from what the stages wrote."""
    good, speed, left_out = read_json(run.quality), read_json(run.speed), read_json(run.leave_out)
    rows = {}
    for name, cell in check(config).cells.items():
        metrics = read_json(run.of_cell(name).metrics)
        best = metrics["encoders"][metrics["best_encoder"]]
        sampling = metrics["controls"]
        rows[name] = {
            "family": cell.family.name,
            "architecture": cell.family.architecture,
            **good[name],
            "num_members": metrics["num_members"],
            "num_diverged": metrics["num_diverged"],
            "reader": metrics["best_encoder"],
            "angle_deg_mean": best["angle_deg_mean"],
            "class_accuracy": best.get("class_accuracy"),
            "sampling512_class_accuracy": sampling["512 samples, calibrated"].get("class_accuracy"),
            "sampling512_angle_deg_mean": sampling["512 samples, raw"]["angle_deg_mean"],
            "sampling512_calibrated_angle_deg_mean": sampling["512 samples, calibrated"][
                "angle_deg_mean"
            ],
            "constant_angle_deg_mean": sampling["constant"]["angle_deg_mean"],
            **left_out[name],
            "seconds_256_members": speed[name]["seconds"] * 256 / speed[name]["members"],
        }
    return {
        "dataset": config.data.name,
        "classes": read_json(run.classes)["classes"],
        "families": rows,
        "hypernetwork": read_json(run.hypernetwork) if run.hypernetwork.exists() else None,
        "timings_s": read_json(run.timings),
        "environment": environment(),
    }


if __name__ == "__main__":
    main(run_stage, check_families)
