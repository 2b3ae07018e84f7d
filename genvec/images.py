"""Images as arrays: those of a folder, and smaller ones."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

CHANNELS = {"1": 1, "L": 1, "RGB": 3}  # Pillow's modes that are read as they are
READ_AS = {1: "L", 3: "RGB"}


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


def shrink_images(images: np.ndarray, size: int) -> np.ndarray:
    """Means over square blocks of pixels: uint8 [M, H, W, C] → [M, size, size, C].

    Raises:
      ValueError: H and W are not multiples of the size.
    """
    num, height, width, channels = images.shape
    if height % size or width % size or not 0 < size <= min(height, width):
        raise ValueError(
            f"size is {size}; images of {height} × {width} shrink to a divisor of both"
        )
    blocks = images.reshape(num, size, height // size, size, width // size, channels)
    return np.rint(blocks.mean(axis=(2, 4), dtype=np.float32)).astype(np.uint8)
