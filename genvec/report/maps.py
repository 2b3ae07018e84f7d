"""The map: test members where their embeddings lie, each with its tooltip."""

import html

import numpy as np
from bokeh.models import ColumnDataSource, DataRange1d, HoverTool

from genvec.report.contents import Contents, Prediction
from genvec.report.palette import INK, MUTED, RULE, blend, class_colors
from genvec.report.plots import Panel, blank_figure
from genvec.report.samples import strips

TERNARY = np.array([[0, 0], [1, 0], [0.5, np.sqrt(3) / 2]])  # corners [3, 2]


def draw_map(contents: Contents, prediction: Prediction, num_members: int) -> Panel:
    """Test members where their embeddings lie; for K = 3 the triangle, else a plane by PCA."""
    num_classes = len(contents.class_names)
    colors = class_colors(num_classes)
    if num_classes == 3:
        corners, place_fn = TERNARY, lambda proportions: proportions @ TERNARY
        note = "Barycentric coordinates: a corner is a pure class, the middle equal shares."
    else:
        corners, place_fn, kept = _plane(prediction.predicted)
        note = f"The plane that keeps most of the embeddings' variance (PCA; {100 * kept:.0f} %)."
    plot = blank_figure(
        name="map",
        height=620,
        match_aspect=True,
        x_range=DataRange1d(range_padding=0.4),  # room for long names
        y_range=DataRange1d(range_padding=0.15),
        tools="pan,wheel_zoom,box_zoom,reset",
    )
    plot.axis.visible = False
    plot.grid.visible = False
    if num_classes == 3:
        _draw_triangle(plot)

    (x, y), (true_x, true_y) = place_fn(prediction.predicted).T, place_fn(prediction.true).T
    source = ColumnDataSource(
        {
            **{"x": x, "y": y, "true_x": true_x, "true_y": true_y},
            "color": blend(prediction.true, colors),
            "member": [str(m) for m in prediction.member],
            "angle": [f"{angle:.2f}" for angle in prediction.angle_deg],
            "strip": strips(contents, prediction.member),
            **_percent_columns("true", prediction.true),
            **_percent_columns("predicted", prediction.predicted),
        },
        name="members",
    )
    plot.segment(
        x0="x",
        y0="y",
        x1="true_x",
        y1="true_y",
        source=source,
        color="color",
        line_width=1.5,
        alpha=0.75,
        legend_label="to the true mixture",
    )
    points = plot.scatter(
        x="x",
        y="y",
        source=source,
        size=9,
        fill_color="color",
        fill_alpha=0.9,
        line_color="white",
        line_width=0.8,
        hover_line_color=INK,
        hover_line_width=2,
        legend_label="embedding",
    )
    middle = place_fn(np.full(num_classes, 1 / num_classes))
    _label_corners(plot, corners, middle, contents.class_names, colors)
    plot.add_tools(
        HoverTool(
            renderers=[points],
            tooltips=_tooltip(contents.class_names, colors, bool(contents.samples)),
            point_policy="snap_to_data",
            limit=1,
        )
    )
    plot.legend.location = "top_left"
    plot.legend.click_policy = "hide"
    num = len(prediction.member)
    count = f"{num:,} members" if num == num_members else f"{num:,} of {num_members:,} members"
    return Panel("", f"{note} Shown are {count}.", plot)


def _plane(proportions: np.ndarray):
    """Corners [K, 2], proportions → positions, and the share of the variance that is kept."""

    def to_sphere(p):
        return p / np.linalg.norm(p, axis=-1, keepdims=True)

    embeddings = to_sphere(proportions)
    mean = embeddings.mean(axis=0)
    _, values, axes = np.linalg.svd(embeddings - mean, full_matrices=True)
    kept = (values[:2] ** 2).sum() / max((values**2).sum(), 1e-12)

    corners = np.eye(proportions.shape[1])
    signs = np.where(axes[:2] @ (corners[0] - mean) > 0, -1, 1)  # the first class lower left

    def place_fn(p):
        return (to_sphere(p) - mean) @ axes[:2].T * signs

    return place_fn(corners), place_fn, kept


def _draw_triangle(plot) -> None:
    plot.patch(*TERNARY.T, fill_color="#FAFBFC", line_color=MUTED, line_width=1.5)
    for share in (0.2, 0.4, 0.6, 0.8):
        for corner in range(3):
            rest = np.eye(3)[[k for k in range(3) if k != corner]] * (1 - share)
            line = (rest + share * np.eye(3)[corner]) @ TERNARY
            plot.line(*line.T, line_color=RULE, line_width=1)


def _label_corners(plot, corners, middle, names, colors) -> None:
    plot.scatter(*corners.T, marker="square", size=10, color=list(colors), line_color="white")
    plot.text(
        *corners.T,
        text=list(names),
        y_offset=[-18 if y > middle[1] else 18 for y in corners[:, 1]],
        text_color=INK,
        background_fill_color="white",
        background_fill_alpha=0.7,
        text_align="center",
        text_baseline="middle",
        text_font_style="bold",
        text_font_size="15px",
    )


def _percent_columns(name: str, proportions: np.ndarray) -> dict[str, list[str]]:
    return {f"{name}{k}": [f"{100 * p:.1f}" for p in c] for k, c in enumerate(proportions.T)}


def _tooltip(names: tuple[str, ...], colors: tuple[str, ...], with_strip: bool) -> str:
    """HTML with Bokeh's @columns; a name's own @ and $ must not be taken for one."""
    bar = '<div style="height:5px;margin:1px 0;width:@{%s}%%;background:%s;opacity:%s"></div>'
    rows = "".join(
        f'<div style="font-weight:600">{_plain(name)}</div>'
        f'<div style="width:130px">{bar % (f"true{k}", color, 1)}'
        f"{bar % (f'predicted{k}', color, 0.45)}</div>"
        f"<div>@{{true{k}}} → <b>@{{predicted{k}}}</b> %</div>"
        for k, (name, color) in enumerate(zip(names, colors, strict=True))
    )
    image = (
        '<img class="strip" src="@{strip}" alt="generated samples" style="display:block;'
        'margin-top:8px;width:380px;image-rendering:pixelated">'
    )
    return (
        f'<div class="member" style="font:13px system-ui,sans-serif;color:{INK};padding:4px">'
        f'<div style="margin-bottom:6px"><b>member @member</b> · <b>@angle°</b> off'
        f'<span style="color:{MUTED}"> · true → embedded</span></div>'
        '<div style="display:grid;grid-template-columns:auto auto auto;gap:2px 10px;'
        f'align-items:center;justify-content:start">{rows}</div>{image if with_strip else ""}</div>'
    )


def _plain(name: str) -> str:
    return html.escape(name).replace("@", "&#64;").replace("$", "&#36;")
