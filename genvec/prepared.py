"""Prepared TFDS sets as they lie in their folders: read without TensorFlow, never downloaded."""

import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Progress = Callable[[int, int], None]  # (images decoded, images in all)

CHUNK = 256  # records read together: twice as fast as one by one, and a step of the progress


class DatasetNotPrepared(FileNotFoundError):  # noqa: N818 - a state, not a mistake
    """A TFDS set that is not in its folder, or is there in a file format that cannot be read."""


def prepared_folder(name: str, data_dir: str | os.PathLike | None) -> Path:
    """The folder of the highest version of a set that is prepared as array_record.

    Args:
      name: of the set.
      data_dir: see `genvec.data.load_dataset`.

    Raises:
      DatasetNotPrepared: there is none; the message holds the command that prepares it.
    """
    if data_dir is not None:
        root, origin = Path(data_dir), "the argument data_dir"
    elif os.environ.get("TFDS_DATA_DIR"):
        root, origin = Path(os.environ["TFDS_DATA_DIR"]), "the variable TFDS_DATA_DIR"
    else:
        root, origin = Path("~/tensorflow_datasets"), "the default of TFDS"
    root = root.expanduser().absolute()
    infos = [
        info
        for info in (root / name).glob("*/dataset_info.json")
        if re.fullmatch(r"\d+\.\d+\.\d+", info.parent.name)
    ]
    if not infos:
        raise DatasetNotPrepared(
            f"data set {name!r} is not prepared in {root} (from {origin}). "
            f"This command prepares it there:\n  {_prepare_command(name, root)}"
        )
    info = max(infos, key=lambda path: [int(part) for part in path.parent.name.split(".")])
    content = json.loads(info.read_text())
    formats = [content.get("fileFormat", "tfrecord"), *content.get("alternativeFileFormats", [])]
    if "array_record" not in formats:
        raise DatasetNotPrepared(
            f"data set {name!r} in {info.parent} (from {origin}) is prepared as "
            f"{', '.join(formats)}; genvec reads array_record. "
            "TFDS keeps one format a folder, so prepare it in another "
            f"and name that as data_dir:\n  {_prepare_command(name, root / 'array_record')}"
        )
    return info.parent


def _prepare_command(name: str, root: Path) -> str:
    return (
        "pip install 'genvec[prepare]' && python -c \"import tensorflow_datasets as tfds; "
        f"tfds.builder({name!r}, data_dir={str(root)!r}, file_format='array_record')"
        '.download_and_prepare()"'
    )


def open_set(folder: Path) -> Any:
    """The TFDS builder of a prepared folder; not `tfds.data_source`, which tries to download."""
    import tensorflow_datasets as tfds  # a second to import, and not needed from a cache

    return tfds.builder_from_directory(folder)


def read_images(
    source: Any, label: str, gray_copies: bool, progress: Progress | None, done: int, total: int
) -> tuple[np.ndarray, np.ndarray]:
    """A TFDS data source → images uint8 [M, H, W, C], labels int32 [M], in its order.

    Args:
      source: of `open_set`.
      label: the feature that gives the label.
      gray_copies: the channels are copies of one; keep one.
      progress: called after each chunk of records with (done + images so far, total).

    Raises:
      ValueError: an image with colours, where copies are expected.
    """
    *size, channels = source.dataset_info.features["image"].shape
    images = np.empty((len(source), *size, 1 if gray_copies else channels), np.uint8)
    labels = np.empty(len(source), np.int32)
    for start in range(0, len(source), CHUNK):
        stop = min(start + CHUNK, len(source))
        records = source.__getitems__(list(range(start, stop)))
        pixels = np.stack([record["image"] for record in records])
        if gray_copies and (pixels != pixels[..., :1]).any():
            raise ValueError(f"{source}: records {start}..{stop - 1} hold an image with colours")
        images[start:stop] = pixels[..., :1] if gray_copies else pixels
        labels[start:stop] = [record[label] for record in records]
        if progress is not None:
            progress(done + stop, total)
    return images, labels


def read_features(
    name: str,
    split: str,
    features: Sequence[str],
    *,
    data_dir: str | os.PathLike | None = None,
) -> dict[str, np.ndarray]:
    """Numbers that a prepared TFDS set keeps beside its images: feature → int [M].

    In the order of `read_images`; no image is decoded.

    Raises:
      DatasetNotPrepared: see `prepared_folder`.
    """
    import tensorflow_datasets as tfds

    decoders: Any = {"image": tfds.decode.SkipDecoding()}
    builder = open_set(prepared_folder(name, data_dir))
    source = builder.as_data_source(split, decoders=decoders)
    columns: dict[str, list[int]] = {feature: [] for feature in features}
    for start in range(0, len(source), CHUNK):
        for record in source.__getitems__(list(range(start, min(start + CHUNK, len(source))))):
            for feature, column in columns.items():
                column.append(int(record[feature]))
    return {feature: np.array(column, np.int32) for feature, column in columns.items()}


def feature_names(
    name: str, feature: str, *, data_dir: str | os.PathLike | None = None
) -> tuple[str, ...]:
    """The names that a prepared TFDS set gives to the numbers of a feature.

    Raises:
      DatasetNotPrepared: see `prepared_folder`.
    """
    return tuple(open_set(prepared_folder(name, data_dir)).info.features[feature].names)
