"""The store never deletes what it did not just write, and believes nothing that it reads."""

import errno
import json
import os
import stat
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from test_durability import cell, contents, flip_a_byte, lose_the_checkpoint  # noqa: F401
from test_store import (  # noqa: F401  fixtures and marks serve here as well
    kernel,
    members,
    nothing_left_for_later_tests,
    pytestmark,
    segment,
    write_cell,
)

import genvec
from genvec import store, trees
from genvec.store import DamageError, StoreError, checkpoints

REASONS = [
    *(
        OSError(code, os.strerror(code))
        for code in (
            errno.EIO,
            errno.ENOTCONN,
            errno.EHOSTDOWN,
            errno.EAGAIN,
            errno.EREMOTEIO,
            errno.ECONNRESET,
            errno.ENODEV,
            errno.EACCES,
            errno.ESTALE,
        )
    ),
    TypeError("load() got an unexpected keyword argument"),
    ImportError("cannot import name 'v1'"),
    NotImplementedError("no such format"),
    RuntimeError("can't start new thread"),
    MemoryError(),
    ValueError("DATA_LOSS: Error reading local file"),
]


def raising(error):
    def fail(*args, **kwargs):
        raise error

    return fail


@pytest.mark.parametrize("reason", REASONS, ids=lambda r: f"{type(r).__name__}-{r}"[:40])
@pytest.mark.parametrize("where", ["orbax", "files"])
def test_what_the_reader_meets_is_no_damage(cell, monkeypatch, reason, where):  # noqa: F811
    before = contents(cell)
    with monkeypatch.context() as patch, pytest.raises((StoreError, type(reason))) as told:
        if where == "orbax":
            patch.setattr(checkpoints.ocp, "load", raising(reason))
        else:
            patch.setattr(Path, "read_bytes", raising(reason))
        store.verify_cell(cell, repair=True)
    assert not isinstance(told.value, DamageError)
    if isinstance(told.value, StoreError):
        assert "\n" not in str(told.value) and str(cell) in str(told.value)
    assert contents(cell) == before


def test_a_relative_path_is_as_good_as_an_absolute_one(cell, monkeypatch):  # noqa: F811
    before, zoo = contents(cell), genvec.load_zoo(cell)
    monkeypatch.chdir(cell.parent)
    assert store.verify_cell(Path(cell.name), repair=True) == {}
    assert store.verify_cell(cell.name, repair=True) == {}
    assert contents(cell) == before
    np.testing.assert_array_equal(kernel(genvec.load_zoo(cell.name)), kernel(zoo))
    tree = {"a": np.arange(3.0)}
    store.save_tree(Path("tree"), tree)
    np.testing.assert_array_equal(store.load_tree(Path("tree"))["a"], tree["a"])


def test_where_every_segment_fails_nothing_is_moved(cell):  # noqa: F811
    for number in range(3):
        for path in (cell / "segments" / f"{number:05d}").rglob("*"):
            if path.is_file():
                path.write_bytes(b"")
    before = contents(cell)
    with pytest.raises(StoreError, match=r"every segment of .* probably not the files"):
        store.verify_cell(cell, repair=True)
    assert contents(cell) == before


def test_one_reading_proves_no_damage(cell, monkeypatch):  # noqa: F811
    real, calls = checkpoints.ocp.load, []

    def wrong_at_first(path, target):
        calls.append(path)
        tree = real(path, target)
        if len(calls) == 1:
            tree["metrics"]["loss_curve"] = tree["metrics"]["loss_curve"] + 1
        return tree

    monkeypatch.setattr(checkpoints.ocp, "load", wrong_at_first)
    assert store.verify_cell(cell) == {}
    assert len(calls) == 4  # three segments, one of them twice


def test_a_part_that_the_reader_leaves_out_is_no_damage(cell, monkeypatch):  # noqa: F811
    before, real = contents(cell), checkpoints.ocp.load

    def without_metrics(path, target):
        return {name: part for name, part in real(path, target).items() if name != "metrics"}

    monkeypatch.setattr(checkpoints.ocp, "load", without_metrics)
    with pytest.raises(StoreError, match="cannot be read: Orbax loaded"):
        store.verify_cell(cell, repair=True)
    assert contents(cell) == before


@pytest.mark.parametrize("name", ["write_bytes", "write_text"])
def test_memory_that_runs_out_while_writing_is_named(tmp_path, monkeypatch, name):
    store.write_json(tmp_path / "x.json", 1)
    with monkeypatch.context() as patch, pytest.raises(StoreError, match="cannot be written"):
        patch.setattr(Path, name, raising(MemoryError()))
        store.write_json(tmp_path / "x.json", 2)
    assert store.read_json(tmp_path / "x.json") == 1


class TestReplacing:
    """A checkpoint in the place of another, and a failure at every step of it."""

    def old_and_new(self, tmp_path):
        store.save_tree(tmp_path / "x", {"a": np.arange(3)})
        return contents(tmp_path)

    @pytest.mark.parametrize("at", range(7))
    @pytest.mark.parametrize("error", [OSError(errno.EIO, "x"), KeyboardInterrupt()], ids=repr)
    def test_a_failed_rename_keeps_the_old_one(self, tmp_path, monkeypatch, at, error):
        before, real, calls = self.old_and_new(tmp_path), os.rename, []

        def fail_once(source, target):
            calls.append(source)
            if len(calls) == at + 1:
                raise error
            real(source, target)

        monkeypatch.setattr(checkpoints, "os", SimpleNamespace(rename=fail_once))
        if at < 6:
            with pytest.raises((StoreError, KeyboardInterrupt)):
                store.save_tree(tmp_path / "x", {"a": np.arange(4)})
            assert contents(tmp_path) == before
            assert store.load_tree(tmp_path / "x")["a"].tolist() == [0, 1, 2]
        else:  # there are six
            store.save_tree(tmp_path / "x", {"a": np.arange(4)})
            assert store.load_tree(tmp_path / "x")["a"].tolist() == [0, 1, 2, 3]

    @pytest.mark.parametrize("at", range(6))
    def test_a_kill_keeps_the_old_one_or_the_new_one(self, tmp_path, monkeypatch, at):
        """From the kill on nothing is undone: no rename succeeds any more."""
        self.old_and_new(tmp_path)
        real, calls = os.rename, []

        def die(source, target):
            calls.append(source)
            if len(calls) > at:
                raise KeyboardInterrupt
            real(source, target)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(checkpoints, "os", SimpleNamespace(rename=die))
            store.save_tree(tmp_path / "x", {"a": np.arange(4)})
        assert store.load_tree(tmp_path / "x")["a"].tolist() == [0, 1, 2]
        assert store.is_saved(tmp_path / "x")
        store.save_tree(tmp_path / "x", {"a": np.arange(4)})
        assert store.load_tree(tmp_path / "x")["a"].tolist() == [0, 1, 2, 3]

    def test_a_folder_of_the_users_is_not_replaced(self, tmp_path):
        (tmp_path / "x").mkdir()
        (tmp_path / "x" / "notes").write_text("mine")
        store.save_tree(tmp_path / "x", {"a": np.arange(3)})
        (kept,) = (tmp_path / "damaged").rglob("notes")
        assert kept.read_text() == "mine"
        assert store.load_tree(tmp_path / "x")["a"].tolist() == [0, 1, 2]


def test_devices_and_links_stay_what_they_are(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (Path("/dev/full"), tmp_path / "pipe", tmp_path):
        with pytest.raises(StoreError, match="not a file"):
            store.write_table(path, pd.DataFrame({"a": [1]}), sums=False)
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)
    assert stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)
    (tmp_path / "far").mkdir()
    (tmp_path / "link.json").symlink_to(tmp_path / "far" / "x.json")  # dangling at first
    for value in (1, 2):
        store.write_json(tmp_path / "link.json", value)
        assert (tmp_path / "link.json").is_symlink()
        assert json.loads((tmp_path / "far" / "x.json").read_text()) == value


def test_temporary_names_are_of_one_process_alone(tmp_path):
    with (
        store.atomic.temporary_beside(tmp_path / "x") as first,
        store.atomic.temporary_beside(tmp_path / "x") as second,
    ):
        assert first != second and first.parent == second.parent == tmp_path


WRITERS = {
    "json": (store.write_json, store.read_json, {"a": [1, 2]}),
    "jsonl": (store.write_jsonl, store.read_jsonl, [{"step": 17, "loss": 0.5}]),
    "parquet": (store.write_table, store.read_table, pd.DataFrame({"a": [1.5, 2.5]})),
    "npz": (store.write_arrays, store.read_arrays, {"images": np.arange(6)}),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_no_byte_of_a_small_file_changes_unnoticed(tmp_path, kind):
    write_fn, read_fn, value = WRITERS[kind]
    path = tmp_path / f"x.{kind}"
    write_fn(path, value)
    content = path.read_bytes()
    for place in range(0, len(content), max(1, len(content) // 60)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(DamageError, match=rf"x\.{kind} is damaged"):
            read_fn(path)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DamageError):
        read_fn(path)
    path.write_bytes(content)
    (tmp_path / f".x.{kind}.sha256").unlink()  # as earlier versions wrote it
    read_fn(path)


def test_a_write_that_ends_between_the_sums_and_the_file_leaves_a_good_file(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    store.write_json(path, "old")
    real = store.sums.write_atomically

    def fail_on_the_file(target, write_fn):
        if target == path:
            raise KeyboardInterrupt
        real(target, write_fn)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(store.sums, "write_atomically", fail_on_the_file)
        store.write_json(path, "new")
    assert store.read_json(path) == "old"
    store.write_json(path, "new")
    assert store.read_json(path) == "new"


SELECTIONS = {
    "mask": (np.arange(10) % 3 == 0, [0, 3, 6, 9]),
    "order and repeats": ([5, 3, 5, 1], [5, 3, 5, 1]),
    "across segments": ([9, 0, 4, 9], [9, 0, 4, 9]),
    "a range": (range(7, 3, -1), [7, 6, 5, 4]),
}


@pytest.mark.parametrize("name", SELECTIONS)
def test_members_come_as_they_were_asked_for(cell, name):  # noqa: F811
    asked, expected = SELECTIONS[name]
    zoo, whole = genvec.load_zoo(cell, members=asked), genvec.load_zoo(cell)
    assert zoo.members["member"].tolist() == expected
    np.testing.assert_array_equal(kernel(zoo), kernel(whole)[expected])


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ([0.5, 1.0], TypeError, "members is an array float64.*give indices in 0..9"),
        (["a"], TypeError, "give indices"),
        (3, TypeError, "give indices"),
        ([[1, 2]], TypeError, "give indices"),
        ([True, False], ValueError, "a mask of 2, the cell has 10 members"),
        ([-1], ValueError, r"\[-1\] are not in 0..9"),
    ],
)
def test_what_is_neither_indices_nor_a_mask_is_refused(cell, asked, error, message):  # noqa: F811
    with pytest.raises(error, match=message):
        genvec.load_zoo(cell, members=asked)


@pytest.mark.parametrize("split", [3, 0.5, [3], [["train"]], "tset"])
def test_a_split_that_is_none_is_refused(cell, split):  # noqa: F811
    with pytest.raises((TypeError, ValueError), match=r"split .*train, val, test"):
        genvec.load_zoo(cell, split=split)


def test_no_number_comes_from_uninitialised_memory():
    parts = [{"a": np.ones((2, 3))}]
    assert trees.gather(iter(parts), 2)["a"].tolist() == np.ones((2, 3)).tolist()
    for num in (1, 3):
        with pytest.raises(ValueError, match=r"2 rows|broadcast"):
            trees.gather(iter(parts), num)


def rewritten(cell, **values):  # noqa: F811
    """A manifest as a stranger may have made it, its SHA-256 included."""
    store.cells.write_manifest(cell, {**store.read_manifest(cell), **values})


@pytest.mark.parametrize(
    "values",
    [
        {"num_members": 10**12},
        {"num_members": -1},
        {"num_members": 12},
        {"num_members": "10"},
        {"segment_size": 0},
        {"segment_size": 5},
        {"segment_size": 2.5},
        {"segments": [{}]},
        {"segments": "abc"},
        {"complete": "yes"},
    ],
    ids=repr,
)
def test_counts_in_a_manifest_are_not_believed(cell, values):  # noqa: F811
    rewritten(cell, **values)
    with pytest.raises(DamageError):
        genvec.load_zoo(cell)


@pytest.mark.parametrize(
    "leaf",
    [
        {"shape": [4, 10**9, 10**9], "dtype": "float32", "sha256": ""},
        {"shape": [-4], "dtype": "float32", "sha256": ""},
        {"shape": [4], "dtype": "O", "sha256": ""},
        {"shape": [4], "dtype": "no such type", "sha256": ""},
        {"shape": 4, "dtype": "float32", "sha256": ""},
        {},
        3,
    ],
    ids=repr,
)
def test_shapes_in_a_record_are_not_believed(cell, leaf):  # noqa: F811
    records = store.read_manifest(cell)["segments"]
    rewritten(cell, segments=[{**records[0], "params/decoder/dense_0/kernel": leaf}, *records[1:]])
    with pytest.raises(DamageError, match="no record of a checkpoint"):
        genvec.load_zoo(cell)


def test_a_segment_that_holds_fewer_members_than_promised_is_refused(cell):  # noqa: F811
    short = store.save_tree(
        cell / "segments" / "00001",
        {k: v for k, v in segment(slice(4, 6))._asdict().items() if v},
    )
    records = store.read_manifest(cell)["segments"]
    rewritten(cell, segments=[records[0], short, records[2]])
    with pytest.raises(DamageError, match=r"of \{2\} members, not of 4"):
        genvec.load_zoo(cell)


@pytest.mark.parametrize("name", ["../vae", "/etc", "", ".", "a/b", 7, None])
def test_cells_of_a_foreign_manifest_are_not_followed(tmp_path, name):
    write_cell(tmp_path / "vae")
    zoo = tmp_path / "zoo"
    zoo.mkdir()
    (zoo / "manifest.json").write_text(json.dumps({"format_version": 2, "cells": [name]}))
    for read_fn in (store.cell_paths, genvec.load_zoo, genvec.load_cells):
        with pytest.raises(DamageError, match="a cell is called"):
            read_fn(zoo)


@pytest.mark.parametrize("how", ["swapped", "doubled", "short"])
@pytest.mark.parametrize("hashed", [True, False])
def test_the_rows_of_a_members_table_are_checked(cell, how, hashed):  # noqa: F811
    table = members()
    order = {"swapped": [1, 0, *range(2, 10)], "doubled": [0, *range(9)], "short": range(9)}[how]
    store.write_table(cell / "members.parquet", table.iloc[list(order)], sums=False)
    if not hashed:
        rewritten(cell, members_sha256=None)
    with pytest.raises(DamageError, match=r"members\.parquet is damaged"):
        genvec.load_zoo(cell)
    with pytest.raises(DamageError, match=r"members\.parquet is damaged"):
        store.read_members(cell)


class TestIdentity:
    """A segment is held against the cell and the place in which it lies."""

    def swap(self, path):
        segments = path / "segments"
        for name in ("{}", "{}.json", ".{}.sha256"):
            first, second = (segments / name.format(number) for number in ("00000", "00001"))
            if not first.exists():
                continue
            first.rename(segments / "aside")
            second.rename(first)
            (segments / "aside").rename(second)

    def unfinished(self, path, **values):
        store.create_cell(path, {"segment_size": 4, "seed": 0, **values}, members())
        for number in range(2):
            store.write_segment(path, number, segment(slice(4 * number, 4 * number + 4)))
        return path

    def test_exchanged_segments_are_noticed(self, tmp_path):
        path = self.unfinished(tmp_path)
        self.swap(path)
        with pytest.raises(StoreError, match="every segment"):
            store.verify_cell(path, repair=True)
        store.write_segment(path, 2, segment(slice(8, 10)))
        assert list(store.verify_cell(path, repair=True)) == [0, 1]
        assert store.missing_segments(path) == [0, 1]

    def test_so_are_they_without_sums(self, tmp_path):
        path = self.unfinished(tmp_path)
        store.write_segment(path, 2, segment(slice(8, 10)))
        for file in (path / "segments").glob(".*.sha256"):
            file.unlink()
        self.swap(path)
        with pytest.raises(DamageError, match="of another zoo or segment"):
            store.complete_cell(path)

    def test_segments_of_another_zoo_are_noticed(self, tmp_path):
        """Its manifest was lost, and is written again by another config."""
        path = self.unfinished(tmp_path)
        (path / "manifest.json").unlink()
        store.create_cell(path, {"segment_size": 4, "seed": 0}, members())
        assert store.verify_cell(path) == {}
        store.create_cell(path, {"segment_size": 4, "seed": 1}, members())
        store.write_segment(path, 2, segment(slice(8, 10)))
        assert list(store.verify_cell(path)) == [0, 1]

    def test_zoos_of_before_have_none(self, cell):  # noqa: F811
        record = store.save_tree(
            cell / "segments" / "00001",
            {k: v for k, v in segment(slice(4, 8))._asdict().items() if v},
        )
        records = store.read_manifest(cell)["segments"]
        rewritten(cell, segments=[records[0], record, records[2]])
        assert store.verify_cell(cell) == {} and len(genvec.load_zoo(cell).members) == 10


def test_what_somebody_else_wrote_is_not_overwritten(tmp_path):
    path = tmp_path / "x.json"
    store.write_json(path, 1)
    path.write_text("mine")
    store.write_json(path, 2)
    (kept,) = tmp_path.glob("damaged/*/x.json")
    assert kept.read_text() == "mine" and store.read_json(path) == 2


def test_a_checkpoint_that_is_put_back_deletes_nothing(tmp_path):
    store.save_tree(tmp_path / "x", {"a": np.arange(3)})
    for name in ("x", "x.json", ".x.sha256"):
        old = tmp_path / f".x.genvec-{'0' * 32}.old"
        old.mkdir(exist_ok=True)
        (tmp_path / name).rename(old / name)
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "notes").write_text("mine")
    backup = tmp_path / ".x.genvec-backup.old"
    backup.mkdir()
    (backup / "keep").write_text("mine")
    assert store.is_saved(tmp_path / "x")
    assert store.load_tree(tmp_path / "x")["a"].tolist() == [0, 1, 2]
    assert (backup / "keep").exists() and len(list(tmp_path.glob("damaged/*/x/notes"))) == 1


def test_only_a_checkpoint_is_discarded(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "notes").write_text("mine")
    store.discard_tree(tmp_path / "x")
    assert (tmp_path / "x" / "notes").exists()
    store.save_tree(tmp_path / "y", {"a": np.arange(3)})
    store.discard_tree(tmp_path / "y")
    assert not list(tmp_path.glob("*y*"))


def test_a_lock_is_written_into_no_file_of_the_users(tmp_path):
    (tmp_path / ".lock").write_text("mine")
    with pytest.raises(StoreError, match="no lock"), store.lock_folder(tmp_path):
        pass
    assert (tmp_path / ".lock").read_text() == "mine"
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / ".lock").symlink_to(tmp_path / ".lock")
    with pytest.raises(StoreError, match="cannot be written"), store.lock_folder(tmp_path / "b"):
        pass
    assert (tmp_path / ".lock").read_text() == "mine"


def test_a_file_that_was_moved_and_linked_is_still_known(tmp_path):
    store.write_json(tmp_path / "x.json", 1)
    (tmp_path / "far").mkdir()
    (tmp_path / "x.json").rename(tmp_path / "far" / "x.json")
    (tmp_path / "x.json").symlink_to(tmp_path / "far" / "x.json")
    store.write_json(tmp_path / "x.json", 2)
    assert store.read_json(tmp_path / "x.json") == 2
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(StoreError, match="a device or a pipe"):
        store.read_json(tmp_path / "pipe.json")


def test_a_table_for_somebody_else_takes_no_place_of_a_runs(cell):  # noqa: F811
    store.write_json(cell / "timings.json", {})
    for path in (cell / "members.parquet", cell / "timings.json", Path("/dev/full")):
        with pytest.raises(StoreError):
            store.check_output(path)
    store.check_output(cell / "mine.parquet")
