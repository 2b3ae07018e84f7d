"""Variants that contradict each other are an error; those that agree give what their names say."""

import json
import re
import shlex
from functools import cache
from itertools import combinations
from pathlib import Path

import pytest
from blank_data import blank
from ml_collections import ConfigDict

from configs.variants import VariantError, entry_of
from experiments import setup
from experiments.settings import config_files, config_of, load_config, load_module
from experiments.setup import check, encoder_name

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _no_data(monkeypatch):
    monkeypatch.setattr(setup, "load_dataset", blank)


@cache
def variants(name: str):
    return load_module(f"configs/{name}.py").VARIANTS


NAMES = [Path(name).stem for name in config_files()]
PAIRS = [(name, *pair) for name in NAMES for pair in combinations(variants(name), 2)]


def in_order(name: str, *asked: str) -> ConfigDict:
    """The variants applied one after another, whatever they are declared to be."""
    config = load_config(f"configs/{name}.py")
    for variant in asked:
        entry_of(variants(name)[variant]).change(config)
    return config


@pytest.mark.parametrize(("name", "first", "second"), PAIRS)
def test_two_variants_agree_are_ordered_or_are_refused(name, first, second):
    entries = [entry_of(variants(name)[variant]) for variant in (first, second)]
    assert not entries[0].comes_after(second)  # the table's order is the declared one
    try:
        config = load_config(f"configs/{name}.py:{first},{second}")
    except VariantError as error:
        pattern = f"variants {first} and {second} contradict each other: they set [a-z_0-9.]+ to "
        assert re.search(pattern, str(error))
        return
    other = load_config(f"configs/{name}.py:{second},{first}")
    del config.name, other.name
    assert config == other
    if not entries[1].comes_after(first):
        one, two = in_order(name, first, second), in_order(name, second, first)
        assert one == two


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("digits.py:full,few", "mixtures.num to 20000 and 300"),
        ("mnist.py:large,shared", "mixtures.num to 12000 and 9000"),
        ("unseen.py:samples,reconstruction", r"matching.reads to \('samples',\) and \('recon"),
        ("unseen.py:cifar10,mnist", "data.name to 'mnist' and 'cifar10'"),
        ("omniglot.py:compare,seed", "objectives.triplet.options.margin to 4.0 and 1000.0"),
    ],
)
def test_a_contradiction_names_field_variants_and_values(path, field):
    with pytest.raises(VariantError, match=f"configs/{path}.*variants.*they set {field}"):
        load_config(f"configs/{path}")


@pytest.mark.parametrize(
    ("path", "num", "steps"),
    [
        # size of one variant, kind of the other
        ("mnist.py:large,ae", 12_000, 4_000),
        ("mnist.py:large,conv", 12_000, 4_000),
        ("mnist.py:shared,ae", 9_000, 1_000),
        ("mnist.py:large,compare", 12_000, None),
        ("cifar10.py:compare,small", 220, None),
        # as documented, and as they were
        ("mnist.py:ae", 2_100, 1_000),
        ("mnist.py:conv", 2_100, 1_000),
        ("mnist.py:ae,conv", 2_100, 1_000),
        ("mnist.py:shared", 9_000, 1_000),
        ("mnist.py:large,weights", 12_000, 4_000),
        ("mnist.py:ten,compare", 2_000, None),
        ("cifar10.py:shared,ae", 500, 1_000),
        ("digits.py:ae,few", 300, None),
        ("unseen.py:mnist,both", 1_300, None),
    ],
)
def test_variants_together_train_as_many_members_as_they_say(path, num, steps):
    config = load_config(f"configs/{path}")
    assert config.mixtures.num == num
    if steps:
        assert config.encoders.graph.train.steps == steps
    for variant, family in (("ae", "ae"), ("both", "vae")):
        if variant in re.split("[:,]", path):
            assert config.zoo.family.name == family


def test_variants_together_hold_together():
    for path in ("mnist.py:large,ae", "mnist.py:shared,ae", "cifar10.py:small,ae"):
        check(load_config(f"configs/{path}"))


def test_variants_keep_what_only_they_set():
    config = load_config("configs/mnist.py:ae,conv")
    assert config.zoo.family.to_dict() == {
        "name": "ae",
        "args": {"hidden": (8, 16), "latent": 8, "network": "conv"},
    }
    compared = load_config("configs/cifar10.py:compare,small")
    assert compared.data.size == 16 and compared.controls.num_samples == ()
    assert compared.encoders == load_config("configs/cifar10.py:compare").encoders
    weights = load_config("configs/mnist.py:compare,weights").encoders
    assert weights and not {e.representation for e in weights.values()} & {"samples", "member"}


def kept():
    for path in sorted((ROOT / "results").glob("*.json")):
        found = json.loads(path.read_text())
        if found.get("environment", {}).get("command", "").startswith("python -m experiments."):
            yield pytest.param(found, id=path.stem)


@pytest.mark.parametrize("found", list(kept()))
def test_the_commands_of_kept_results_still_mean_what_was_measured(found):
    _, _, _, *arguments = shlex.split(found["environment"]["command"])
    config = config_of(arguments)
    if "num_members" in found and "encoders" in found:
        num = config.mixtures.num + config.mixtures.num_triplets
        assert sum(found["num_members"].values()) + found["num_diverged"] in (
            num,
            config.mixtures.num,
        )
        assert found["family"] == config.zoo.family.name and found["init"] == config.zoo.init
        names = {encoder_name(entry) for entry in config.encoders.values()}
        assert {name for name in found["encoders"] if " + " not in name} <= names
    if "objectives" in found:
        assert {name.partition("/")[0] for name in found["objectives"]} == set(config.objectives)
