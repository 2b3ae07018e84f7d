"""The count of faults: its oracle tells the outcomes apart, and its trials run."""

import errno
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from test_store import pytestmark, write_cell  # noqa: F401  the marks serve here as well

import genvec
from benchmarks.faults import actions, kinds, pool, replacing, summary, variants
from benchmarks.faults.actions import Task, judge
from benchmarks.faults.inject import Fault, counted, injected
from benchmarks.faults.oracle import (
    OUTCOMES,
    Verdict,
    attempt,
    error_outcome,
    lost_files,
    snapshot,
)
from benchmarks.faults.values import zoo_values
from genvec.registry import lookup
from genvec.store import DamageError, read_json


@pytest.fixture
def task(tmp_path):
    write_cell(tmp_path / "run" / "zoo" / "vae")
    return Task("trained", "load", False, tmp_path / "run")


def verdict_of(task, load_fn, monkeypatch, **options):
    """Of a user who loads the zoo by `load_fn`."""
    subject = SimpleNamespace(right_zoo=zoo_values(genvec.load_zoo(task.run / "zoo" / "vae")))
    before = snapshot(task.run)
    monkeypatch.setattr(actions, "load_zoo", load_fn)
    ended = attempt(lambda: actions.do(task))
    return judge(task, "", ended, subject, before, **options)


def load(path):
    return genvec.load_zoo(path / "vae")


def load_another(path):
    zoo = load(path)
    return zoo._replace(members=zoo.members.iloc[::-1].reset_index(drop=True))


def load_and_delete(path):
    zoo = load(path)
    next((path / "vae" / "segments" / "00001").rglob("manifest.ocdbt")).unlink()
    return zoo


def load_and_move(path):
    zoo = load(path)
    (path.parent / "damaged").mkdir()
    (path / "vae" / "segments" / "00001").rename(path.parent / "damaged" / "00001")
    return zoo


def refuse(path):
    raise DamageError(f"{path} is damaged")  # of no folder of ours: see `error_outcome`


def trip(path):
    return {}["nothing"]


@pytest.mark.parametrize(
    ("load_fn", "outcome"),
    [
        (load, "right"),
        (load_another, "silent"),
        (load_and_delete, "lost"),
        (load_and_move, "right"),
        (trip, "traceback"),
        (lambda path: read_json(path / "nothing.json"), "clear"),
    ],
    ids=["right", "another", "deletes", "moves", "trips", "refuses"],
)
def test_outcomes_are_told_apart(task, monkeypatch, load_fn, outcome):
    assert verdict_of(task, load_fn, monkeypatch).outcome == outcome


def test_a_clear_word_without_a_way_on_is_a_loss(task, monkeypatch):
    verdict = verdict_of(
        task, lambda path: read_json(path / "nothing.json"), monkeypatch, recover=True
    )
    assert verdict.outcome == "lost" and "the same again" in verdict.happened


def test_whole_files_must_not_be_called_damaged(task, monkeypatch):
    monkeypatch.setattr(actions.store, "verify_cell", lambda cell: {1: "damaged"})
    verify = task._replace(action="verify")
    assert verdict_of(verify, load, monkeypatch, harmless=True).outcome == "silent"
    assert verdict_of(verify, load, monkeypatch).outcome == "clear"


def test_what_a_stage_writes_anew_is_not_lost(tmp_path):
    metrics, config = tmp_path / "metrics.json", tmp_path / "config.json"
    metrics.write_text("1")
    config.write_text("2")
    (tmp_path / "link").symlink_to("nowhere")
    before = snapshot(tmp_path)
    metrics.write_text("3")
    assert lost_files(before, tmp_path) == []
    config.write_text("4")
    assert lost_files(before, tmp_path) == ["config.json"]
    (tmp_path / "link").unlink()
    assert lost_files(before, tmp_path, ["config.json"]) == ["link"]


def test_a_message_counts_where_we_raised_it():
    ours = attempt(lambda: lookup({}, "x", kind="thing")).error
    assert error_outcome(ours) == "clear"
    assert error_outcome(ours, of_script=True) == "traceback"  # a script says so and exits
    assert error_outcome(SystemExit("error: no")) == "clear"
    assert error_outcome(attempt(lambda: np.zeros(2).reshape(3)).error) == "traceback"
    assert error_outcome(attempt(lambda: refuse("x")).error) == "traceback"


def test_calls_are_counted_and_refused_inside_the_folder_alone(tmp_path):
    inside, outside = tmp_path / "run" / "x.txt", tmp_path.parent / f"{tmp_path.name}.txt"
    inside.parent.mkdir()
    for path in (inside, outside):
        path.write_text("content")
    with counted(inside.parent) as numbers:
        inside.read_text()
        inside.read_text()
        outside.read_text()
    assert numbers["open"] == 2 and numbers["read"] >= 2
    fault = Fault("open", 2, True, errno.ENOTCONN)
    with injected(fault, inside.parent):
        assert inside.read_text() == "content"
        with pytest.raises(OSError, match="not connected"):
            inside.read_text()
        with pytest.raises(OSError, match="not connected"):
            inside.write_text("other")
        assert outside.read_text() == "content"
    with injected(Fault("write", 1, False, errno.ENOSPC), inside.parent):
        with pytest.raises(OSError, match="No space"):
            inside.write_text("other")
        inside.write_text("another")
    assert inside.read_text() == "another"


def test_what_is_written_over_is_there_in_the_end(tmp_path):
    subject = SimpleNamespace(work=tmp_path, note=lambda done: None)
    for number in (1, 4, 5, 8):  # of these none writes by Orbax
        (tmp_path / str(number)).mkdir()
        rng = np.random.default_rng([0, number])
        verdict = replacing.trial(rng, subject, tmp_path / str(number), errno.ENOSPC)
        assert verdict.outcome in ("clear", "right") and "save_tree" not in verdict.done, verdict


def test_variants_that_set_one_field_differently_clash():
    module = SimpleNamespace(
        VARIANTS={"a": None, "b": None, "c": SimpleNamespace(after=("a",))},
        get_config=lambda name: SimpleNamespace(
            to_dict=lambda: {"x": {"": 0, "a": 1, "b": 2, "c": 3}[name]}
        ),
    )
    assert "x: a sets 1, b 2" in variants._clash(module, ["a", "b"])
    assert variants._clash(module, ["a", "c"]) is None


def test_a_worker_that_takes_too_long_is_a_hang():
    worker = SimpleNamespace(
        process=SimpleNamespace(is_alive=lambda: True),
        pipe=SimpleNamespace(closed=False),
        job=pool.Job(0, 3),
        begun=0.0,
        doing="sleeps",
    )
    assert pool._dead(worker, limit=0.001).outcome == "hang"
    assert pool._dead(worker, limit=1e9) is None


CHEAP = {"arrays": 2, "images": 6, "datasets": 3, "flags": 3}


@pytest.mark.parametrize("kind", CHEAP)
def test_trials_run_and_are_the_same_again(tmp_path, kind):
    notes = []
    subject = SimpleNamespace(work=tmp_path, note=notes.append)
    # of flags and data sets, those that neither copy the run nor train
    some = {"flags": (2, 15, 16), "datasets": (0, 5, 7)}.get(kind, range(CHEAP[kind]))
    for number in some:
        verdict = kinds.run_trial(0, number, subject, kind)
        assert verdict.outcome in OUTCOMES and verdict.done == notes[-1], verdict
        assert kinds.run_trial(0, number, subject, kind) == verdict
    assert not any(path.name.startswith("trial") for path in tmp_path.rglob("*"))


def test_the_report_adds_up():
    by_kind = {"files": Counter(right=3, lost=1), "flags": Counter(clear=2)}
    kept = summary.report([0, 1], 3, by_kind, {"date": "today"})
    assert kept["outcomes"] == dict.fromkeys(OUTCOMES, 0) | {"right": 3, "lost": 1, "clear": 2}
    assert kept["seeds"] == [0, 1] and summary.num_bad(by_kind) == 1
    assert summary.table(by_kind).splitlines()[-1].split() == ["all", *"2300106"]
    line = summary.bad_line(pool.Job(1, 17), "files", Verdict("lost", "cut", "gone\nfor good"))
    assert "--seed=1 --only=17" in line and "\n" not in line
