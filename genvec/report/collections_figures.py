"""The interactive pictures of collections (Bokeh): the map of groups, bounds against distances."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from bokeh.models import (
    CDSView,
    ColumnDataSource,
    FixedTicker,
    HoverTool,
    IndexFilter,
    NumeralTickFormatter,
)

from genvec.report.palette import CLASS_COLORS, INK, MUTED
from genvec.report.plots import Panel, blank_figure, label_axes
from genvec.report.samples import MAX_STRIP_BYTES, strip

MAX_PAIRS = 500  # of a plot of bounds, evenly taken
MAX_COMPONENTS = 50  # that t-SNE sees, as its authors advise
MIN_GROUPS = 10  # of which t-SNE can make neighbourhoods
FEW_GROUPS = 100  # so few can be larger points
LEGEND_ROWS = 24  # as high as the map
STRIP_HEIGHT = 42  # pixels, of the drawings in a tooltip
COARSE = 16  # pixels of drawings that are shown as squares
FLOOR = 1e-2  # of the largest distance: what is smaller has no place on logarithmic axes
LIGHTNESS, CHROMA = (0.33, 0.8), (0.04, 0.19)  # of OKLab: what goes with the colours of classes
TOOLTIP = '<div class="{}" style="font:13px system-ui,sans-serif;color:{};padding:4px">{}</div>'


def draw_groups(arrays: Mapping[str, np.ndarray]) -> Panel:
    """Groups as points in the plane, coloured by class; resting on one shows its drawings.

    Args:
      arrays: "vectors" [G, D], "group_class" [G], "group_names" [G], "class_names" [K] and
        "drawings" uint8 [G, S, H, W, C], ink bright on 0.
    """
    names, of_group = [str(name) for name in arrays["class_names"]], arrays["group_class"]
    places, note = place_groups(arrays["vectors"])
    colors = distinct_colors(len(names))
    source = ColumnDataSource(
        {
            **dict(zip("xy", places.T, strict=True)),
            "name": [str(name) for name in arrays["group_names"]],
            "class": [names[k] for k in of_group],
            "strip": group_strips(arrays["drawings"]),
        },
        name="groups",
    )
    tools = "pan,wheel_zoom,box_zoom,reset"
    plot = blank_figure(name="map", height=640, match_aspect=True, tools=tools)
    size = 8 if len(of_group) > FEW_GROUPS else 12
    style = {"size": size, "fill_alpha": 0.85, "line_color": "white", "line_width": 0.6}
    hovered = {"hover_line_color": INK, "hover_line_width": 2}
    for k in np.unique(of_group):
        view = CDSView(filter=IndexFilter(indices=np.flatnonzero(of_group == k).tolist()))
        label = {"legend_label": names[k], "fill_color": colors[k]}
        plot.scatter("x", "y", source=source, view=view, **label, **style, **hovered)
    look = "pixelated" if arrays["drawings"].shape[2] < COARSE else "auto"
    content = (
        f'<b>@name</b> <span style="color:{MUTED}">· @class</span><br>'
        '<img class="strip" src="@{strip}" alt="drawings" style="display:block;margin-top:6px;'
        f'height:{STRIP_HEIGHT}px;image-rendering:{look}">'
    )
    plot.add_tools(HoverTool(tooltips=TOOLTIP.format("group", INK, content), limit=1))
    label_axes(plot, "", "")
    plot.axis.visible = plot.grid.visible = False
    _legend_beside(plot, "right", ncols=-(-len(names) // LEGEND_ROWS))
    return Panel("", note, plot)


def place_groups(vectors: np.ndarray) -> tuple[np.ndarray, str]:
    """Vectors [G, D] → positions [G, 2], and how they were found.

    Reference: van der Maaten & Hinton 2008, "Visualizing data using t-SNE", JMLR 9.
    """
    from sklearn.manifold import TSNE  # slow to import, and no other page needs it

    centred = vectors.astype(np.float64) - vectors.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    reduced = centred @ axes[:MAX_COMPONENTS].T
    reduced = np.pad(reduced, ((0, 0), (0, max(0, 2 - reduced.shape[1]))))
    plane = reduced[:, :2]
    if len(vectors) < MIN_GROUPS:
        return plane, "The plane that keeps most of the vectors' variance (PCA)."
    # sklearn's own start, from the exact components: the same picture on every machine
    options: dict[str, Any] = {"init": 1e-4 * plane / max(plane[:, 0].std(), 1e-12)}
    options["perplexity"] = min(30, (len(vectors) - 1) / 3)
    places = TSNE(random_state=0, **options).fit_transform(reduced)
    return places, (
        "Placed by t-SNE, which keeps neighbours together; how far apart clusters lie means little."
    )


def group_strips(drawings: np.ndarray) -> list[str]:
    """Of every group its drawings as dark ink on white, uint8 [G, S, H, W, C] → data URIs."""
    num = max(1, MAX_STRIP_BYTES // max(1, drawings[:, :1].nbytes))  # fewer where they are large
    return [strip(255 - images[:num]) for images in drawings]


def draw_bounds(
    pairs: pd.DataFrame, upper: Mapping[str, bool], of: str, names: Sequence[str], *, height: int
) -> Panel:
    """Bounds against what they bound, one colour a bound; on the dashed line the two are equal.

    Args:
      pairs: a row a pair of groups, as in `bounds.parquet`.
      upper: name of a bound → whether it is an upper one; all of them bound the same.
      of: what they bound.
      names: of the groups.
    """
    rows = np.unique(np.linspace(0, len(pairs) - 1, MAX_PAIRS).round().astype(int))
    points = _points(pairs.iloc[rows], upper, names)
    kept, scale = _scale(np.stack([points["true"], points["bound"]]))
    shown = _taken(points, kept)
    plot = blank_figure(
        height=height, x_axis_type=scale, y_axis_type=scale, tools="pan,wheel_zoom,box_zoom,reset"
    )
    ends = [shown["true"].min(), shown["true"].max()]
    plot.line(ends, ends, line_color=MUTED, line_dash=[5, 4], line_width=1.5)
    style = {"size": 6, "fill_alpha": 0.65, "line_color": None}
    drawn = []
    for color, (name, above) in zip(distinct_colors(len(upper)), upper.items(), strict=True):
        source = ColumnDataSource(_taken(shown, shown["name"] == name), name=name)
        label = {"legend_label": name, "fill_color": color}
        marker = "circle" if above else "inverted_triangle"
        drawn += [plot.scatter("true", "bound", source=source, marker=marker, **label, **style)]
    content = (
        f'<b>@name</b> @bound{{0.0000}} <span style="color:{MUTED}">· distance '
        "@true{0.0000}</span><br>@pair"
    )
    tooltip = TOOLTIP.format("bound", INK, content)
    plot.add_tools(HoverTool(renderers=drawn, tooltips=tooltip, limit=1))
    if scale == "log":
        _mark_ticks(plot, shown)
    label_axes(plot, of, "bound")
    _legend_beside(plot, "above", ncols=3)
    lost = np.sum(~kept)
    note = f"{len(rows):,} of {len(pairs):,} pairs" + (", logarithmic" if scale == "log" else "")
    note += f"; {lost:,} points at or near 0 left out" if lost else ""
    return Panel(f"Bounds of {of}", note, plot)


def _points(
    pairs: pd.DataFrame, bounds: Iterable[str], names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Columns of which a row is a bound of a pair."""
    title = [f"{names[x]} – {names[y]}" for x, y in zip(pairs["x"], pairs["y"], strict=True)]
    parts = [
        {
            "true": pairs[f"true_{name}"].to_numpy(float),
            "bound": pairs[f"bound_{name}"].to_numpy(float),
            "name": np.full(len(pairs), name, object),
            "pair": np.array(title, object),
        }
        for name in bounds
    ]
    return {column: np.concatenate([part[column] for part in parts]) for column in parts[0]}


def _taken(columns: Mapping[str, np.ndarray], rows: np.ndarray) -> dict[str, Any]:
    return {name: values[rows] for name, values in columns.items()}


def _scale(values: np.ndarray) -> tuple[np.ndarray, str]:
    """Which points have a place, of true and bound [2, n]; logarithmic over more than a decade."""
    positive, near = values[values > 0], FLOOR * values[0].max()
    kept = (values > near).all(axis=0)
    if not kept.any() or positive.max() <= 10 * positive.min():
        return np.all(np.isfinite(values), axis=0), "linear"
    return kept, "log"


def _mark_ticks(plot, shown: Mapping[str, np.ndarray]) -> None:
    """Plain numbers on logarithmic axes."""
    for axis, values in ((plot.xaxis, shown["true"]), (plot.yaxis, shown["bound"])):
        axis.ticker = FixedTicker(ticks=round_numbers(values.min(), values.max()))
        axis.formatter = NumeralTickFormatter(format="0.[000000]")


def round_numbers(low: float, high: float) -> list[float]:
    """Ticks of a logarithmic axis, closer together where it is short."""
    digits = (1, 2, 5) if high > 10 * low else (1, 1.5, 2, 3, 4, 5, 6, 8)
    powers = range(int(np.floor(np.log10(low))), int(np.floor(np.log10(high))) + 1)
    return [digit * 10.0**power for power in powers for digit in digits]


def _legend_beside(plot, side: str, ncols: int) -> None:
    legend = plot.legend[0]
    plot.center = [part for part in plot.center if part is not legend]
    plot.add_layout(legend, side)
    legend.ncols, legend.location = ncols, "top_left"
    legend.glyph_width = legend.glyph_height = 20
    legend.spacing, legend.label_standoff = (0, 3) if side == "right" else (6, 3)


def distinct_colors(num: int) -> tuple[str, ...]:
    """The colours of classes, and from the eleventh on such as are farthest from all before.

    Reference: Glasbey et al. 2007, "Colour displays for categorical images"; OKLab as distance.
    """
    if num <= len(CLASS_COLORS):
        return CLASS_COLORS[:num]
    levels = np.linspace(0, 255, 18).round().astype(int)
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, 3)
    candidates = ["#{:02x}{:02x}{:02x}".format(*rgb) for rgb in grid]
    places, chosen = oklab(candidates), list(CLASS_COLORS)
    chroma = np.linalg.norm(places[:, 1:], axis=1)
    usable = np.all(
        [
            (low < x) & (x < high)
            for x, (low, high) in ((places[:, 0], LIGHTNESS), (chroma, CHROMA))
        ],
        axis=0,
    )
    while len(chosen) < num:
        gaps = np.linalg.norm(places[:, None] - oklab(chosen), axis=-1).min(axis=1)
        chosen.append(candidates[int(np.argmax(np.where(usable, gaps, -1)))])
    return tuple(chosen)


def oklab(colors: Sequence[str]) -> np.ndarray:
    """Colours "#rrggbb" → lightness, green to red, blue to yellow: [n, 3], alike to the eye.

    Reference: Ottosson 2020, "A perceptual color space for image processing".
    """
    rgb = np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in colors]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_lms = [[0.4122214708, 0.5363325363, 0.0514459929],
              [0.2119034982, 0.6806995451, 0.1073969566],
              [0.0883024619, 0.2817188376, 0.6299787005]]  # fmt: skip
    to_lab = [[0.2104542553, 0.7936177850, -0.0040720468],
              [1.9779984951, -2.4285922050, 0.4505937099],
              [0.0259040371, 0.7827717662, -0.8086757660]]  # fmt: skip
    return np.cbrt(linear @ np.array(to_lms).T) @ np.array(to_lab).T
