"""The report as a picture: horizontal bars on a logarithmic axis, one SVG written by hand."""

from collections.abc import Mapping, Sequence
from html import escape
from math import ceil, floor, log10
from typing import Any

from benchmarks.summary import LABELS

WIDTH, LEFT, RIGHT = 860, 250, 90
ROW, GAP, TOP, FOOT = 26, 46, 84, 62
INK, SOFT, GRID, PAPER = "#1f2933", "#616e7c", "#e4e7eb", "#fcfcfb"
COLOURS = {"jax": "#2f6f9f", "torch": "#c8693a"}
FONT = "font-family='system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif'"


def speed_chart(report: Mapping[str, Any]) -> str:
    """SVG text: how many times faster the engine is than each other way, case by case.

    A bar is the ratio of medians, the thin line on it spans the rounds, the diamond is the target.
    """
    cases = {name: _rows(entry) for name, entry in report.items() if name != "machine"}
    cases = {name: rows for name, rows in cases.items() if rows}
    values = [v for rows in cases.values() for row in rows for v in row[2:] if v] or [1.0]
    low, high = min(0, floor(log10(min(values)))), max(1, ceil(log10(max(values))))

    def at(value: float) -> float:
        return LEFT + (log10(value) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    height = TOP + sum(GAP + ROW * len(rows) for rows in cases.values()) + FOOT
    ticks = [m * 10.0**d for d in range(low, high) for m in (1, 2, 5)] + [10.0**high]
    parts = _header(height) + [_tick(at(t), t, height) for t in ticks]
    y = TOP
    for name, rows in cases.items():
        parts.append(_text(24, y + 30, f"{name} · {_speed(report[name])}", size=14, bold=True))
        y += GAP
        for row in rows:
            parts += _bar(row, at, y)
            y += ROW
    parts += _footer(report["machine"], height)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _rows(entry: Mapping[str, Any]) -> list[tuple]:
    """(label, colour, ratio, least, largest, target) of every ratio that was measured."""
    return [
        (
            label,
            COLOURS["torch" if "torch" in key else "jax"],
            entry[key],
            *entry["spread"][key],
            entry["targets"].get(key),
        )
        for key, label in LABELS.items()
        if key in entry["spread"]
    ]


def _bar(row: Sequence, at, y: float) -> list[str]:
    label, colour, value, least, largest, target = row
    left, right, middle = min(at(1), at(value)), max(at(1), at(value)), y + ROW / 2
    parts = [
        _text(LEFT - 12, middle + 4, label, anchor="end"),
        f"<rect x='{left:.1f}' y='{y + 4}' width='{right - left:.1f}' height='{ROW - 8}' rx='2' "
        f"fill='{colour}'/>",
        f"<line x1='{at(least):.1f}' x2='{at(largest):.1f}' y1='{middle}' y2='{middle}' "
        f"stroke='{INK}' stroke-width='1.5'/>",
    ]
    end = max(right, at(largest))
    if target:
        x = at(target)
        parts.append(
            f"<path d='M{x:.1f} {middle - 7} l6 7 l-6 7 l-6 -7 z' fill='white' stroke='{INK}' "
            "stroke-width='1.5'/>"
        )
        end = max(end, x + 6)
    return [*parts, _text(end + 8, middle + 4, f"{value:.3g}×", bold=True)]


def _speed(entry: Mapping[str, Any]) -> str:
    micro = entry["seconds_per_step_member"] * 1e6
    text = f"{micro:,.{0 if micro >= 100 else 1}f} µs a step and member"
    share = entry["peak_fraction"]
    return text + (f", {share:.0%} of the matmul peak" if share else "")


def _header(height: float) -> list[str]:
    return [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' width='{WIDTH}' "
        f"height='{height}' {FONT}>",
        f"<rect width='{WIDTH}' height='{height}' fill='{PAPER}'/>",
        _text(24, 34, "Training a zoo: how many times faster than …", size=18, bold=True),
        _text(24, 56, "bar: ratio of medians · line: range over rounds · ◇ target", SOFT, size=12),
    ]


def _tick(x: float, value: float, height: float) -> str:
    bottom, colour = height - FOOT + 8, SOFT if value == 1 else GRID
    line = f"<line x1='{x:.1f}' x2='{x:.1f}' y1='{TOP}' y2='{bottom}' stroke='{colour}'/>"
    return line + _text(x, bottom + 16, f"{value:g}×", SOFT, size=11, anchor="middle")


def _footer(machine: Mapping[str, Any], height: float) -> list[str]:
    versions = f"jax {machine['jax']}, torch {machine['torch'] or '–'}"
    text = f"{machine['cpu']}, {machine['cores']} cores · {versions} · {machine['date']}"
    return [_text(24, height - 14, text, SOFT, size=11)]


def _text(x, y, text, colour=INK, *, size=13, anchor="start", bold=False) -> str:
    # the outline keeps grid lines out of the letters
    outline = f"paint-order='stroke' stroke='{PAPER}' stroke-width='5'"
    weight = f" font-weight='600' {outline}" if bold else ""
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' font-size='{size}' text-anchor='{anchor}' "
        f"fill='{colour}'{weight}>{escape(text)}</text>"
    )
