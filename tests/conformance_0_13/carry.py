"""Fetch gevent 0.13.1's source distribution, and carry its tests and examples to Python 3.

Nothing of it is kept in the repository: what this makes is in a folder of its own. The sources of
gevent itself are not taken out of the archive.
"""

from __future__ import annotations

import re
import shutil
import tarfile
from pathlib import Path

from fissix.refactor import RefactoringTool, get_fixers_from_package

from suite import download

HERE = Path(__file__).resolve().parent
VERSION = "0.13.1"
#: The folders that are taken out of the archive.
FOLDERS = ("greentest", "examples")

#: What 2to3 does not know: patterns, and what takes their place.
RULES = [
    # Exceptions were sequences of their arguments.
    (r"\b(ex|e)\[0\]", r"\1.args[0]"),
    # A file was as wide as its letters.
    (r"\bfile\(", "open("),
    # Modules that were to use nothing of each other; here one is made of the other.
    (r"(?m)^import gevent\.\w+; gevent\.\w+\.WSGIServer\.__init__ = None$", ""),
    (r"\.func_name\b", ".__name__"),
    (r"\.im_func\b", ".__func__"),
]


def fetch(folder: Path) -> Path:
    """Return the folder with the tests for Python 3, making it the first time."""
    target = folder / f"gevent-{VERSION}-for-python-3"
    if target.is_dir():
        return target
    partial = folder / "partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with tarfile.open(_download(folder)) as archive:
        wanted = tuple(f"gevent-{VERSION}/{name}/" for name in FOLDERS)
        members = [each for each in archive.getmembers() if each.name.startswith(wanted)]
        archive.extractall(partial, members, filter="data")
    tool = RefactoringTool(get_fixers_from_package("fissix.fixes"))
    for path in sorted(partial.rglob("*.py")):
        path.write_text(carried(path.read_text(encoding="latin-1"), path.name, tool))
    shutil.rmtree(target, ignore_errors=True)
    (partial / f"gevent-{VERSION}").rename(target)
    shutil.rmtree(partial)
    return target


def _download(folder: Path) -> Path:
    # Its setup.py cannot be asked for the name and the version under Python 3.
    options = ("--no-binary=:all:", "--no-build-isolation", "--use-pep517")
    backend = str(HERE / "backend")
    return download(folder, VERSION, ".tar.gz", *options, PYTHONPATH=backend)


def carried(source: str, name: str, tool: RefactoringTool) -> str:
    """Return a module of Python 2 in Python 3."""
    source = source.replace("\r\n", "\n").expandtabs(8).rstrip() + "\n"
    text = str(tool.refactor_string(source, name))
    for pattern, replacement in RULES:
        text = re.sub(pattern, replacement, text)
    return text
