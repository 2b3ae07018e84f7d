"""A run holds together: what another config made is refused, what is damaged is made again."""

import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
from test_durability import contents
from test_store import members, segment

from configs import digits
from experiments import cells as stage
from experiments import encoders
from experiments.common import clock
from experiments.done import is_done, read_done
from experiments.environment import commit_of
from experiments.setup import cells_of
from genvec import store
from genvec.report import write_report
from genvec.store import DamageError, RunFolder, StoreError


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path / "run")


def config_of(**changes):
    config = digits.get_config("smoke")
    for name, value in changes.items():
        section, field = name.rsplit("__", 1) if "__" in name else ("", name)
        target = config
        for part in section.split("__") if section else ():
            target = target[part]
        target[field] = value
    return config


CLASSES = ["1", "4", "5"]


def write_zoo(run, config, cells):
    """A zoo as far as its manifests."""
    store.create_zoo(run.zoo, list(cells))
    for name, cell in cells.items():
        plan = SimpleNamespace(name="scan", width=16)
        header = stage.manifest(config, cell, CLASSES, plan, [])
        table = members().rename(columns={"mixture_a": "mixture_1"})
        store.create_cell(run.zoo / name, header, table.assign(mixture_4=0.0, mixture_5=0.0))


@pytest.fixture
def with_zoo(run):
    config = config_of()
    cells = cells_of(config, (8, 8, 1))
    write_zoo(run, config, cells)
    return run


def hold(run, config):
    stage.hold_zoo(config, cells_of(config, (8, 8, 1)), run)


def test_the_same_config_holds_and_speed_may_differ(with_zoo):
    hold(with_zoo, config_of())
    hold(with_zoo, config_of(zoo__width=4, zoo__plan="auto"))
    store.write_json(with_zoo.classes, {"classes": CLASSES})
    hold(with_zoo, config_of())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"zoo__steps": 41}, r"config\.zoo\.steps: 40 in the folder, 41 now"),
        ({"seed": 1}, "seed: 0 in the folder, 1 now"),
        ({"zoo__init": "shared"}, 'init: "independent" in the folder, "shared" now'),
        ({"mixtures__alpha": 0.5}, r"config\.mixtures\.alpha"),
        ({"data__name": "mnist"}, 'dataset: "digits" in the folder, "mnist" now'),
    ],
)
def test_a_zoo_of_another_config_is_refused(with_zoo, changes, message):
    """It was copied in, or config.json is gone."""
    with pytest.raises(StoreError, match=message):
        hold(with_zoo, config_of(**changes))


def test_a_zoo_of_other_classes_is_refused(with_zoo):
    store.write_json(with_zoo.classes, {"classes": ["0", "6", "7"]})
    with pytest.raises(StoreError, match=r'classes: \["1", "4", "5"\] in the folder'):
        hold(with_zoo, config_of())


def test_where_nothing_tells_what_made_a_zoo_it_is_refused(with_zoo):
    path = with_zoo.zoo / "vae" / "manifest.json"
    path.write_text(path.read_text().replace("40", "41", 1))
    with pytest.raises(DamageError, match="not the SHA-256"):
        hold(with_zoo, config_of())
    store.claim_run(with_zoo, config_of().to_dict())
    hold(with_zoo, config_of())  # the zoo's stage moves the manifest away and writes it again


def test_members_of_other_mixtures_are_not_trained(with_zoo):
    path = with_zoo.zoo / "vae"
    table = store.read_members(path)
    args = (None, None, table, None, None)
    stage.prepare(path, "vae", *args)
    for other in (table.assign(mixture_1=0.5), table.assign(split="train"), table.head(9)):
        with pytest.raises(StoreError, match="other mixtures or splits"):
            stage.prepare(path, "vae", None, None, other, None, None)


def test_results_without_a_config_are_refused_and_a_zoo_alone_is_not(with_zoo):
    store.write_json(with_zoo.controls, {"constant": {}})
    with pytest.raises(StoreError, match=r"holds controls\.json, but no config\.json"):
        store.claim_run(with_zoo, {"seed": 0})
    with_zoo.controls.unlink()
    store.claim_run(with_zoo, {"seed": 0})


def test_a_damaged_config_is_named(run):
    store.claim_run(run, {"seed": 0})
    run.config.write_text(run.config.read_text().replace("0", "1"))
    with pytest.raises(DamageError, match=r"config\.json is damaged"):
        store.claim_run(run, {"seed": 1})


def spoil_empty(path):
    path.write_text("{}")
    path.with_name(f".{path.name}.sha256").unlink()


def spoil_digit(path):
    path.write_text(path.read_text().replace("4", "5"))


def spoil_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


SPOILT = (spoil_empty, spoil_digit, spoil_half)


@pytest.mark.parametrize("spoil", SPOILT)
def test_what_is_damaged_is_moved_away_to_be_made_again(run, spoil, capsys):
    assert not is_done(run, run.controls)
    store.write_json(run.controls, {"constant": {"angle_deg_mean": 34.8}})
    assert is_done(run, run.controls)
    spoil(run.controls)
    content = run.controls.read_bytes()
    assert not is_done(run, run.controls)
    assert "controls.json is damaged" in capsys.readouterr().err
    assert not run.controls.exists()
    (moved,) = run.path.glob("damaged/*/controls.json")
    assert moved.read_bytes() == content


def test_what_is_gone_is_told(run, capsys):
    store.write_json(run.timings, {"zoo": 41.0})
    run.timings.unlink()
    assert read_done(run, run.timings) == {}
    assert "timings.json was written and is gone" in capsys.readouterr().err
    assert read_done(run, run.speed) == {} and not capsys.readouterr().err


def test_what_cannot_be_read_is_no_damage(run, monkeypatch):
    store.write_json(run.controls, {"constant": {}})
    before = contents(run.path)

    def fail(path):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch, pytest.raises(StoreError, match="Permission denied"):
        patch.setattr(type(run.path), "read_bytes", fail)
        is_done(run, run.controls)
    assert contents(run.path) == before


@pytest.mark.parametrize("spoil", SPOILT)
def test_timings_begin_anew_where_they_are_damaged(run, spoil):
    store.write_json(run.timings, {"zoo": 41.0})
    spoil(run.timings)
    with clock(run, "encoders"):
        pass
    assert store.read_json(run.timings).keys() == {"encoders"}
    assert read_done(run, run.timings).keys() == {"encoders"}


def test_an_encoder_is_trained_again_where_it_or_its_log_is_damaged(run):
    def write():
        store.save_tree(run.path / "seed_0" / "trained", {"params": {"a": np.ones(3)}})
        store.write_jsonl(run.path / "seed_0" / "log.jsonl", [{"step": 4}])

    def is_trained():
        return encoders.is_trained(run, run.path / "seed_0")

    assert not is_trained()
    write()
    assert is_trained()
    spoil_digit(run.path / "seed_0" / "log.jsonl")
    before = contents(run.path / "seed_0" / "trained")
    assert not is_trained()
    (kept,) = run.path.glob("damaged/*/seed_0/trained")  # it is good, and not replaced
    assert contents(kept) == before
    write()
    for path in (run.path / "seed_0" / "trained").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    assert not is_trained()
    assert not (run.path / "seed_0" / "trained").exists()
    assert len(list(run.path.glob("damaged/*/seed_0/trained*"))) > 0
    write()
    assert is_trained()


def test_a_report_draws_no_swapped_rows(run):
    store.create_zoo(run.zoo, ["vae"])
    store.create_cell(run.zoo / "vae", {"family": "vae", "segment_size": 10}, members())
    store.write_segment(run.zoo / "vae", 0, segment(slice(0, 10)))
    store.complete_cell(run.zoo / "vae")
    table = store.read_members(run.zoo / "vae").iloc[[1, 0, *range(2, 10)]]
    store.write_table(run.zoo / "vae" / "members.parquet", table, sums=False)
    with pytest.raises(DamageError, match=r"members\.parquet is damaged"):
        write_report(run)


def git(folder, *args):
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(folder), *args]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_the_commit_is_of_the_code_and_tells_of_changes(tmp_path, monkeypatch):
    for name in ("code", "elsewhere"):
        package = tmp_path / name / "genvec"
        package.mkdir(parents=True)
        (package / "a.py").write_text(name)
        git(tmp_path / name, "init", "-q")
        git(package, "add", ".")
        git(package, "commit", "-qm", name)
    package = tmp_path / "code" / "genvec"
    commit = git(package, "rev-parse", "--short=12", "HEAD")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert commit_of(package) == commit
    (package / "a.py").write_text("changed")
    assert commit_of(package) == f"{commit}-dirty"
    installed = tmp_path / "elsewhere" / ".venv" / "genvec"
    installed.mkdir(parents=True)
    (installed / "a.py").write_text("x")
    assert commit_of(installed) == "unknown"
    assert commit_of(tmp_path) == "unknown"
