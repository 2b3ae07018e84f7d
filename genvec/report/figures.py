"""The page's interactive pictures (Bokeh): the map, proportions, loss curves, composition."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from bokeh.embed import components
from bokeh.models import FixedTicker
from bokeh.resources import Resources

from genvec.report.contents import Contents, Prediction
from genvec.report.maps import draw_map
from genvec.report.palette import CONTROL, MUTED, TRAIN, VAL, class_colors
from genvec.report.plots import Panel, blank_figure, label_axes
from genvec.report.results import results

MAX_POINTS = 3000  # of the map and the panels, evenly taken, so that hovering stays quick
ANGLE_TICKS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 90]  # degrees, on a logarithmic axis
LINE, DASH = {"line_width": 2}, {"line_width": 2, "line_dash": [5, 4]}


def draw(contents: Contents, prediction: Prediction | None) -> dict[str, list[Panel]]:
    """All pictures that the run has data for, by section of the page."""
    sections = {"map": [], "proportions": [], "composition": []}
    if prediction is not None and len(prediction.member):
        shown = np.linspace(0, len(prediction.member) - 1, MAX_POINTS).round().astype(int)
        shown = np.unique(shown)
        thinned = prediction._replace(
            **{
                k: getattr(prediction, k)[shown]
                for k in ("member", "true", "predicted", "angle_deg")
            }
        )
        sections["map"] = [draw_map(contents, thinned, len(prediction.member))]
        sections["proportions"] = draw_proportions(contents, prediction, thinned)
        if len(prediction.composed_deg):
            sections["composition"] = [draw_composition(prediction)]
    sections["losses"] = draw_losses(contents)
    sections["angles"] = draw_angles(contents)
    return sections


def embed(sections: Mapping[str, list[Panel]]) -> dict[str, Any]:
    """Models → their <div>s, and beside them Bokeh itself (`bokeh`) and the data (`script`)."""
    panels = {f"{s}{i}": p for s, section in sections.items() for i, p in enumerate(section)}
    script, divs = components({key: p.figure for key, p in panels.items()}) if panels else ("", {})
    embedded = {
        section: [p._replace(figure=divs[f"{section}{i}"]) for i, p in enumerate(section_panels)]
        for section, section_panels in sections.items()
    }
    bokeh = Resources(mode="inline", components=["bokeh"]).render() if panels else ""
    return {**embedded, "script": script, "bokeh": bokeh}


def draw_proportions(
    contents: Contents, prediction: Prediction, thinned: Prediction
) -> list[Panel]:
    """One panel a class: the true share against the one that the embedding tells."""
    panels = []
    colors = class_colors(len(contents.class_names))
    for k, (name, color) in enumerate(zip(contents.class_names, colors, strict=True)):
        plot = blank_figure(height=250, x_range=(-3, 103), y_range=(-3, 103), match_aspect=True)
        plot.line([0, 100], [0, 100], line_color=MUTED, line_dash=[4, 3])
        plot.scatter(
            *(100 * thinned.true[:, k], 100 * thinned.predicted[:, k]),
            size=5,
            fill_color=color,
            fill_alpha=0.55,
            line_color=None,
        )
        label_axes(plot, "true share, %", "embedded share, %")
        error = 100 * np.abs(prediction.predicted[:, k] - prediction.true[:, k]).mean()
        panels.append(Panel(name, f"off by {error:.1f} % on average", plot))
    return panels


def draw_losses(contents: Contents) -> list[Panel]:
    """One panel a player: median and 5–95 % band over the finite members' training losses."""
    panels = []
    members = contents.members
    finite = members["finite"].to_numpy(bool) if "finite" in members else slice(None)
    for column in [c for c in members.columns if c.endswith("_loss_curve")]:
        rows = members.loc[finite, column].dropna()
        if rows.empty:
            continue
        low, median, high = np.percentile(
            np.stack([np.asarray(c, float) for c in rows]), [5, 50, 95], axis=0
        )
        x = 100 * (np.arange(len(median)) + 0.5) / len(median)
        plot = blank_figure(height=280, x_range=(0, 100))
        plot.varea(x, low, high, fill_color=VAL, fill_alpha=0.18, legend_label="5–95 % of members")
        plot.line(x, median, color=VAL, **LINE, legend_label="median")
        label_axes(plot, "training, %", "loss")
        panels.append(Panel(column.removesuffix("_loss_curve"), f"{len(rows):,} members", plot))
    return panels


def draw_angles(contents: Contents) -> list[Panel]:
    """One panel an encoder, all on one scale: train and validation angle, and the best control."""
    logs = {name: log for name, log in contents.logs.items() if {"step", "val_angle_deg"} <= {*log}}
    columns = ["train_angle_deg", "val_angle_deg"]
    values = [log.reindex(columns=columns).to_numpy(float).ravel() for log in logs.values()]
    values = np.concatenate([*values, []])
    values = values[np.isfinite(values) & (values > 0)]
    if not len(values):
        return []
    control = next((r for r in results(contents.metrics).rows if r.kind == "control"), None)
    level = contents.metrics["controls"][control.name]["angle_deg_mean"] if control else None
    bounds = [*values, level] if level else values
    panels = []
    for name, log in logs.items():
        plot = blank_figure(
            height=260, y_axis_type="log", y_range=(0.8 * min(bounds), 1.2 * max(bounds))
        )
        for column, style, label in (
            ("train_angle_deg", {"color": TRAIN, **DASH}, "train"),
            ("val_angle_deg", {"color": VAL, **LINE}, "validation"),
        ):
            if column in log:
                curve = log[["step", column]].dropna()
                plot.line(curve["step"], curve[column], **style, legend_label=label)
        plot.yaxis.ticker = FixedTicker(ticks=ANGLE_TICKS)
        if level:
            ends = [log["step"].min(), log["step"].max()]
            style = {"color": CONTROL, "line_width": 1.5, "line_dash": [1, 3]}
            plot.line(ends, [level, level], **style, legend_label="best control (test)")
        label_axes(plot, "step", "mean angle, °")
        panels.append(Panel(name, "", plot))
    return panels


def draw_composition(prediction: Prediction) -> Panel:
    """Histograms of the angle between the composed and the real embedding of a union."""
    composed, stranger = prediction.composed_deg, prediction.random_deg
    edges = np.linspace(0, max(composed.max(), stranger.max()) * 1.001, 41)
    plot = blank_figure(height=280, x_range=(0, edges[-1]))
    for angles, color, label in (
        (stranger, CONTROL, "one part from another triplet"),
        (composed, VAL, "its own two parts"),
    ):
        counts, _ = np.histogram(angles, edges)
        plot.quad(
            top=counts,
            bottom=0,
            left=edges[:-1],
            right=edges[1:],
            legend_label=label,
            fill_color=color,
            fill_alpha=0.5,
            line_color="white",
            line_width=0.5,
        )
    plot.y_range.start = 0
    label_axes(plot, "angle between the composed embedding and the third member's, °", "triplets")
    note = (
        f"{len(composed):,} triplets: mean {composed.mean():.1f}° for a member's own parts, "
        f"{stranger.mean():.1f}° with a stranger."
    )
    return Panel("", note, plot)
