"""What the report reads from a run folder, and the predictions on test members that it draws."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd

from genvec.geometry import angle_deg, to_simplex
from genvec.keys import random_cycle
from genvec.store import (
    RunFolder,
    cell_paths,
    read_arrays,
    read_json,
    read_jsonl,
    read_manifest,
    read_members,
    read_table,
)

Value = TypeVar("Value")


class Contents(NamedTuple):
    """A run as far as it got; what is not there is empty."""

    name: str  # of the folder
    config: Mapping[str, Any]
    classes: Mapping[str, Any]
    manifest: Mapping[str, Any]
    metrics: Mapping[str, Any]
    members: pd.DataFrame  # a row a member, indexed by member
    class_names: tuple[str, ...]  # the K classes of the zoo
    embeddings: Mapping[str, pd.DataFrame]  # encoder → member, split, embedding_0 … embedding_{K-1}
    logs: Mapping[str, pd.DataFrame]  # encoder → step, loss, train_angle_deg, val_angle_deg
    samples: Mapping[int, np.ndarray]  # test member → uint8 [S, H, W, C]
    date: datetime  # UTC, when the zoo or, if there, its evaluation was written

    def mixtures(self, members: Any) -> np.ndarray:
        """True proportions [n, K] of the members asked for."""
        columns = [f"mixture_{name}" for name in self.class_names]
        return self.members.loc[members, columns].to_numpy(np.float64)


class Prediction(NamedTuple):
    """The best encoder's answers on the test members with finite embeddings."""

    encoder: str
    member: np.ndarray  # int [n]
    true: np.ndarray  # [n, K] proportions
    predicted: np.ndarray  # [n, K] proportions
    angle_deg: np.ndarray  # [n] between embedding and dataset vector
    composed_deg: np.ndarray  # [R] between the composition of two embeddings and the third's
    random_deg: np.ndarray  # [R] the same with the second part of another triplet, as in the table


def read_contents(run: RunFolder) -> Contents:
    """Reads what there is.

    Raises:
      StoreError: there is no zoo.
      ValueError: the zoo's mixtures are of other classes than the run has chosen.
    """
    config = _read(run.config, read_json, {})
    cells = cell_paths(run.zoo)  # of several, the one whose members the encoders read
    cell = cells.get(config.get("cell", ""), next(iter(cells.values())))
    manifest = read_manifest(cell)
    members = read_members(cell, manifest).set_index("member")
    classes = _read(run.classes, read_json, {})
    manifest = _read(cell / "manifest.json", read_json, {})
    columns = [c.removeprefix("mixture_") for c in members.columns if c.startswith("mixture_")]
    of_zoo = [str(name) for name in manifest.get("classes", columns)]  # an old zoo may name none
    names = [str(name) for name in classes.get("classes", of_zoo)]
    missing = [name for name in names if f"mixture_{name}" not in members]
    if sorted(names) != sorted(of_zoo) or missing:
        raise ValueError(f"classes {names} in {run.classes}, but mixtures of {of_zoo} in the zoo")

    encoders = run.encoder_names()
    metrics = _read(run.metrics, read_json, {})
    if not metrics and encoders:  # not evaluated yet: what the encoders wrote themselves
        metrics = {"encoders": {n: read_json(run.encoder(n) / "metrics.json") for n in encoders}}
    samples = _read(run.samples, read_arrays, {"member": (), "images": ()})
    written = run.metrics if run.metrics.exists() else cell / "members.parquet"
    return Contents(
        name=run.path.name,
        config=config,
        classes=classes,
        manifest=manifest,
        metrics=metrics,
        members=members,
        class_names=tuple(names),
        embeddings=_read_each(run, encoders, "embeddings.parquet", read_table),
        logs=_read_each(run, encoders, "log.jsonl", read_jsonl),
        samples={int(m): x for m, x in zip(samples["member"], samples["images"], strict=True)},
        date=datetime.fromtimestamp(written.stat().st_mtime, UTC),
    )


def _read(path, read_fn: Callable[..., Value], default: Value) -> Value:
    return read_fn(path) if path.exists() else default


def _read_each(run: RunFolder, encoders: list[str], file: str, read_fn) -> dict[str, pd.DataFrame]:
    paths = {name: run.encoder(name) / file for name in encoders}
    return {name: read_fn(path) for name, path in paths.items() if path.exists()}


def predict(contents: Contents) -> Prediction | None:
    """The encoder chosen on validation, on test members; None while no encoder has embedded any."""
    name = best_encoder(contents.metrics)
    if name not in contents.embeddings:
        name = next(iter(contents.embeddings), None)
    if name is None:
        return None
    table = contents.embeddings[name]
    columns = [f"embedding_{k}" for k in range(len(contents.class_names))]
    embeddings = table[columns].to_numpy(np.float64)
    member, finite = table["member"].to_numpy(), np.isfinite(embeddings).all(axis=1)
    composed_deg, random_deg = _compose_deg(
        contents.members,
        dict(zip(member[finite], embeddings[finite], strict=True)),
        int(contents.config.get("seed", 0)),
    )
    test = finite & (table["split"] == "test").to_numpy()
    member, embeddings = member[test], embeddings[test]
    true = contents.mixtures(member)
    return Prediction(
        encoder=name,
        member=member,
        true=true,
        predicted=to_simplex(embeddings),
        angle_deg=angle_deg(embeddings, true),
        composed_deg=composed_deg,
        random_deg=random_deg,
    )


def best_encoder(metrics: Mapping[str, Any]) -> str | None:
    """The run's own choice, else the encoder with the smallest angle on validation."""
    angles = {
        name: float(values.get("val_angle_deg_mean") or np.inf)
        for name, values in metrics.get("encoders", {}).items()
    }
    return metrics.get("best_encoder") or min(angles, key=lambda name: angles[name], default=None)


def _compose_deg(
    members: pd.DataFrame, embeddings: Mapping[int, np.ndarray], seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Angles [R] of the mean proportions with the union: its own parts, and one of a stranger."""
    triplets = [t for t in _triplets(members) if all(member in embeddings for member in t)]
    if len(triplets) < 2:
        return np.empty(0), np.empty(0)
    stacked = np.array([[embeddings[member] for member in t] for t in triplets])  # [R, 3, K]
    first, second, union = np.moveaxis(stacked, 1, 0)
    stranger = second[random_cycle(len(second), seed)]
    return (
        angle_deg(to_simplex(first) + to_simplex(second), union),
        angle_deg(to_simplex(first) + to_simplex(stranger), union),
    )


def _triplets(members: pd.DataFrame) -> list[list[int]]:
    """Members of D1, of D2 and of D1 + D2."""
    if "triplet" not in members:
        return []
    triplet, member = members["triplet"].to_numpy(), members.index.to_numpy()
    is_sum = (members["split"] == "sum").to_numpy()
    triplets = [
        [*member[(triplet == t) & ~is_sum], *member[(triplet == t) & is_sum]]
        for t in np.unique(triplet[triplet >= 0])
    ]
    return [t for t in triplets if len(t) == 3]
