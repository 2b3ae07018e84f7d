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
from experiments.setup import check
from experiments.start import main
from genvec.registry import lookup
from genvec.report import families_table, write_gallery
from genvec.store import read_json, write_json


def run_stage(config, run) -> None:
    for stage in (classes, zoo, quality):
        stage.run_stage(config, run)
    for name, cell in check(config).cells.items():
        own = _read_cell(config, name, cell.settings.members)
        for stage in (encoders, controls, evaluate):
            stage.run_stage(own, run.of_cell(name))
    leave_out.run_stage(config, run)
    if "vae" in config.zoo.cells:
        hypernetwork.run_stage(config, run)
    gallery.run_stage(config, run)
    write_json(run.metrics, summary(config, run))
    print(families_table(read_json(run.metrics)))
    print(f"\n{write_gallery(run)}")


def _read_cell(config, name: str, members: int) -> Any:
    """The config by which the encoders read one cell."""
    readers = config.reads.get(name, config.reads["default"])
    read_by = {reader: config.encoders[reader].to_dict() for reader in readers}
    own: Any = ConfigDict({**config.to_dict(), "cell": name, "encoders": read_by})
    share = (members or config.mixtures.num) / config.mixtures.num
    for encoder in own.encoders.values():  # fewer members, fewer steps, but not below a third
        encoder.train.steps = round(encoder.train.steps * max(share, 1 / 3))
    return own


def check_families(config) -> None:
    """All that the stages need, cell by cell."""
    check_settings(config, "quality", "reads", "leave_out", "hypernetwork", "gallery")
    for check_section in (check_quality, check_leave_out, check_gallery):
        setup = check_section(config)
    if "vae" in setup.cells:
        check_hypernetwork(config)
    with named_section("config.reads"):
        for name, readers in config.reads.items():
            lookup({**setup.cells, "default": None}, name, kind="cell")
            for reader in readers:
                lookup(config.encoders, reader, kind="encoder")
            if not readers:
                raise ValueError(f"{name} is (); at least one encoder must read a cell")
    for name, cell in setup.cells.items():
        with named_section(f"cell {name}"):
            check(_read_cell(config, name, cell.settings.members))


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
            "angle_deg_mean": best["angle_deg_mean"],
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
