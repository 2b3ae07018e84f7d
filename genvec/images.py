"""Images as arrays: those of a folder, batches of them, and smaller ones."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from genvec.decoding import MisfitError, NoImageError, printable, read_picture

CHUNK = 1024  # images shrunk at once
NAMED = 5  # files that an error or a note names, of many


class FolderImages(NamedTuple):
    """The images of a folder, and what became of its other files; names are printable."""

    images: np.ndarray  # uint8 [M, H, W, C], in the order of the file names
    skipped: tuple[tuple[str, str], ...]  # (name, reason) of everything that is no image
    notes: tuple[tuple[str, str], ...]  # (name, what was done to the image)

    def told(self) -> list[str]:
        """Lines for the user: each note with its files, each skipped file with its reason."""
        by_note: dict[str, list[str]] = {}
        for name, note in self.notes:
            by_note.setdefault(note, []).append(name)
        lines = [f"{note}: {_some(names)}" for note, names in by_note.items()]
        return lines + [f"skipped {name}: {reason}" for name, reason in self.skipped]


def read_images(folder: str | Path, image_shape: Sequence[int]) -> FolderImages:
    """All image files directly in a folder, decoded as `genvec.decoding` says.

    What is no image that can be decoded is skipped, whatever it is, and listed with the reason. An
    image that does not fit is an error: without it the question would be another one.

    Args:
      folder: its path; hidden files do not count, folders inside are listed as skipped.
      image_shape: (H, W, C) that the images must have; C is 1 or 3.

    Raises:
      ValueError: not a folder that can be read, no image in it, or an image of another size,
        with colours where C is 1, or of values without a known white. The message names the file.
    """
    folder = Path(folder)
    if image_shape[2] not in (1, 3):
        raise ValueError(f"files hold 1 or 3 channels; the encoder was trained on {image_shape[2]}")
    images, skipped, notes = [], [], []
    files = _files(folder)
    for path in files:
        name = printable(path.name)
        try:
            picture = read_picture(path, image_shape)
        except NoImageError as error:
            skipped.append((name, str(error)))
        except MisfitError as error:
            raise ValueError(f"{printable(path)}: {error}") from error
        else:
            images.append(picture.pixels)
            notes += [(name, note) for note in picture.notes]
    if not images:
        odd = "".join(f"; {name}: {reason}" for name, reason in skipped[:NAMED])
        raise ValueError(f"{printable(folder)} has no image in its {len(files)} files{odd}")
    return FolderImages(np.stack(images), tuple(skipped), tuple(notes))


def _files(folder: Path) -> list[Path]:
    """What lies in a folder, in the order of the names."""
    if not folder.is_dir():
        what = "a file; if it is an archive, unpack it" if folder.is_file() else "not a folder"
        raise ValueError(f"{printable(folder)} is {what}")
    try:
        return sorted(path for path in folder.iterdir() if path.name[0] != ".")
    except OSError as error:
        raise ValueError(f"{printable(folder)} cannot be read: {error.strerror}") from error


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def in_batches(
    fn: Callable[[np.ndarray], Any], images: np.ndarray, *, batch_size: int = 512
) -> np.ndarray:
    """`fn` of images [M, H, W, C], `batch_size` at a time, as one array [M, ..].

    `fn` sees batches of one shape, so it is compiled once; what it says of padding is dropped.

    Raises:
      ValueError: there are no images.
    """
    if not len(images):
        raise ValueError("there are no images to compute anything of")
    size, parts = min(batch_size, len(images)), []
    for start in range(0, len(images), batch_size):
        part = images[start : start + batch_size]
        padded = np.pad(part, ((0, size - len(part)), *[(0, 0)] * (images.ndim - 1)))
        parts.append(np.asarray(fn(padded))[: len(part)])
    return np.concatenate(parts)


def shrink_images(images: np.ndarray, size: int) -> np.ndarray:
    """Means over the areas of larger pixels: uint8 [M, H, W, C] → [M, size, size, C].

    Where H and W are multiples of the size these are means over square blocks.

    Raises:
      ValueError: a size that is larger than H or W.
    """
    height, width = images.shape[1:3]
    if not 0 < size <= min(height, width):
        raise ValueError(f"size is {size}; images of {height} × {width} shrink to 1..{height}")
    rows, columns = _areas(height, size), _areas(width, size)
    small = np.empty((len(images), size, size, images.shape[3]), np.uint8)
    for start in range(0, len(images), CHUNK):
        part = images[start : start + CHUNK].astype(np.float32)
        part = np.tensordot(part, rows, (1, 1))  # [m, W, C, size]
        part = np.tensordot(part, columns, (1, 1))  # [m, C, size, size]
        small[start : start + CHUNK] = np.rint(np.moveaxis(part, 1, 3))
    return small


def _areas(num: int, size: int) -> np.ndarray:
    """The share of each of `num` pixels in the mean of each of `size` larger ones: [size, num]."""
    edges = np.arange(size + 1) * (num / size)
    pixels = np.arange(num)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return (np.maximum(overlap, 0) * (size / num)).astype(np.float32)
