"""Mistakes with flags are one clear message before any compute; our own bugs keep a traceback."""

import re

import jax
import pytest
from blank_data import blank

from configs.variants import entry_of
from experiments import setup, start
from experiments.embed_collections import check as check_collections
from experiments.errors import USER_ERRORS, ConfigError
from experiments.families import check_families
from experiments.gallery import check_gallery
from experiments.leave_out import check_leave_out
from experiments.matching import check_matching
from experiments.quality import check_quality
from experiments.settings import (
    config_files,
    config_of,
    load_config,
    load_module,
    override,
    split_flags,
)
from experiments.setup import check
from experiments.usage import usage

DIGITS = "configs/digits.py:smoke"


@pytest.fixture(autouse=True)
def _no_data(monkeypatch):
    monkeypatch.setattr(setup, "load_dataset", blank)


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("zoo.hparams.learning_rate=(1e-3,1e-2)", (1e-3, 1e-2)),
        ("zoo.hparams.learning_rate=1", 1.0),
        ("zoo.hparams.sigma=0.2", 0.2),
        ("encoders.graph.train.learning_rate=(1e-3,3e-3)", (1e-3, 3e-3)),
        ("encoders.graph.train.learning_rate=(1,)", (1.0,)),
        ("encoders.graph.train.learning_rate=1e-3,3e-3", (1e-3, 3e-3)),
        ("encoders.graph.train.weight_decay=1", 1.0),
        ("encoders.graph.encoder.args.width=16", 16),
        ("encoders.graph.objective.n_pair.temperature=1", 1.0),
        ("encoders.graph.seeds=3", (3,)),
        ("zoo.family.args.network=conv", "conv"),
        ("zoo.family.args.hidden=(16,8)", (16, 8)),
        ("data.size=6", 6),
        ("controls.features=flat,moments", ("flat", "moments")),
        ("controls.features=('flat',)", ("flat",)),
        ("controls.num_samples=(10_000,)", (10_000,)),
        ("classes.choose=1,4,5", "1,4,5"),
        ("ensembles.both=(graph,moments)", ("graph", "moments")),
        ("quick_compile=false", False),
        ("mixtures.alpha=1", 1.0),
    ],
)
def test_a_setting_is_given_as_a_flag(flag, value):
    config = config_of([f"--config={DIGITS}", f"--config.{flag}"])
    for name in flag.partition("=")[0].split("."):
        config = config[name]
    assert config == value and type(config) is type(value)


def test_a_setting_may_stand_apart_and_the_last_one_counts():
    arguments = [
        "--config.seed",
        "3",
        "--noconfig.quick_compile",
        "--config.seed",
        "4",
        "--cpu_devices=1",
    ]
    rest, settings = split_flags(arguments)
    assert rest == ["--cpu_devices=1"]
    assert settings == {"quick_compile": "false", "seed": "4"}
    assert split_flags(["--config.seed", "-1"])[1] == {"seed": "-1"}


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("zoo.step=50", "config.zoo has no setting 'step'; nearest: steps; known: batch_size, ce"),
        ("stepz=5", "config has no setting 'stepz'; known: cell, classes"),
        ("batch_size=5", "nearest: encoders.graph.train.batch_size, "),
        ("zoo.famly.name=ae", "config.zoo has no setting 'famly'; nearest: family"),
        ("zoo.family.args.hiden=(3,)", "nearest: hidden; known: hidden, latent, likelihood, net"),
        ("encoders.graph.encoder.args.hidden=(3,)", "known: readout, rounds, width"),
        ("encoders.graf.seeds=(1,)", "has no setting 'graf'; nearest: graph"),
        ("seed.x=1", "config.seed is 0, and no section"),
        ("zoo.steps=abc", "--config.zoo.steps is 'abc'; allowed: a whole number"),
        ("zoo.steps=5.5", "--config.zoo.steps is '5.5'; allowed: a whole number"),
        ("encoders.graph.seeds=(1.5,)", "is '(1.5,)'; allowed: a tuple of whole numbers"),
        ("zoo.hparams.beta=()", "allowed: a number, or a tuple of numbers"),
        ("quick_compile=maybe", "allowed: true or false"),
        ("zoo={'steps':4}", "config.zoo lacks batch_size, cells, family"),
        ("mixtures.alpha=nan", "config.mixtures.alpha is nan; allowed: finite numbers"),
        ("zoo.hparams.learning_rate=(1e-3,inf)", "config.zoo.hparams.learning_rate is (0.001, inf"),
        ("report.scale=1", "config.report has no setting 'scale'; known: num_samples"),
        ("zoo.family.args.hidden=(0,)", "config.zoo: hidden is (0,); allowed: a tuple of whole po"),
        ("zoo.family.args.hidden=(-3,)", "config.zoo: hidden is (-3,); allowed"),
        ("zoo.family.args.latent=0", "config.zoo: latent is 0; allowed: a whole number, 1 or more"),
        ("zoo.hparams.learning_rate=(1,2,3)", "learning_rate is (1.0, 2.0, 3.0); give a number"),
        ("zoo.members=3", "members is 3, of which 3/0/0 are train/val/test members"),
        ("encoders.graph.encoder.name=mlp", "'mlp' reads a vector, and the representation 'graph'"),
        ("encoders.moments.encoder.name=graph", "the encoder 'graph' reads a graph, and"),
        ("encoders.moments.encoder.args.hidden=(0,)", "config.encoders.moments: hidden is (0,)"),
        ("encoders.graph.seeds=(0,0)", "seeds is (0, 0); allowed: one or more, none of them twice"),
        ("encoders.graph.train.eval_every=0", "eval_every is 0; allowed: a whole number, 1 or mo"),
        ("encoders.graph.objective.n_pair.temperature=0", "temperature must be positive"),
        ("seed=4294967296", "config: seed is 4294967296; allowed: whole numbers in 0..4294967295"),
        ("controls.num_samples=(0,)", "config.controls: num_samples is 0"),
        ("controls.num_samples=(9,9)", "config.controls: a number of samples, ['9'], stands there"),
        ("controls.features=flat,foo", "unknown representation for a control 'foo'; known: alig"),
        ("controls.untrained_readout=-1", "untrained_readout is -1"),
        ("classifiers.chooser.args.stage_widths=()", "stage_widths is (); allowed: a tuple of at"),
        ("classifiers.counter.train.batch_size=0", "classifiers.counter: batch_size is 0"),
        ("data.size=-1", "config.data: size is -1"),
    ],
)
def test_an_impossible_setting_is_named_before_any_compute(flag, message, monkeypatch):
    monkeypatch.setattr(jax, "jit", None)  # nothing is compiled
    with pytest.raises(ConfigError, match=re.escape(message)) as raised:
        check(config_of([f"--config={DIGITS}", f"--config.{flag}"]))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), (1e-3, float("-inf"))])
def test_what_cannot_be_resumed_is_refused(value):
    config = load_config(DIGITS)
    with config.ignore_type():
        config.encoders.graph.train.learning_rate = value
    with pytest.raises(ConfigError, match=r"config\.encoders\.graph\.train\.learning_rate is"):
        check(config)


def test_the_representation_must_suit_the_family():
    config = load_config(DIGITS)
    config.zoo.family = {"name": "density", "args": {}}
    config.zoo.hparams = {}
    config.encoders.latent_mean.representation = "reconstruction"
    with pytest.raises(ConfigError, match=r"config\.encoders\.latent_mean: .*gives images back"):
        check(config)


CHECKS = {
    "quality": check_quality,
    "gallery": check_gallery,
    "leave_out": check_leave_out,
    "matching": check_matching,
    "network": check_collections,
}


@pytest.mark.parametrize("section", CHECKS)
def test_a_section_that_a_script_lacks_is_named_with_the_configs_that_have_it(section):
    where = {"matching": "configs/unseen.py", "network": "configs/collections_digits.py"}
    message = f"no section '{section}', .* have it: {where.get(section, 'configs/families.py')}"
    with pytest.raises(ConfigError, match=message):
        CHECKS[section](load_config(DIGITS))
    with pytest.raises(ConfigError, match=r"no section 'classes', .*configs/cifar10\.py"):
        check(load_config("configs/omniglot.py"))


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("reads.ae=(grph,)", "config.reads: unknown encoder 'grph'; known: graph, moments"),
        ("reads.aee=(graph,)", "config.reads has no setting 'aee'; nearest: ae"),
        ("gallery.modes=(foo,)", "config.gallery: unknown cell 'foo'"),
        ("leave_out.never=(foo,)", "config.leave_out: unknown cell 'foo'"),
        ("quality.num_samples=2", "config.quality: num_samples is 2"),
        ("zoo.cells.lsgan.members=3", "config.zoo.cells.lsgan: members is 3, of which"),
        ("zoo.cells.lsgan.family.args.hidden=(0,)", "config.zoo.cells.lsgan: hidden is (0,)"),
        ("reads.lsgan=(wrong,)", "config.encoders.wrong: the encoder 'mlp' reads a vector"),
    ],
)
def test_all_cells_are_checked_before_the_first_is_trained(flag, message):
    config = load_config("configs/families.py:smoke")
    config.zoo.cells = {name: config.zoo.cells[name] for name in ("ae", "lsgan", "pca")}
    config.zoo.cells.lsgan.members = 40
    config.reads = {"default": ("moments",), "ae": ("graph",)}
    config.leave_out.never = ()
    config.gallery.modes = ("lsgan",)
    wrong = {**config.encoders.moments.to_dict(), "representation": "graph"}
    config.encoders.wrong = wrong
    check_families(config)
    with pytest.raises(ConfigError, match=re.escape(message)):
        override(config, dict([flag.split("=", 1)]))
        check_families(config)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("configs/digit.py", "no such config file; nearest: configs/digits.py; known: configs/cif"),
        ("configs", "no such config file; "),
        ("configs/comparison.py", "the file has no function get_config"),
    ],
)
def test_a_config_that_is_not_there_lists_the_known_ones(path, message):
    with pytest.raises(ConfigError, match=message):
        load_config(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def get_config():\n    return {'seed': 0}", "gives a dict; allowed: a ConfigDict"),
        ("def get_config():\n    return None", "takes no variants"),
    ],
)
def test_a_config_of_ones_own_is_told_what_it_lacks(tmp_path, text, message):
    path = tmp_path / "own.py"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(f"{path}{':x' if 'variants' in message else ''}")


def test_help_tells_settings_and_variants():
    text = usage("configs/digits.py:few")
    assert "--config.zoo.steps=600 (a whole number)" in text
    assert "--config.zoo.family.args.network, by default mlp (text)" in text
    assert "  ae: Autoencoders in place of VAEs." in text
    assert "--config=configs/digits.py:smoke      everything once" in text
    assert "encoders.moments" not in text  # that of the variant
    assert "--config=configs/mnist.py" in usage("")
    for name in config_files():
        for variant, entry in load_module(name).VARIANTS.items():
            assert entry_of(entry).change.__doc__, f"{name}:{variant} says nothing of itself"


def run_with(monkeypatch, tmp_path, stage, check):
    monkeypatch.setattr(start.processes, "join", lambda: None)
    monkeypatch.setattr(start.processes, "is_first", lambda: True)
    monkeypatch.setattr(start.signal, "signal", lambda *_: None)
    monkeypatch.setattr(start.jax.config, "update", lambda *_: None)

    class Flags:
        FLAGS = type("", (), {"cpu_devices": 1, "workdir": str(tmp_path / "run")})

    monkeypatch.setattr(start, "flags", Flags)
    start._run(stage, check, load_config(DIGITS))


def raising(error):
    def fail(*_):
        raise error

    return fail


OURS = [TypeError("a"), KeyError("b"), AttributeError("c"), ValueError("d"), AssertionError("e")]


@pytest.mark.parametrize("error", OURS, ids=repr)
@pytest.mark.parametrize("place", ["stage", "check"])
def test_our_own_bugs_keep_their_traceback(monkeypatch, tmp_path, error, place):
    bad, good = raising(error), lambda *_: None
    with pytest.raises(type(error)):
        run_with(monkeypatch, tmp_path, *((bad, good) if place == "stage" else (good, bad)))
    with pytest.raises(type(error)), setup.named_section("config.zoo"):
        if isinstance(error, ValueError):
            pytest.skip("a ValueError within a section is the library's refusal")
        raise error


@pytest.mark.parametrize("kind", [*USER_ERRORS, PermissionError])
@pytest.mark.parametrize("place", ["stage", "check"])
def test_what_a_user_can_mend_ends_in_one_line(monkeypatch, tmp_path, kind, place):
    bad, good = raising(kind("clear words")), lambda *_: None
    with pytest.raises(SystemExit, match="error: clear words"):
        run_with(monkeypatch, tmp_path, *((bad, good) if place == "stage" else (good, bad)))
