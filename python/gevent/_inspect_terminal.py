"""The live picture of ``gevent.top``, which Rich draws and which is controlled by keys."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gevent._inspect_address import Address, InspectError, ask_json, order
from gevent._inspect_picture import Picture, Row

__all__ = ["Terminal"]

#: The pause before the next picture, as a multiple of the processor time that the last one cost.
_COSTS = 400
_STYLES = {"running": "bold green", "ready": "yellow"}
_KEYS = {b"\x1b[A": "up", b"\x1bOA": "up", b"\x1b[B": "down", b"\x1bOB": "down"}
_HELP = "arrows choose · Enter shows the stack · k kills · q ends"


@contextmanager
def _keys() -> Iterator[int | None]:
    """Have the terminal pass keys on unbuffered; yield its descriptor, ``None`` without one."""
    if not sys.stdin.isatty():
        yield None
        return
    number = sys.stdin.fileno()
    before = termios.tcgetattr(number)
    try:
        tty.setcbreak(number)
        yield number
    finally:
        termios.tcsetattr(number, termios.TCSADRAIN, before)


class Terminal:
    """The picture of the program at *address*, until a key or the program ends it.

    :param interval: The seconds between two pictures, at least.
    """

    def __init__(self, address: Address, token: str | None, interval: float) -> None:
        self._address = address
        self._token = token
        self._interval = interval
        self._console = Console()
        self._picture = self._ask(None)
        self._rows: list[Row] = list(self._picture.rows())
        #: The number of the chosen greenlet, and its stack if that is shown.
        self._chosen: int | None = None
        self._stack: list[str] | None = None
        #: The row that the question before a kill is about, and the line at the bottom.
        self._asked: Row | None = None
        self._note = ""

    def _ask(self, before: Picture | None) -> Picture:
        return Picture(self._address, self._token, before, stacks=False)

    def run(self) -> None:
        """Show the picture until a key ends it.

        :raises InspectError: The program has ended.
        """
        with (
            _keys() as number,
            Live(console=self._console, screen=True, auto_refresh=False) as live,
        ):
            due = self._due()
            while True:
                live.update(self._drawn(), refresh=True)
                key = _read_key(number, max(0.0, due - monotonic()))
                if key is not None and not self._take(key):
                    return
                if monotonic() >= due:
                    self._picture = self._ask(self._picture)
                    self._rows = list(self._picture.rows())
                    due = self._due()

    def _due(self) -> float:
        return monotonic() + max(self._interval, _COSTS * self._picture.cost)

    # Keys

    def _take(self, key: str) -> bool:
        """Carry out the command of a key; return false if it ends the picture."""
        if self._asked is not None:
            row, self._asked = self._asked, None
            self._note = self._kill(row) if key in ("y", "Y") else "nothing was killed"
        elif key == "q":
            return False
        elif key in ("up", "down"):
            self._move(-1 if key == "up" else 1)
        elif key in ("\n", "\r"):
            self._show_stack()
        elif key == "k" and (row_chosen := self._row()) is not None:
            if not self._picture.stats["may_kill"]:
                self._note = "this view does not kill greenlets (setting inspect_kill)"
            elif not row_chosen.greenlet["killable"]:
                self._note = "a hub or a main greenlet cannot be killed"
            else:
                self._asked = row_chosen
        return True

    def _row(self) -> Row | None:
        return next((row for row in self._rows if row.greenlet["number"] == self._chosen), None)

    def _move(self, by: int) -> None:
        numbers = [row.greenlet["number"] for row in self._rows]
        if not numbers:
            return
        at = numbers.index(self._chosen) + by if self._chosen in numbers else 0
        self._chosen = numbers[min(max(at, 0), len(numbers) - 1)]
        self._stack, self._note = None, ""

    def _show_stack(self) -> None:
        if self._stack is not None:
            self._stack = None
        elif self._chosen is not None:
            try:
                path = f"/stack.json?number={self._chosen}"
                self._stack = ask_json(self._address, path, self._token)["stack"]
            except InspectError as error:
                self._note = str(error)

    def _kill(self, row: Row) -> str:
        try:
            path = f"/kill?number={row.greenlet['number']}"
            return f"killed {order(self._address, path, self._token)['killed']}"
        except InspectError as error:
            return str(error)

    # The picture

    def _drawn(self) -> RenderableType:
        summary = [_line(line) for line in self._picture.summary()]
        stack = [_line(line) for text in self._stack or () for line in text.rstrip().split("\n")]
        room = max(3, self._console.size.height - len(summary) - 4)
        # The innermost frames, at the end of a stack, are the most useful ones.
        stack = stack[-(room // 2) :] if stack else []
        return Group(*summary, self._table(room - len(stack)), *stack, self._bottom())

    def _table(self, room: int) -> Table:
        table = Table("greenlet", "state", "seconds", "waits for", expand=True, box=None)
        table.columns[2].justify = "right"
        at = next(
            (i for i, row in enumerate(self._rows) if row.greenlet["number"] == self._chosen), 0
        )
        # The rows are scrolled so that the chosen one stays visible.
        begin = max(0, min(at - room // 2, len(self._rows) - room))
        for row in self._rows[begin : begin + room]:
            cells = [Text(cell, no_wrap=True, overflow="ellipsis") for cell in row.cells()[1:]]
            chosen = row.greenlet["number"] == self._chosen
            table.add_row(*cells, style="reverse" if chosen else _STYLES.get(row.greenlet["state"]))
        return table

    def _bottom(self) -> Text:
        if self._asked is not None:
            return Text(f"Kill {self._asked.greenlet['name']}? y/n", style="bold red", no_wrap=True)
        more = len(self._rows) + self._picture.left_out
        return Text(self._note or f"{more} greenlets · {_HELP}", style="dim", no_wrap=True)


def _line(text: str) -> Text:
    return Text(text, no_wrap=True, overflow="ellipsis")


def _read_key(number: int | None, timeout: float) -> str | None:
    """Return the name of the next key that comes within *timeout* seconds."""
    if number is None:
        select.select([], [], [], timeout)
        return None
    if not select.select([number], [], [], timeout)[0]:
        return None
    data = os.read(number, 32)
    if not data:
        # The terminal has been closed.
        return "q"
    return _KEYS.get(data, data[:1].decode("latin-1"))
