"""The table of results, in Markdown that reads well as plain text too."""

from dataclasses import dataclass

from catalogue import Operation

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


def render(rows: list[Row], facts: list[str], failures: list[str]) -> str:
    """Return the facts, the table and what failed, as Markdown."""
    table = [HEADER, *(row.cells() for row in rows)]
    if not any(row.medians.keys() & {"asyncio", "uvloop"} for row in rows):
        table = [cells[: HEADER.index("asyncio")] for cells in table]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]

    def line(cells: tuple[str, ...]) -> str:
        first, *others = zip(cells, widths, strict=True)
        padded = [first[0].ljust(first[1]), *(text.rjust(width) for text, width in others)]
        return f"| {' | '.join(padded)} |"

    dashes = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    reached = sum(row.cleared for row in rows)
    lines = [*(f"- {fact}" for fact in facts), "", line(table[0]), line(tuple(dashes))]
    lines += [line(cells) for cells in table[1:]]
    lines += ["", f"Bars reached: {reached} of {len(rows)}. Microseconds per operation, medians."]
    if any(row.operation.memory for row in rows):
        lines += ["Memory in bytes per greenlet, where the ratio says how many times smaller."]
    if failures:
        lines += ["", "Not measured:", "", *(f"- {failure}" for failure in failures)]
    return "\n".join(lines) + "\n"
