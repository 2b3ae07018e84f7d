"""One image file → pixels of 8 bits, or the reason why not.

The decisions, each as users of Pillow and torchvision expect or else refused with the reason:

* grey of 16 bits is scaled to 8 (value / 257), never cut; of 16-bit colour Pillow keeps the upper
  8 bits. Floats are scaled where all lie in [0, 1]. Other floats, and integers of 32 bits or with a
  sign, have no agreed white and are refused; so is wide grey that would be all but black in 8 bits.
* transparency is laid over white.
* an EXIF orientation is applied.
* of an animation or of several pages the first is read.
* grey stored as colour, palette, GIF or WebP is grey where R = G = B; grey is valid colour, too.
* colour profiles are ignored, as by Pillow and torchvision.
"""

import os
import stat
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.ImageFile import ImageFile

# what Pillow decodes by itself; never formats that run another program, such as EPS
FORMATS = (
    "PNG",
    "JPEG",
    "JPEG2000",
    "GIF",
    "BMP",
    "DIB",
    "TIFF",
    "WEBP",
    "AVIF",
    "PPM",
    "QOI",
)
GREY_TOLERANCE = 2  # of 255, between the channels of a grey image; lossy WebP needs 1
DARK = 2 / 255  # of white: wide grey that stays below is all but black in 8 bits
BITS_PER_SAMPLE, PHOTOMETRIC, ORIENTATION = 258, 262, 274  # tags of TIFF and EXIF


class NoImageError(ValueError):
    """A file that is no image, or one that cannot be decoded; the message is the reason."""


class MisfitError(ValueError):
    """An image that does not fit the encoder, or whose values have no meaning as 0..255."""


class Picture(NamedTuple):
    """An image file as pixels."""

    pixels: np.ndarray  # uint8 [H, W, C]
    notes: tuple[str, ...]  # what was done to it


class Loaded(NamedTuple):
    """An image in memory, turned as it is to be seen, and what Pillow told of its file."""

    image: Image.Image
    format: str
    white: int  # the largest value of wide integers
    inverted: bool  # 0 is white, and Pillow has not turned it round
    notes: list[str]


def printable(text: str | Path) -> str:
    """A file's name for messages: bytes that are no text, and control characters, as escapes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))


def read_picture(path: Path, image_shape: Sequence[int]) -> Picture:
    """Reads one image file.

    Args:
      path: of a regular file, or a link to one; anything else is not opened.
      image_shape: (H, W, C) that the image must have; C is 1 or 3.

    Raises:
      NoImageError: not a file, not readable, of no format of `FORMATS`, damaged, or so large that
        it may be a decompression bomb.
      MisfitError: of another size, coloured where C is 1, or of values without a known white.
    """
    height, width, channels = image_shape
    loaded = _load(path, (width, height))
    if loaded.image.mode[0] in "IF":
        grey = _eight_bits(loaded)
        pixels = np.repeat(grey[..., None], channels, axis=-1)
    else:
        pixels = _channels(_over_white(loaded), channels)
    return Picture(pixels, tuple(loaded.notes))


def _load(path: Path, size: tuple[int, int]) -> Loaded:
    with _opened(path) as file, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with _naming_damage():
            image = Image.open(file, formats=[f for f in FORMATS if _is_known(f)])
        if sorted(image.size) != sorted(size):  # before anything is decoded
            raise _other_size(image.size, size)
        with _naming_damage():
            loaded = _seen(image)
    if loaded.image.size != size:
        raise _other_size(loaded.image.size, size)
    warned = [f"Pillow warns: {printable(_line(warning.message))}" for warning in told]
    return loaded._replace(notes=loaded.notes + warned)


def _seen(image: ImageFile) -> Loaded:
    """Decodes the first frame, and turns it as its EXIF orientation says."""
    wide_grey = image.mode[0] in "IF"
    tags: Any = getattr(image, "tag_v2", {})
    white = 2 ** tags.get(BITS_PER_SAMPLE, (16,))[0] - 1
    inverted = wide_grey and tags.get(PHOTOMETRIC) == 0
    deep_colour = not wide_grey and any(";16" in str(tile[3]) for tile in image.tile)
    turned = image.getexif().get(ORIENTATION, 1) != 1
    seen = ImageOps.exif_transpose(image)
    key = seen.info.get("transparency")
    if deep_colour and isinstance(key, tuple):  # Pillow cuts the pixels to 8 bits, not the key
        seen.info["transparency"] = tuple(value >> 8 for value in key)
    num_frames = getattr(image, "n_frames", 1)
    notes = {
        "turned by its EXIF orientation": turned,
        f"the first of {num_frames} frames": num_frames > 1,
        "16-bit colour, of which the upper 8 bits are read": deep_colour,
    }
    told = [note for note, is_so in notes.items() if is_so]
    return Loaded(seen, str(image.format), white, inverted, told)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """A regular file for reading; pipes, sockets and devices are not opened, so nothing hangs."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise NoImageError(f"{_kind(status.st_mode)}, not a file")
        if not status.st_size:
            raise NoImageError("an empty file")
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # it may have changed since
    except FileNotFoundError as error:
        raise NoImageError("a link to nothing" if path.is_symlink() else "it is gone") from error
    except OSError as error:
        raise NoImageError(f"it cannot be read: {error.strerror or error}") from error
    with open(descriptor, "rb") as file:
        yield file


def _kind(mode: int) -> str:
    kinds = {
        "a folder": stat.S_ISDIR,
        "a pipe": stat.S_ISFIFO,
        "a socket": stat.S_ISSOCK,
        "a device": lambda mode: stat.S_ISCHR(mode) or stat.S_ISBLK(mode),
    }
    return next((kind for kind, is_so in kinds.items() if is_so(mode)), "something special")


@contextmanager
def _naming_damage() -> Iterator[None]:
    try:
        yield
    except UnidentifiedImageError as error:
        raise NoImageError(f"no whole image of a known format ({', '.join(FORMATS)})") from error
    except Exception as error:  # decoders raise all kinds on wrong bytes
        raise NoImageError(f"it cannot be decoded: {printable(_line(error))}") from error


def _line(error: Any) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _is_known(name: str) -> bool:
    Image.init()
    return name in Image.OPEN


def _other_size(size: tuple[int, int], expected: tuple[int, int]) -> MisfitError:
    (width, height), (right_width, right_height) = size, expected
    return MisfitError(
        f"{height} × {width}; the encoder was trained on {right_height} × {right_width}"
    )


def _eight_bits(loaded: Loaded) -> np.ndarray:
    """Grey that is wider than 8 bits, as uint8 [H, W]."""
    values, mode = np.asarray(loaded.image, np.float64), loaded.image.mode
    low, high = values.min(), values.max()
    if mode == "F" and not (low >= 0 and high <= 1):  # NaN fails both
        raise MisfitError(
            f"floats from {low:g} to {high:g}; allowed: 0 to 1, which become 0 to 255"
        )
    if mode == "I" and loaded.format not in ("PNG", "PPM"):  # theirs are 16 bits without sign
        raise MisfitError(
            f"integers of 32 bits, or with a sign, from {low:g} to {high:g}: which one is white is "
            "not known; save it with 8 or 16 bits"
        )
    unit = values / (1 if mode == "F" else loaded.white)
    unit = 1 - unit if loaded.inverted else unit
    if 0 < unit.max() < DARK:
        raise MisfitError(
            f"grey from {low:g} to {high:g} of {1 if mode == 'F' else loaded.white}: it would be "
            "all but black; save it with 8 bits"
        )
    if mode != "F":
        loaded.notes.append("16-bit grey, scaled to 8 bits")
    key = loaded.image.info.get("transparency")
    if isinstance(key, int) and (values == key).any():
        loaded.notes.append("transparency laid over white")
        unit = np.where(values == key, 1, unit)
    return np.rint(unit * 255).astype(np.uint8)


def _over_white(loaded: Loaded) -> Image.Image:
    """An image of 8 bits as RGB."""
    image = loaded.image
    with _naming_damage():
        if image.mode == "La":  # Pillow takes it no other way
            image = image.convert("LA")
        if not image.has_transparency_data:
            return image.convert("RGB")
        image = image.convert("RGBA")
        if np.asarray(image)[..., 3].min() < 255:
            loaded.notes.append("transparency laid over white")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")


def _channels(image: Image.Image, channels: int) -> np.ndarray:
    """RGB → uint8 [H, W, C]."""
    pixels = np.asarray(image)
    if channels == 3:
        return pixels
    spread = int(np.ptp(pixels.astype(int), axis=-1).max())
    if spread > GREY_TOLERANCE:
        raise MisfitError(
            f"coloured, R, G and B differ by up to {spread} of 255; the encoder was trained on grey"
        )
    return np.asarray(image.convert("L"))[..., None]
