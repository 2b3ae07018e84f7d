"""The families experiment end to end, with three cells of a handful of members."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import genvec
from experiments import leave_out
from genvec.families import FAMILIES
from genvec.report import families_table
from genvec.symmetry import generator_part

ROOT = Path(__file__).parent.parent
PROMISED = {
    "fid",
    "fid_untrained",
    "wasserstein",
    "mode_coverage",
    "angle_deg_mean",
    "sampling512_angle_deg_mean",
    "leave_out_angle_deg_mean",
    "seconds_256_members",
}
CONFIG = """
from configs.families import get_config as families

def get_config():
    config = families("smoke")
    config.name = "three"
    config.zoo.cells = {
        name: {**config.zoo.cells[name].to_dict(), "steps": 10} for name in ("ae", "lsgan", "pca")
    }
    config.zoo.cells.lsgan.members = 40
    config.reads = {"default": ("moments",)}
    config.gallery.modes = ("lsgan",)
    config.leave_out.never = ("pca",)
    return config
"""


def run(script, workdir, *extra):
    command = [sys.executable, "-m", "experiments.families", f"--config={script}"]
    return subprocess.run(
        [*command, f"--workdir={workdir}", "--cpu_devices=2", *extra],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("families")
    script = folder / "three.py"
    script.write_text(CONFIG)
    done = run(script, folder / "run")
    assert done.returncode == 0, done.stderr[-3000:]
    return script, folder / "run", done


def test_every_cell_has_the_promised_numbers(finished):
    _, workdir, done = finished
    metrics = json.loads((workdir / "metrics.json").read_text())
    assert list(metrics["families"]) == ["ae", "lsgan", "pca"]
    for values in metrics["families"].values():
        assert set(values) >= PROMISED
        assert all(np.isfinite(values[name]) for name in PROMISED)
    assert families_table(metrics) in done.stdout
    assert "experiments.families" in metrics["environment"]["command"]


def test_a_cell_may_have_fewer_members_and_they_are_the_first_ones(finished):
    _, workdir, _ = finished
    cells = genvec.load_cells(workdir / "zoo")
    assert [len(zoo.members) for zoo in cells.values()] == [48, 40, 48]
    columns = ["member", "split", "mixture_1"]
    assert cells["lsgan"].members[columns].equals(cells["ae"].members[columns][:40])


def test_the_second_run_does_nothing_again(finished):
    script, workdir, _ = finished
    before = {path: path.stat().st_mtime_ns for path in workdir.rglob("*.npz")}
    metrics = json.loads((workdir / "metrics.json").read_text())
    done = run(script, workdir)
    assert done.returncode == 0, done.stderr[-3000:]
    assert {path: path.stat().st_mtime_ns for path in workdir.rglob("*.npz")} == before
    assert json.loads((workdir / "metrics.json").read_text())["families"] == metrics["families"]


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--config.zoo.cells.lsgan.members=99", "config.zoo.cells.lsgan: members is 99"),
        ("--config.zoo.cells.lsgan.steps=0", "config.zoo.cells.lsgan: steps is 0"),
    ],
)
def test_a_cell_that_cannot_be_is_named(finished, tmp_path, flag, message):
    script, *_ = finished
    done = run(script, tmp_path / "run", flag)
    assert done.returncode == 1
    assert re.search(message, done.stderr), done.stderr


def test_cells_are_stacked_where_their_parameters_have_one_shape():
    """The heads of `density` share a spec, which holds no windows, but not their shapes."""
    cells = {}
    for name, args in {
        "histogram": {},
        "mixture": {"head": "gaussian_mixture"},
        "again": {"hidden": (64,)},
    }.items():
        family = FAMILIES["density"]((2, 2, 1), **args)
        part = generator_part(family.spec)
        params, _ = jax.eval_shape(jax.vmap(family.init), jax.random.split(jax.random.key(0), 3))
        cells[name] = leave_out.Generators(
            part, part.take(params), None, np.ones((3, 2)), None, None
        )
    assert cells["histogram"].part.spec == cells["mixture"].part.spec
    folds, kinds = leave_out._encoders(cells, list(cells))
    assert kinds == {"histogram+again": ["histogram", "again"], "mixture": ["mixture"]}
    assert folds.num == 3
