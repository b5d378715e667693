"""The drawings of the explanation, as SVG: `python docs/_ext/drawings.py` writes them.

Their colours follow the reader's preference of dark or light, on a ground of their own, so that
they can be read on any page.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "explanation"
STYLE = """
  .ground { fill: #ffffff; } .box { fill: #eef2f7; stroke: #64748b; }
  .hub { fill: #fde9d3; stroke: #b45309; } .kernel { fill: #e2f3e6; stroke: #2f855a; }
  text { fill: #1f2937; font: 14px system-ui, sans-serif; text-anchor: middle; }
  .small { font-size: 12px; } .left { text-anchor: start; }
  .way { fill: none; stroke: #2563eb; stroke-width: 2; } .head { fill: #2563eb; }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #16181d; } .box { fill: #262b33; stroke: #94a3b8; }
    .hub { fill: #4a3013; stroke: #f0a04b; } .kernel { fill: #17351f; stroke: #68c38a; }
    text { fill: #e5e7eb; } .way { stroke: #7aa7ff; } .head { fill: #7aa7ff; }
  }"""


class Drawing:
    """Boxes, words and arrows on a ground of a size."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}\n</style>",
            '<defs><marker id="head" markerWidth="9" markerHeight="9" refX="7" refY="4" '
            'orient="auto"><path class="head" d="M0,0 L8,4 L0,8 z"/></marker></defs>',
            f'<rect class="ground" width="{width}" height="{height}" rx="8"/>',
        ]

    def box(self, x: int, y: int, width: int, height: int, kind: str, *lines: str) -> None:
        """Draw a box with lines of text in its middle."""
        self.parts.append(
            f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="6"/>'
        )
        first = y + height / 2 + 5 - 9 * (len(lines) - 1)
        for number, line in enumerate(lines):
            self.text(x + width // 2, int(first + 18 * number), line)

    def text(self, x: int, y: int, words: str, kind: str = "") -> None:
        """Write words, centred unless `kind` has ``left``."""
        self.parts.append(f'<text class="{kind}" x="{x}" y="{y}">{escape(words)}</text>')

    def arrow(self, path: str) -> None:
        """Draw an arrow along a path, in the letters of SVG."""
        self.parts.append(f'<path class="way" marker-end="url(#head)" d="{path}"/>')

    def save(self, name: str) -> None:
        """Write the drawing."""
        (FOLDER / name).write_text("\n".join([*self.parts, "</svg>", ""]))


def switching() -> None:
    """Two ways from one greenlet to the next."""
    drawing = Drawing(680, 250, "A wake-up through the hub, and a direct switch")
    drawing.text(20, 28, "Through the hub: two switches", "left")
    drawing.box(20, 60, 110, 50, "box", "greenlet A", "waits")
    drawing.box(190, 60, 110, 50, "hub", "hub")
    drawing.box(190, 170, 110, 50, "box", "greenlet B", "goes on")
    drawing.arrow("M130,85 L184,85")
    drawing.arrow("M245,110 L245,164")
    drawing.text(157, 76, "1", "small")
    drawing.text(258, 142, "2", "small")
    drawing.text(380, 28, "Directly: one switch", "left")
    drawing.box(380, 60, 110, 50, "box", "greenlet A", "waits")
    drawing.box(550, 60, 110, 50, "kernel", "ready queue", "B, C, …")
    drawing.box(380, 170, 110, 50, "box", "greenlet B", "goes on")
    drawing.arrow("M490,85 L544,85")
    drawing.arrow("M435,110 L435,164")
    drawing.text(517, 52, "who is next?", "small")
    drawing.text(448, 142, "1", "small")
    drawing.save("switching.svg")


def wakeup() -> None:
    """The way of a wake-up."""
    drawing = Drawing(680, 130, "The way of a wake-up, from the kernel to a greenlet")
    steps = (
        ("kernel", "Linux", "epoll, timers"),
        ("kernel", "reactor", "who waits for it"),
        ("hub", "ready queue", "in order"),
        ("box", "greenlet", "goes on"),
    )
    for number, (kind, *lines) in enumerate(steps):
        x = 20 + 170 * number
        drawing.box(x, 40, 130, 56, kind, *lines)
        if number:
            drawing.arrow(f"M{x - 40},68 L{x - 6},68")
    drawing.save("wakeup.svg")


def stacks() -> None:
    """Draw the memory that a switch copies."""
    drawing = Drawing(680, 270, "What a switch of greenlets copies")
    drawing.text(130, 28, "The stack of the thread")
    drawing.box(60, 44, 140, 44, "hub", "main, hub")
    drawing.box(60, 88, 140, 70, "box", "frames of A")
    drawing.box(60, 158, 140, 30, "box", "park()")
    drawing.text(130, 212, "grows downwards", "small")
    drawing.text(500, 28, "On the heap")
    drawing.box(400, 88, 200, 60, "box", "copy of A's frames,", "while B runs")
    drawing.box(400, 170, 200, 60, "box", "copy of B's frames,", "while A runs")
    drawing.arrow("M200,118 L394,118")
    drawing.arrow("M400,200 L300,200 L300,140 L206,140")
    drawing.text(297, 108, "A leaves", "small")
    drawing.text(330, 218, "B comes back", "small")
    drawing.save("stacks.svg")


if __name__ == "__main__":
    for draw in (switching, wakeup, stacks):
        draw()
