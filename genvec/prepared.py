"""Prepared TFDS sets as they lie in their folders: read without TensorFlow, never downloaded."""

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
      ValueError: its description is damaged.
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
    with _naming(info):
        content = json.loads(info.read_text())
        formats = [content.get("fileFormat", "tfrecord")]
        formats += content.get("alternativeFileFormats", [])
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


@contextmanager
def _naming(path: str | Path) -> Iterator[None]:
    """What other libraries raise while they read a set becomes one line that names where it lies.

    array_record, Riegeli, protobuf and Pillow each have kinds of their own.
    """
    try:
        yield
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ValueError(
            f"{path} cannot be read: {reason}; if it is damaged, prepare the set again"
        ) from error


def open_set(folder: Path) -> Any:
    """The TFDS builder of a prepared folder; not `tfds.data_source`, which tries to download.

    Raises:
      ValueError: its descriptions are damaged.
    """
    import tensorflow_datasets as tfds  # a second to import, and not needed from a cache

    with _naming(folder):
        return tfds.builder_from_directory(folder)


def open_split(builder: Any, split: str, **options: Any) -> Any:
    """One split of an opened set as a TFDS data source.

    Raises:
      ValueError: there is no such split, or its files are damaged.
    """
    if split not in builder.info.splits:
        known = ", ".join(sorted(builder.info.splits))
        raise ValueError(f"{builder.data_path} has no split {split!r}; known: {known}")
    with _naming(f"split {split!r} of {builder.data_path}"):
        return builder.as_data_source(split, **options)


def names_of_classes(builder: Any, feature: str) -> tuple[str, ...]:
    """The names that an opened set gives to the numbers of a feature.

    Raises:
      ValueError: no such feature, one that is no class, or fewer names than classes.
    """
    features = builder.info.features
    if feature not in features:
        known = ", ".join(sorted(features))
        raise ValueError(f"{builder.data_path} has no feature {feature!r}; known: {known}")
    names = getattr(features[feature], "names", None)
    if names is None or len(names) != features[feature].num_classes:
        raise ValueError(
            f"feature {feature!r} of {builder.data_path} is {features[feature]!r} with the names "
            f"{names}; a class needs one name for each number"
        )
    return tuple(names)


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
      ValueError: an image with colours, where copies are expected; images that are not uint8 of
        one size; a record that cannot be read.
    """
    feature = source.dataset_info.features["image"]
    *size, channels = feature.shape
    if None in feature.shape or len(size) != 2 or feature.np_dtype != np.uint8:
        raise ValueError(
            f"{source.dataset_info.data_dir}: images are {np.dtype(feature.np_dtype)} of shape "
            f"{feature.shape}; give uint8 [H, W, C] of one size"
        )
    images = np.empty((len(source), *size, 1 if gray_copies else channels), np.uint8)
    labels = np.empty(len(source), np.int32)
    for start, records in _chunks(source):
        stop = start + len(records)
        pixels = np.stack([record["image"] for record in records])
        if gray_copies and (pixels != pixels[..., :1]).any():
            raise ValueError(
                f"{source.dataset_info.data_dir}: records {start}..{stop - 1} hold an image with "
                "colours, where the channels should be copies of one"
            )
        images[start:stop] = pixels[..., :1] if gray_copies else pixels
        labels[start:stop] = [record[label] for record in records]
        if progress is not None:
            progress(done + stop, total)
    return images, labels


def _chunks(source: Any) -> Iterator[tuple[int, list[Any]]]:
    """The records of a data source, many at a time, with the number of the first."""
    for start in range(0, len(source), CHUNK):
        rows = list(range(start, min(start + CHUNK, len(source))))
        with _naming(f"{source.dataset_info.data_dir}: one of records {start}..{rows[-1]}"):
            records = source.__getitems__(rows)
        yield start, records


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
      ValueError: it lacks the split or is damaged.
    """
    import tensorflow_datasets as tfds

    decoders: Any = {"image": tfds.decode.SkipDecoding()}
    builder = open_set(prepared_folder(name, data_dir))
    source = open_split(builder, split, decoders=decoders)
    columns: dict[str, list[int]] = {feature: [] for feature in features}
    for _, records in _chunks(source):
        for record in records:
            for feature, column in columns.items():
                column.append(int(record[feature]))
    return {feature: np.array(column, np.int32) for feature, column in columns.items()}


def feature_names(
    name: str, feature: str, *, data_dir: str | os.PathLike | None = None
) -> tuple[str, ...]:
    """The names that a prepared TFDS set gives to the numbers of a feature.

    Raises:
      DatasetNotPrepared: see `prepared_folder`.
      ValueError: see `names_of_classes`.
    """
    return names_of_classes(open_set(prepared_folder(name, data_dir)), feature)
