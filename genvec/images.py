"""Images as arrays: those of a folder, batches of them, and smaller ones."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

CHANNELS = {"1": 1, "L": 1, "RGB": 3}  # Pillow's modes that are read as they are
READ_AS = {1: "L", 3: "RGB"}
CHUNK = 1024  # images shrunk at once


class FolderImages(NamedTuple):
    """What a folder holds."""

    images: np.ndarray  # uint8 [M, H, W, C], in the order of the file names
    skipped: tuple[str, ...]  # names of files that are no images


def read_images(folder: str | Path, image_shape: Sequence[int]) -> FolderImages:
    """All image files directly in a folder.

    Args:
      folder: its path; hidden files do not count.
      image_shape: (H, W, C) that the images must have. A palette counts as colour.

    Raises:
      ValueError: not a folder, no image in it, or an image of another size or number of channels;
        the message names the file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder")
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name[0] != ".")
    images, skipped = [], []
    for path in files:
        try:
            with Image.open(path) as image:
                images.append(_pixels(path, image, image_shape))
        except (UnidentifiedImageError, OSError, SyntaxError):
            skipped.append(path.name)
    if not images:
        odd = f"; unreadable: {', '.join(skipped[:5])}" if skipped else ""
        raise ValueError(f"{folder} has no image in its {len(files)} files{odd}")
    return FolderImages(np.stack(images), tuple(skipped))


def _pixels(path: Path, image: Image.Image, image_shape: Sequence[int]) -> np.ndarray:
    height, width, channels = image_shape
    found = CHANNELS.get(image.mode, 3)
    if (image.height, image.width, found) != (height, width, channels):
        raise ValueError(
            f"{path} is {image.height} × {image.width} with {found} channel{'s' * (found > 1)}; "
            f"the encoder was trained on {height} × {width} with {channels}"
        )
    return np.asarray(image.convert(READ_AS[channels]), np.uint8).reshape(height, width, channels)


def in_batches(
    fn: Callable[[np.ndarray], Any], images: np.ndarray, *, batch_size: int = 512
) -> np.ndarray:
    """`fn` of images [M, H, W, C], `batch_size` at a time, as one array [M, ..].

    `fn` sees batches of one shape, so it is compiled once; what it says of padding is dropped.
    """
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
