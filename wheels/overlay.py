"""Lays a wheel that maturin has built out as an overlay.

maturin writes a wheel as the source tree is laid out: ``gevent/`` at its top, where pip would mix
it with gevent's own files. Here the package moves to ``gevent_rs/overlay/gevent/``, and a start-up
file that puts it first on ``sys.path`` takes the place of the one that serves editable installs.

    python wheels/overlay.py WHEEL...
"""

from __future__ import annotations

import base64
import hashlib
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

OVERLAY = "gevent_rs/overlay"
#: The start-up file sorts before those of most other distributions, some of which import gevent.
START_UP_FILE = "_gevent_rs.pth"
#: Its first line is for tools that find packages by start-up files but run no code in them. The
#: second one does what `gevent_rs.activate` does, without the import: every Python of the
#: environment runs it, and an import costs more than the 0.3 ms that it may take, above all where
#: no bytecode is kept. `sitedir` is a variable of the function in `site` that runs the line.
#:
#: CPython 3.15 runs the line as well. A `.start` file of PEP 829 would take its place only at the
#: cost of importing `pkgutil` and `re`, several milliseconds, in every start.
START_UP_LINES = (
    f"{OVERLAY}\n"
    "import os, sys; "
    f"overlay = os.path.join(sitedir, {OVERLAY!r}); "
    "overlay in sys.path and sys.path.remove(overlay); "
    'os.environ.get("GEVENT_RS", "").strip().lower() in ("off", "no", "false", "0") '
    "or sys.path.insert(min([(sys.path + [sitedir]).index(sitedir)] + "
    "[i for i, folder in enumerate(sys.path) "
    'if folder.endswith(("/site-packages", "/dist-packages"))]), overlay)\n'
)


def lay_out(wheel: Path, module: Callable[[bytes], bytes] = lambda content: content) -> None:
    """Rewrite the file *wheel* in place, with a RECORD that is true of it.

    The extension module becomes what *module* makes of it. Raises :exc:`ValueError` for a wheel
    that holds no package ``gevent``.
    """
    with zipfile.ZipFile(wheel) as archive:
        members = [(info, archive.read(info)) for info in archive.infolist()]
    if not any(info.filename == "gevent/__init__.py" for info, _ in members):
        raise ValueError(f"{wheel.name} holds no gevent/__init__.py: it has been laid out already")
    record = next(i for i, _ in members if i.filename.endswith(".dist-info/RECORD"))

    laid_out: list[tuple[zipfile.ZipInfo, bytes]] = []
    for info, content in members:
        if info.filename.startswith("gevent/"):
            info.filename = f"{OVERLAY}/{info.filename}"
        if info is record or ".data/" in info.filename:
            continue
        changed = module(content) if info.filename.endswith(".so") else content
        laid_out.append((info, changed))
    start_up = zipfile.ZipInfo(START_UP_FILE, record.date_time)
    start_up.external_attr = record.external_attr
    laid_out.insert(0, (start_up, START_UP_LINES.encode()))

    lines = [record_line(info.filename, content) for info, content in laid_out]
    laid_out.append((record, "".join([*lines, f"{record.filename},,\n"]).encode()))
    partial = wheel.with_suffix(".partial")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        for info, content in laid_out:
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    partial.replace(wheel)


def record_line(name: str, content: bytes) -> str:
    """Return the line of a wheel's RECORD for one file."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(content)}\n"


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        lay_out(Path(argument))
