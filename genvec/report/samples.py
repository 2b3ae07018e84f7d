"""Generated samples as pictures inside the page: strips, and sheets along the simplex's edges."""

import base64
import io
from itertools import combinations
from typing import NamedTuple

import numpy as np
from PIL import Image

from genvec.report.contents import Contents

EDGE_STEPS = 11  # points from one class to the other: every 10 %
SHEET_SAMPLES = 5  # of each member, so that the three edges fit on a screen or two
MAX_STRIP_BYTES = 16_000_000  # of all strips of the map before compression, so the page stays light


class SheetColumn(NamedTuple):
    """One test member of a sheet."""

    member: int
    strip: str  # its samples, one above the other
    mixture: tuple[float, ...]  # true proportions [K]
    distance: float  # from the point on the edge, Euclidean in proportions


class Sheet(NamedTuple):
    """Members along the edge from one class to another, as near to it as test members come."""

    first: str
    second: str
    columns: list[SheetColumn]


def strip(images: np.ndarray, *, vertical: bool = False) -> str:
    """Images uint8 [S, H, W, C] side by side, one white pixel apart, as a data URI of a PNG."""
    images = images if images.shape[-1] == 3 else images[..., :1]
    axis = 0 if vertical else 1
    gap = np.full_like(images[0].take([0], axis), 255)
    tiles = [tile for image in images for tile in (gap, image)][1:]
    return png(np.concatenate(tiles, axis))


def png(image: np.ndarray) -> str:
    """An image uint8 [H, W, C] of one or three channels as a data URI."""
    buffer = io.BytesIO()
    Image.fromarray(image if image.shape[-1] == 3 else image[..., 0]).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def strips(contents: Contents, members: np.ndarray) -> list[str]:
    """A strip for each member, "" where it has no samples; fewer samples where images are large."""
    found = [contents.samples[int(m)] for m in members if int(m) in contents.samples]
    if not found:
        return [""] * len(members)
    num = max(1, MAX_STRIP_BYTES // (len(found) * found[0][0].nbytes))
    return [
        strip(contents.samples[int(m)][:num]) if int(m) in contents.samples else "" for m in members
    ]


def edge_sheets(contents: Contents) -> list[Sheet]:
    """Sheets along the edges between the first three classes; empty without samples."""
    members = np.array([m for m in contents.samples if m in contents.members.index], int)
    if not len(members):
        return []
    mixtures = contents.mixtures(members)
    names, corners = contents.class_names, np.eye(len(contents.class_names))
    sheets = []
    for a, b in combinations(range(min(3, len(names))), 2):
        points = np.linspace(corners[a], corners[b], EDGE_STEPS)
        distances = np.linalg.norm(points[:, None] - mixtures, axis=-1)
        nearest = dict.fromkeys(int(i) for i in distances.argmin(axis=1))  # each once, in order
        columns = [
            SheetColumn(
                member=int(members[i]),
                strip=strip(contents.samples[int(members[i])][:SHEET_SAMPLES], vertical=True),
                mixture=tuple(mixtures[i]),
                distance=float(distances[:, i].min()),
            )
            for i in nearest
        ]
        sheets.append(Sheet(names[a], names[b], columns))
    return sheets
