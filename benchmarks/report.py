"""The table of results, in Markdown that reads well as plain text too."""

import re
from dataclasses import dataclass
from pathlib import Path

from catalogue import Operation

RESULTS = Path(__file__).with_name("RESULTS.md")
SECTIONS = (
    "Operations",
    "Network",
    "Look-ups",
    "Standard library",
    "Web",
    "Flask",
    "WebSocket",
    "Event loops",
)
HEADER = ("operation", "gevent µs", "ours µs", "times faster", "bar", "asyncio", "uvloop")


@dataclass(frozen=True)
class Row:
    """What was measured of one operation: seconds (or bytes) by side, where it succeeded."""

    operation: Operation
    medians: dict[str, float]

    @property
    def ratio(self) -> float | None:
        """How many times faster (smaller) ours is, where both sides were measured."""
        ours, peer = self.medians.get("ours"), self.medians.get("gevent")
        return peer / ours if peer and ours else None

    @property
    def cleared(self) -> bool:
        """Whether the bar was measured, and reached."""
        return self.ratio is not None and self.ratio >= self.operation.bar

    def cells(self) -> tuple[str, ...]:
        """Return the row's text, column by column."""
        ratio = "-" if self.ratio is None else f"{self.ratio:.2f}"
        bar = f"{self.operation.bar:g}" + ("" if self.cleared else " (missed)")
        gevent, ours, asyncio, uvloop = (
            self._figure(side) for side in ("gevent", "ours", "asyncio", "uvloop")
        )
        return (self.operation.title, gevent, ours, ratio, bar, asyncio, uvloop)

    def _figure(self, side: str) -> str:
        value = self.medians.get(side)
        if value is None:
            return "-"
        if self.operation.memory:
            return f"{value:.0f} B"
        micros = value * 1e6
        digits = 3 if micros < 1 else 2 if micros < 100 else 0
        return f"{micros:.{digits}f}"


def table(header: tuple[str, ...], rows: list[tuple[str, ...]], left: int = 1) -> list[str]:
    """Return the lines of a table whose first `left` columns are words, and the others figures."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells: tuple[str, ...]) -> str:
        padded = [
            text.ljust(width) if place < left else text.rjust(width)
            for place, (text, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    dashes = tuple(
        "-" * width if place < left else "-" * (width - 1) + ":"
        for place, width in enumerate(widths)
    )
    return [line(cells) for cells in (header, dashes, *rows)]


def publish(section: str, text: str, results: Path | None, whole: bool) -> None:
    """Print `text`, and put it under its heading in `results`, after a whole run in RESULTS.md."""
    print(text)
    path = results or (RESULTS if whole else None)
    if path is None:
        return
    found = path.read_text() if path.exists() else ""
    sections = dict(re.findall(r"^## (.+)\n\n((?:(?!## ).*\n)*)", found, re.MULTILINE))
    sections[section] = text
    order = [name for name in SECTIONS if name in sections]
    parts = (f"\n## {name}\n\n{sections[name].strip()}\n" for name in order)
    path.write_text("# Results\n" + "".join(parts))


def render(rows: list[Row], facts: list[str], failures: list[str]) -> str:
    """Return the facts, the table and what failed, as Markdown."""
    reached = sum(row.cleared for row in rows)
    header, body = HEADER, [row.cells() for row in rows]
    if not any(row.medians.keys() & {"asyncio", "uvloop"} for row in rows):
        width = HEADER.index("asyncio")
        header, body = header[:width], [cells[:width] for cells in body]
    lines = [*(f"- {fact}" for fact in facts), "", *table(header, body)]
    lines += ["", f"Bars reached: {reached} of {len(rows)}. Microseconds per operation, medians."]
    if any(row.operation.memory for row in rows):
        lines += ["Memory in bytes per greenlet, where the ratio says how many times smaller."]
    if failures:
        lines += ["", "Not measured:", "", *(f"- {failure}" for failure in failures)]
    return "\n".join(lines) + "\n"
