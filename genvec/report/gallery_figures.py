"""The gallery's interactive pictures (Bokeh): codes, vector field, mode coverage, losses."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource, HoverTool
from scipy.stats import norm

from genvec.report.figures import LINE
from genvec.report.palette import CLASS_COLORS, INK, MUTED, RULE, TRAIN, VAL, class_colors
from genvec.report.plots import Panel, blank_figure, label_axes
from genvec.report.samples import strip

Arrays = Mapping[str, np.ndarray]
PLAYER_COLORS = {"critic": TRAIN, "generator": VAL}
HEAD = 0.32  # of an arrow's length


def square_figure() -> Any:
    """[0, 1]² in a frame without axes, as high as it is wide."""
    plot = blank_figure(aspect_ratio=1, x_range=(0, 1), y_range=(0, 1), min_border=0)
    plot.toolbar_location = None
    plot.axis.visible = plot.grid.visible = False
    plot.outline_line_color = RULE
    return plot


def draw_codes(arrays: Arrays, class_names: Sequence[str]) -> Panel:
    """Codes of held-out images where their quantiles under N(0, 1) fall: the manifold's square."""
    colors = class_colors(len(class_names))
    x, y = norm.cdf(arrays["codes"]).T
    labels = arrays["labels"]
    plot = square_figure()
    source = ColumnDataSource(
        {
            "x": x,
            "y": y,
            "name": [class_names[label] for label in labels],
            "color": [colors[label] for label in labels],
            "scan": [strip(image[None]) for image in arrays["scans"]],
        }
    )
    style = {"size": 8, "fill_alpha": 0.8, "line_color": "white", "line_width": 0.6}
    points = plot.scatter("x", "y", source=source, fill_color="color", name="codes", **style)
    tooltip = (
        f'<div style="font:13px system-ui,sans-serif;color:{INK};padding:4px">'
        '<img src="@{scan}" alt="" style="display:block;width:72px;image-rendering:pixelated">'
        "<b>@{name}</b></div>"
    )
    plot.add_tools(HoverTool(renderers=[points], tooltips=tooltip, limit=1))
    return Panel("Codes of held-out images", f"{len(labels):,} images", plot)


def draw_field(arrays: Arrays) -> list[Panel]:
    """The score as arrows over the data, and walks that follow it."""
    points, grid, score = arrays["points"], arrays["grid"], arrays["score"]
    cell = 1 / np.sqrt(len(grid))
    length = np.linalg.norm(score, axis=1, keepdims=True)
    # far from the data the score grows without bound: there all arrows are as long as a cell
    share = np.sqrt(np.minimum(length / np.percentile(length, 75), 1))
    shown = 0.95 * cell * share * score / np.maximum(length, 1e-12)
    arrows = square_figure()
    arrows.scatter(*points.T, size=5, fill_color=TRAIN, fill_alpha=0.9, line_color=None)
    start, tip = grid - shown / 2, grid + shown / 2
    left, right = (tip - HEAD * _turned(shown, angle) for angle in (0.5, -0.5))
    style = {"line_color": VAL, "line_width": 1.3, "line_alpha": 0.85}
    arrows.segment(*start.T, *tip.T, **style)
    for side in (left, right):
        arrows.segment(*tip.T, *side.T, **style)

    walks = square_figure()
    paths = arrays["walks"]
    walks.scatter(*points.T, size=5, fill_color=TRAIN, fill_alpha=0.35, line_color=None)
    walks.multi_line(list(paths[..., 0]), list(paths[..., 1]), color=VAL, alpha=0.7, line_width=1.5)
    walks.scatter(*paths[:, 0].T, size=5, fill_color="white", line_color=MUTED)
    walks.scatter(*paths[:, -1].T, size=7, fill_color=VAL, line_color="white")
    num = paths.shape[1] - 1
    return [
        Panel("The score, (r(x) − x) / σ²", "arrows over the training points", arrows),
        Panel("Following it", f"{len(paths)} points, {num} times x ← r(x)", walks),
    ]


def _turned(vectors: np.ndarray, angle: float) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    return vectors @ np.array([[cos, sin], [-sin, cos]])


def draw_modes(modes: Mapping[str, Arrays]) -> Panel:
    """Mode coverage against steps: the mean over the members of each cell."""
    plot = blank_figure(height=250, y_range=(0, 1.04))
    dashes = ["solid", [7, 3], [2, 3], [8, 3, 2, 3]]
    for number, (name, arrays) in enumerate(modes.items()):
        color = CLASS_COLORS[6:][number % 4]
        mean = arrays["coverage"].mean(axis=1)
        style = {"line_dash": dashes[number % 4], "color": color, "legend_label": name}
        plot.line(arrays["steps"], mean, **LINE, **style)
        plot.scatter(arrays["steps"], mean, size=6, color=color, legend_label=name)
    plot.legend.location = "bottom_right"
    label_axes(plot, "steps", "share of the classes that are generated")
    return Panel("", "", plot)


def draw_curves(curves: Mapping[str, Mapping[str, np.ndarray]]) -> list[Panel]:
    """One panel a cell: median and 5–95 % band of every player's loss over the members."""
    panels = []
    for name, players in curves.items():
        plot = blank_figure(height=230, x_range=(0, 100))
        for player, (low, median, high) in players.items():
            color = PLAYER_COLORS.get(player, MUTED)
            x = 100 * (np.arange(len(median)) + 0.5) / len(median)
            plot.varea(x, low, high, fill_color=color, fill_alpha=0.2)
            plot.line(x, median, color=color, **LINE)
        label_axes(plot, "training, %", "loss")
        panels.append(Panel(name, "", plot))
    return panels
