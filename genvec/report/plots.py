"""What every Bokeh picture of the page shares: an empty plot and a quiet look."""

from typing import Any, NamedTuple

from bokeh.models import PlainText
from bokeh.plotting import figure

from genvec.report.palette import INK, MUTED, RULE


class Panel(NamedTuple):
    """A picture and what stands above it."""

    title: str
    note: str
    figure: Any  # the Bokeh model; its <div> once embedded


def blank_figure(*, tools: str = "", **options) -> Any:
    """An empty plot as wide as its column; `Any`, as Bokeh's types refuse keywords from a dict."""
    plot = figure(
        sizing_mode="stretch_width",
        tools=tools,
        background_fill_color=None,
        border_fill_color=None,
        outline_line_color=None,
        **options,
    )
    plot.toolbar.logo = None
    plot.toolbar.autohide = True
    plot.grid.grid_line_color = RULE
    return plot


def label_axes(plot, x_label: str, y_label: str) -> None:
    """Labels and a quiet look; `PlainText`, since a plain string with $$ would load MathJax."""
    for axis, label in ((plot.xaxis, x_label), (plot.yaxis, y_label)):
        axis.axis_label = PlainText(text=label)
        axis.axis_label_text_font_style = "normal"
    plot.axis.axis_label_text_color = plot.axis.major_label_text_color = MUTED
    plot.axis.axis_label_text_font_size = plot.axis.major_label_text_font_size = "12px"
    plot.axis.axis_line_color = plot.axis.major_tick_line_color = RULE
    plot.axis.minor_tick_line_color = None
    for legend in plot.legend:
        legend.click_policy = "hide"
        legend.background_fill_alpha = 0.7
        legend.border_line_color = None
        legend.label_text_color = INK
        legend.label_text_font_size = "12px"
        legend.padding = legend.margin = 4
