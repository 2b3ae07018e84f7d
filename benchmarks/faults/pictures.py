"""Image files as they lie in folders, each with the pixels that a reader must see, or a refusal."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, PngImagePlugin

SIZE = (6, 5)  # height, width


class Picture(NamedTuple):
    """One file."""

    name: str
    content: bytes
    pixels: np.ndarray | None  # uint8 [H, W, C]; None: it is not to be read
    tolerance: int = 1  # of a pixel
    may_refuse: bool = False  # an error that names the file is as good


def gray(rng: np.random.Generator) -> np.ndarray:
    """Smooth, so that JPEG keeps it: uint8 [H, W]."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    return (30 + 25 * y + 15 * x + rng.integers(0, 9)).astype(np.uint8)


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _colour(x: np.ndarray) -> np.ndarray:
    return np.stack([x, 255 - x, x // 2], axis=2)


def _of(x: np.ndarray, channels: int) -> tuple[Image.Image, np.ndarray]:
    pixels = x[..., None] if channels == 1 else _colour(x)
    return Image.fromarray(pixels.squeeze()), pixels


def plain(rng, channels):
    """PNG, BMP, TIFF or a lossless WebP."""
    image, pixels = _of(gray(rng), channels)
    kind = ("PNG", "BMP", "TIFF", "PPM")[int(rng.integers(4))]
    return Picture(f"plain.{kind.lower()}", _saved(image, kind), pixels)


def jpeg(rng, channels):
    """JPEG of the best quality."""
    image, pixels = _of(gray(rng), channels)
    return Picture("photo.jpg", _saved(image, "JPEG", quality=100, subsampling=0), pixels, 6)


def gray_as_colour(rng, channels):
    """Three equal channels, as tools write gray images."""
    x = gray(rng)
    kind, options = (("PNG", {}), ("WEBP", {"lossless": True}))[int(rng.integers(2))]
    image = Image.fromarray(np.stack([x] * 3, axis=2))
    pixels = x[..., None] if channels == 1 else np.stack([x] * 3, axis=2)
    return Picture(f"rgb.{kind.lower()}", _saved(image, kind, **options), pixels)


def gray_palette(rng, channels):
    """A GIF of a gray image."""
    x = gray(rng)
    pixels = x[..., None] if channels == 1 else np.stack([x] * 3, axis=2)
    return Picture("gray.gif", _saved(Image.fromarray(x), "GIF"), pixels)


def deep(rng, channels):
    """16 bits a pixel."""
    x = gray(rng)
    kind = ("PNG", "TIFF")[int(rng.integers(2))]
    image = Image.fromarray(x.astype(np.uint16) * 257)
    pixels = x[..., None] if channels == 1 else np.stack([x] * 3, axis=2)
    return Picture(f"deep.{kind.lower()}", _saved(image, kind), pixels, may_refuse=True)


def wide_integers(rng, channels):
    """32 bits a pixel, without a known white."""
    image = Image.fromarray(gray(rng).astype(np.int32) * 1000)
    return Picture("wide.tiff", _saved(image, "TIFF"), None, may_refuse=True)


def floating(rng, channels):
    """TIFF of floats in [0, 1]."""
    x = gray(rng)
    image = Image.fromarray((x / 255).astype(np.float32))
    pixels = x[..., None] if channels == 1 else np.stack([x] * 3, axis=2)
    return Picture("float.tiff", _saved(image, "TIFF"), pixels, may_refuse=True)


def transparent(rng, channels):
    """A hidden colour beneath alpha 0 in one half, on white."""
    image, pixels = _of(gray(rng), channels)
    alpha = np.full(SIZE, 255, np.uint8)
    alpha[:, :2] = 0
    image.putalpha(Image.fromarray(alpha))
    seen = pixels.copy()
    seen[:, :2] = 255
    return Picture("alpha.png", _saved(image, "PNG"), seen, may_refuse=True)


def turned(rng, channels):
    """EXIF says that it lies upside down (3), or is mirrored (2)."""
    image, pixels = _of(gray(rng), channels)
    exif = Image.Exif()
    exif[0x0112] = orientation = (2, 3)[int(rng.integers(2))]
    seen = pixels[:, ::-1] if orientation == 2 else pixels[::-1, ::-1]
    return Picture("turned.png", _saved(image, "PNG", exif=exif), seen)


def animated(rng, channels):
    """The first of two frames counts."""
    x = gray(rng)
    frames = [Image.fromarray(x), Image.fromarray(255 - x)]
    content = _saved(frames[0], "PNG", save_all=True, append_images=frames[1:])
    pixels = x[..., None] if channels == 1 else np.stack([x] * 3, axis=2)
    return Picture("frames.png", content, pixels)


def black_and_white(rng, channels):
    """One bit a pixel."""
    x = np.where(gray(rng) > 120, 255, 0).astype(np.uint8)
    pixels = x[..., None] if channels == 1 else np.stack([x] * 3, axis=2)
    return Picture("bit.png", _saved(Image.fromarray(x).convert("1"), "PNG"), pixels)


def other_size(rng, channels):
    """One row less; a smaller image would be another question."""
    image, _ = _of(gray(rng)[1:], channels)
    return Picture("small.png", _saved(image, "PNG"), None, may_refuse=True)


def colour_for_gray(rng, channels):
    """Colours where the encoder sees gray."""
    image, pixels = _of(gray(rng), 3)
    return Picture("colour.png", _saved(image, "PNG"), pixels if channels == 3 else None, 1, True)


def cut_off(rng, channels):
    """The second half is missing."""
    image, _ = _of(gray(rng), channels)
    content = _saved(image, "PNG")
    return Picture("cut.png", content[: len(content) // 2 + 8], None)


def bomb(rng, channels):
    """A header that promises four hundred million pixels."""
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    parts = [(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")]
    return Picture("bomb.png", b"\x89PNG\r\n\x1a\n" + b"".join(map(_chunk, parts)), None, 1, True)


def _chunk(part: tuple[bytes, bytes]) -> bytes:
    name, data = part
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def odd_text(rng, channels):
    """A text chunk that grows to megabytes."""
    image, pixels = _of(gray(rng), channels)
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "x" * 3_000_000, zip=True)
    return Picture("text.png", _saved(image, "PNG", pnginfo=info), pixels, 1, True)


def postscript(rng, channels):
    """A program, which is not to be run."""
    head = f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 {SIZE[1]} {SIZE[0]}\n%%EndComments\n"
    return Picture("drawing.eps", head.encode() + b"showpage\n%%EOF\n", None)


def text(rng, channels):
    """No image."""
    content = (b"notes", b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0")
    return Picture("notes.txt", content[int(rng.integers(len(content)))], None)


def misnamed(rng, channels):
    """Bytes that are no text in its name."""
    image, pixels = _of(gray(rng), channels)
    return Picture(b"\xff\xfe.png".decode(errors="surrogateescape"), _saved(image, "PNG"), pixels)


def spoiled(rng, channels):
    """Random bytes in the middle of a good file; whatever comes of it is not compared."""
    image, pixels = _of(gray(rng), channels)
    content = bytearray(_saved(image, ("PNG", "TIFF", "BMP")[int(rng.integers(3))]))
    at = int(rng.integers(len(content)))
    content[at : at + 4] = rng.bytes(min(4, len(content) - at))
    return Picture("spoiled.png", bytes(content), pixels, 256, True)


PICTURES: tuple[Callable[[np.random.Generator, int], Picture], ...] = (
    plain,
    jpeg,
    gray_as_colour,
    gray_palette,
    deep,
    wide_integers,
    floating,
    transparent,
    turned,
    animated,
    black_and_white,
    other_size,
    colour_for_gray,
    cut_off,
    bomb,
    odd_text,
    postscript,
    text,
    misnamed,
    spoiled,
)
