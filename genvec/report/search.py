"""The page of a search: the query's images, and what the members found generate."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from genvec.report.pages import write_page
from genvec.report.samples import strip

MADE_FROM = {
    "weights": "its weights",
    "samples": "images that it generates",
    "reconstruction": "how well it gives images back",
}


class Found(NamedTuple):
    """A member near to the query."""

    rank: int
    member: int
    split: str
    score: float  # cosine of member and query
    shares: Mapping[str, float]  # class → its true share
    images: np.ndarray  # [S, H, W, C] in [0, 1], generated

    def trained_on(self) -> str:
        """Classes with a twentieth or more, the largest first."""
        kept = sorted(
            (pair for pair in self.shares.items() if pair[1] >= 0.05), key=lambda pair: -pair[1]
        )
        return " · ".join(f"{name} {100 * share:.0f} %" for name, share in kept)


class FoundRow(NamedTuple):
    """A member as the page shows it."""

    rank: int
    member: int
    split: str
    score: str
    shares: str
    strip: str  # a data URI


def write_search(
    path: Path,
    query: str,
    images: np.ndarray,
    num_images: int,
    found: Sequence[Found],
    reads: Sequence[str] = ("weights",),
) -> Path:
    """Writes one HTML page that needs no network.

    Args:
      query: as it was given.
      images: uint8 [S, H, W, C], some of the query's.
      num_images: how many there were.
      reads: what the members' embeddings are made of.
    """
    rows = [
        FoundRow(
            f.rank,
            f.member,
            f.split,
            f"{f.score:.3f}",
            f.trained_on(),
            strip(np.round(np.clip(f.images, 0, 1) * 255).astype(np.uint8)),
        )
        for f in found
    ]
    values = {"query": query, "num_images": num_images, "strip": strip(images), "rows": rows}
    values["made_from"] = " and ".join(MADE_FROM[name] for name in reads)
    return write_page(path, "search.html", bokeh="", script="", **values)  # nothing is plotted
