"""Colours, told apart by colour-blind eyes and dark enough for white paper."""

from collections.abc import Sequence

import numpy as np

# Okabe & Ito 2008 without black and yellow, then three of Tol's "muted" scheme and a grey
CLASS_COLORS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"),
    *("#882255", "#999933", "#332288", "#6B6B6B"),
)
INK, MUTED, RULE = "#1B2430", "#66717F", "#DFE4EA"
TRAIN, VAL, CONTROL = "#E69F00", "#0072B2", "#6B6B6B"
HEAT = ("#F4F8FC", "#1F5F99")  # near, far


def class_colors(num: int) -> tuple[str, ...]:
    """One colour a class; from the eleventh on they repeat."""
    return tuple(CLASS_COLORS[i % len(CLASS_COLORS)] for i in range(num))


def blend(weights: np.ndarray, colors: Sequence[str]) -> list[str]:
    """Mixes the colours [K] by each row of the weights [n, K] → n colours "#rrggbb"."""
    rgb = np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in colors])
    mixed = np.clip(np.rint(weights @ rgb), 0, 255).astype(int)
    return ["#{:02x}{:02x}{:02x}".format(*row) for row in mixed]
