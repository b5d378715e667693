#!/usr/bin/env python3
"""Draw the figures of RESULTS.md as SVG charts, into docs/charts.

    python benchmarks/charts.py [--results FILE] [--to FOLDER]

The tables are read as they stand, so the charts show what RESULTS.md says and nothing else. SVG is
written here and not by a plotting library: bars, a scale and words are all there is to draw. So the
files stay small, have text that can be searched, and follow a reader's preference of dark or light.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path

from report import RESULTS

CHARTS = RESULTS.parents[1] / "docs" / "charts"
#: The colour of each side; the second one is for dark grounds.
COLOURS = {
    "ours": ("#2563eb", "#7aa7ff"),
    "gevent": ("#9ca3af", "#8b93a1"),
    "uvloop": ("#0f9d76", "#3ccf9f"),
    "asyncio": ("#c2750c", "#f0a04b"),
    "other": ("#a78bca", "#b79be0"),
    "ceiling": ("#cbd5e1", "#4b5563"),
}
NAMES = {"ours": "gevent-rs"}
LABEL, BARS, VALUE = 250, 380, 90
LINE, GAP = 15, 11


@dataclass(frozen=True)
class Bar:
    """One bar: whose it is, how long, and what is written beside it."""

    side: str
    value: float
    text: str


@dataclass(frozen=True)
class Chart:
    """Groups of bars, one below the other, each with a label."""

    title: str
    unit: str
    groups: list[tuple[str, list[Bar]]]
    #: The value at which a line is drawn, for ratios.
    mark: float | None = None


def read(text: str) -> dict[str, list[dict[str, str]]]:
    """Return the rows of each section's table, as dictionaries by the names of its columns."""
    found = {}
    for name, body in re.findall(r"^## (.+)\n\n((?:(?!## ).*\n?)*)", text, re.MULTILINE):
        lines = [line for line in body.splitlines() if line.startswith("|")]
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        if len(rows) > 2:
            header = rows[0]
            found[name] = [dict(zip(header, row, strict=True)) for row in rows[2:]]
    return found


def number(text: str) -> float | None:
    """Return the figure at the beginning of a cell, None if there is none."""
    match = re.match(r"[\d,]+(?:\.\d+)?", text)
    return float(match[0].replace(",", "")) if match else None


def plain(text: str) -> str:
    """Return a cell's words without Markdown."""
    return text.replace("`", "")


def ratios(rows: list[dict[str, str]], title: str) -> Chart:
    """Chart how many times as fast as gevent each side does each operation."""
    groups = []
    for row in rows:
        gevent = number(row["gevent µs"])
        if gevent is None or row["ours µs"].endswith(" B"):
            continue
        bars = []
        for side, column in (("ours", "ours µs"), ("asyncio", "asyncio"), ("uvloop", "uvloop")):
            value = number(row.get(column, "-"))
            if value:
                bars.append(Bar(side, gevent / value, f"{gevent / value:.1f}"))
        groups.append((plain(row["operation"]), bars))
    return Chart(title, "times as fast as gevent (the line)", groups, mark=1)


def operations(rows: list[dict[str, str]]) -> Chart:
    """Chart the operations of the engine."""
    return ratios(rows, "Operations of the engine")


def standard_library(rows: list[dict[str, str]]) -> Chart:
    """Chart the standard library in a patched process."""
    return ratios(rows, "The standard library, patched")


def web(rows: list[dict[str, str]], title: str = "Web servers, on one processor") -> Chart:
    """Chart requests a second, by load and server."""
    groups: list[tuple[str, list[Bar]]] = []
    for row in rows:
        if row["load"]:
            groups.append((plain(row["load"]), []))
        value = number(row["requests/s"])
        if value is not None:
            side = row["server"] if row["server"] in COLOURS else "other"
            words = f"{NAMES.get(row['server'], row['server'])} {value:,.0f}"
            groups[-1][1].append(Bar(side, value, words))
    return Chart(title, "requests a second", groups)


def flask(rows: list[dict[str, str]]) -> Chart:
    """Chart requests a second of a Flask application, by load and server."""
    return web(rows, "Flask at 128 connections, on one processor")


def network(rows: list[dict[str, str]]) -> Chart:
    """Chart echoes a second."""
    groups = []
    for row in rows:
        if row["unit"] != "1/s":
            continue
        sides = ("ours", "gevent", "uvloop", "ceiling")
        values = [(side, number(row[side])) for side in sides]
        groups.append((row["scenario"], [Bar(s, v, f"{v:,.0f}") for s, v in values if v]))
    return Chart("TCP servers, on one processor", "echoes a second", groups)


def websocket(rows: list[dict[str, str]]) -> Chart:
    """Chart WebSocket messages a second, where both sides can be seen on one scale."""
    groups = []
    for row in rows:
        theirs, ours = number(row["theirs 1/s"]), number(row["ours 1/s"])
        if theirs and ours and "in flight" not in row["echo"]:
            bars = [Bar("ours", ours, f"{ours:,.0f}"), Bar("gevent", theirs, f"{theirs:,.0f}")]
            groups.append((f"echo of {row['echo']}", bars))
    return Chart("WebSocket echoes (gevent with gevent-websocket)", "messages a second", groups)


def memory(sections: dict[str, list[dict[str, str]]], text: str) -> Chart:
    """Chart the bytes of what waits."""
    groups = []
    for row in sections.get("Operations", []):
        if row["ours µs"].endswith(" B"):
            sides = (("ours", "ours µs"), ("gevent", "gevent µs"))
            bars = [Bar(s, number(row[c]) or 0, f"{number(row[c]):,.0f} B") for s, c in sides]
            groups.append((f"greenlet {plain(row['operation']).removeprefix('memory, ')}", bars))
    for row in sections.get("Network", []):
        if row["unit"] == "B":
            bars = [Bar(s, number(row[s]) or 0, f"{row[s]} B") for s in ("ours", "gevent")]
            groups.append(("idle TCP connection", bars))
    idle = re.search(r"idle connections: ([\d,]+) bytes each,\s*gevent ([\d,]+)", text)
    if idle:
        values = (number(idle[1]), number(idle[2]))
        sides = zip(("ours", "gevent"), values, strict=True)
        groups.append(("idle HTTP connection", [Bar(s, v or 0, f"{v:,.0f} B") for s, v in sides]))
    return Chart("Memory of what waits", "bytes each", groups)


def charts(text: str) -> dict[str, Chart]:
    """Return the charts of what RESULTS.md has, by the names of their files."""
    sections = read(text)
    makers: dict[str, tuple[str, Callable[[list[dict[str, str]]], Chart]]] = {
        "operations": ("Operations", operations),
        "standard-library": ("Standard library", standard_library),
        "web": ("Web", web),
        "flask": ("Flask", flask),
        "network": ("Network", network),
        "websocket": ("WebSocket", websocket),
    }
    found = {
        name: make(sections[section])
        for name, (section, make) in makers.items()
        if section in sections
    }
    found["memory"] = memory(sections, text)
    return {name: chart for name, chart in found.items() if chart.groups}


def svg(chart: Chart) -> str:
    """Return a chart as SVG."""
    sides = list(dict.fromkeys(bar.side for _, bars in chart.groups for bar in bars))
    most = max(bar.value for _, bars in chart.groups for bar in bars)
    height = 78 + sum(len(bars) * LINE + GAP for _, bars in chart.groups)
    width = LABEL + BARS + VALUE + 20
    light, dark = (
        " ".join(f".{side} {{ fill: {COLOURS[side][mode]}; }}" for side in sides) for mode in (0, 1)
    )
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img">',
        f"<title>{escape(chart.title)}: {escape(chart.unit)}</title>",
        "<style>",
        "  .ground { fill: #ffffff; } .mark { stroke: #1f2937; stroke-dasharray: 3 3; }",
        "  text { fill: #1f2937; font: 12px system-ui, sans-serif; } .title { font-size: 16px; }",
        "  .label { text-anchor: end; }",
        f"  {light}",
        "  @media (prefers-color-scheme: dark) {",
        "    .ground { fill: #16181d; } text { fill: #e5e7eb; } .mark { stroke: #e5e7eb; }",
        f"    {dark}",
        "  }",
        "</style>",
        f'<rect class="ground" width="{width}" height="{height}" rx="8"/>',
        f'<text class="title" x="16" y="26">{escape(chart.title)}</text>',
        f'<text x="16" y="46">{escape(chart.unit)}</text>',
        *legend(sides, width),
    ]
    if chart.mark is not None:
        x = LABEL + chart.mark / most * BARS
        lines.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="58" y2="{height - 24}"/>')
    y = 64
    for label, bars in chart.groups:
        middle = y + len(bars) * LINE / 2 + 4
        lines.append(f'<text class="label" x="{LABEL - 8}" y="{middle:.0f}">{escape(label)}</text>')
        for bar in bars:
            long = max(1.0, bar.value / most * BARS)
            shape = f'x="{LABEL}" y="{y}" width="{long:.1f}" height="{LINE - 3}" rx="2"'
            lines.append(f'<rect class="{bar.side}" {shape}/>')
            words = f'x="{LABEL + long + 6:.1f}" y="{y + 10}"'
            lines.append(f"<text {words}>{escape(bar.text)}</text>")
            y += LINE
        y += GAP
    return "\n".join([*lines, "</svg>", ""])


def legend(sides: list[str], width: int) -> list[str]:
    """Return what says whose bar has which colour, at the right of the title."""
    lines, x = [], width - 16
    for side in reversed([side for side in sides if side != "other"]):
        name = NAMES.get(side, side)
        x -= 7 * len(name) + 6
        lines.append(f'<text x="{x}" y="26">{name}</text>')
        x -= 16
        lines.append(f'<rect class="{side}" x="{x}" y="16" width="11" height="11" rx="2"/>')
        x -= 14
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS, help="the tables")
    parser.add_argument("--to", type=Path, default=CHARTS, help="the folder of the charts")
    chosen = parser.parse_args()
    chosen.to.mkdir(parents=True, exist_ok=True)
    for name, chart in charts(chosen.results.read_text()).items():
        path = chosen.to / f"{name}.svg"
        path.write_text(svg(chart))
        print(path)


if __name__ == "__main__":
    main()
