"""Collections end to end, on digits: train, aggregate, bound, report; and what is refused."""

import json
import math
import os
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import script

from configs.collections_digits import get_config as digits
from configs.omniglot import get_config
from experiments.embed_collections import check
from genvec.collections import AGGREGATIONS, BOUNDS
from genvec.objectives import GROUP_OBJECTIVES

KEYS = {
    "retrieval_r1",
    "retrieval_mrr",
    "one_shot_20way",
    "within_character",
    "within_alphabet",
    "between_alphabets",
}
# one that learns nothing itself, one with parameters and state, one that clusters
KEPT = ("triplet_semi_hard", "groupface", "collection_item")
CONFIG = f"""
from configs.collections_digits import get_config as digits

def get_config():
    config = digits("compare,smoke")
    config.objectives = {{name: config.objectives[name] for name in {KEPT}}}
    return config
"""
TRAIN = "objectives.triplet_semi_hard.train"


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("collections")
    (folder / "config.py").write_text(CONFIG)
    command = (f"--config={folder / 'config.py'}", f"--workdir={folder / 'run'}")
    result = script("embed_collections", *command)
    assert result.returncode == 0, result.stderr[-3000:]
    return folder / "run", result.stdout, command


def test_every_objective_is_compared():
    objectives = get_config("compare").objectives
    assert {entry.objective for entry in objectives.values()} == set(GROUP_OBJECTIVES)


@pytest.mark.parametrize("variant", ["", "compare", "seed", "validate", "smoke"])
def test_variants_of_the_digits_fit_them(variant):
    setup = check(digits(variant))
    classes = "45" if variant == "validate" else "6789"  # those of evaluation are left alone
    assert "".join(setup.unseen.class_names) == classes


def test_objectives_with_every_aggregation(compared):
    run, printed, _ = compared
    metrics = json.loads((run / "metrics.json").read_text())
    names = {name.split("/")[0] for name in metrics["objectives"]}
    assert names == set(KEPT)
    assert len(metrics["objectives"]) == len(names) * len(AGGREGATIONS)
    for values in metrics["objectives"].values():
        assert KEYS | {f"{key}_std" for key in KEYS} <= set(values)
        assert all(math.isfinite(value) for value in values.values())
    assert set(metrics["controls"]) == {"pixels", "pca", "untrained"}
    assert set(metrics["bounds"]) == set(BOUNDS)
    assert all(values["violations"] == 0 for values in metrics["bounds"].values())
    assert all(f"{name}/" in printed for name in names)
    page = (run / "report.html").read_text()
    assert "groupface" in page and "wasserstein" in page


def test_a_finished_run_is_only_shown_again(compared):
    run, printed, command = compared
    before = (run / "metrics.json").stat().st_mtime
    result = script("embed_collections", *command)
    assert result.returncode == 0 and result.stdout == printed
    assert (run / "metrics.json").stat().st_mtime == before


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"data.size": 9}, "config.data: size is 9; images of 8 × 8"),
        ({"data.name": "letters"}, "unknown set of collections 'letters'; known: digits, omniglot"),
        ({"data.validation": 5}, "5 classes to validate on; allowed: 2..4"),
        ({"network.name": "mlp"}, "config.network: unknown network of objects 'mlp'"),
        ({f"{TRAIN}.objects": 30}, "semi_hard: group '1 by hands 2' has 20 objects; a batch needs"),
        ({f"{TRAIN}.groups": 999}, "groups is 999; allowed: 1..208"),
        ({"evaluate.ways": 99}, "config.evaluate: ways is 99; there are 34 groups"),
        ({"evaluate.shown": "mse"}, "unknown objective of this config 'mse'"),
    ],
)
def test_bad_settings_are_named(override, message):
    config = digits("smoke")
    config.update_from_flattened_dict(override)
    with pytest.raises((KeyError, ValueError), match=re.escape(message)):
        check(config)


def test_bad_settings_are_refused_before_any_compute(tmp_path):
    result = script(
        "embed_collections",
        "--config=configs/collections_digits.py:smoke",
        f"--workdir={tmp_path / 'run'}",
        "--config.evaluate.ways=99",
    )
    assert result.returncode == 1 and result.stderr.count("error:") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(
    not (Path(os.environ.get("TFDS_DATA_DIR", "")) / "omniglot").exists(),
    reason="needs Omniglot, prepared by TFDS, in TFDS_DATA_DIR",
)
def test_omniglot_is_what_it_is_said_to_be():
    from genvec.collections import load_collections, members_of

    known, unseen = load_collections("omniglot", size=28)
    assert (len(known.group_names), len(known.class_names)) == (964, 30)
    assert (len(unseen.group_names), len(unseen.class_names)) == (659, 20)
    assert not set(known.class_names) & set(unseen.class_names)
    assert set(np.concatenate([members_of(c).sizes for c in (known, unseen)])) == {20}
    assert known.images.mean() < 64  # ink on 0
