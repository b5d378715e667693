"""The engine gets what it needs of the package from ``gevent._engine``, and names no module."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import gevent._engine

SOURCE = next(
    folder / "crates" / "gevent" / "src"
    for folder in Path(__file__).resolve().parents
    if (folder / "crates").is_dir()
)

#: An import of one of the package's modules, by whichever of PyO3's ways.
IMPORT = re.compile(
    r"import_exception!\s*\(\s*gevent\b"
    r"|\.import(?:_bound)?\(\s*(?:py,\s*)?(?:\w+::)*(?:intern!\(\s*[\w.()]+,\s*)?\"gevent\b"
)


def rust():
    """Return the engine's sources by path, without comments."""
    return {path: re.sub(r"//[^\n]*", "", path.read_text()) for path in SOURCE.rglob("*.rs")}


def test_rust_imports_no_module_of_the_package():
    found = [
        f"{path.relative_to(SOURCE)}: {match.group(0)}"
        for path, text in rust().items()
        for match in IMPORT.finditer(text)
    ]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        'py.import("gevent.hub")',
        'py\n    .import(intern!(slf.py(), "gevent._http"))',
        'py.import(pyo3::intern!(py, "gevent._config"))',
        'CLASS.import(py, "gevent._socket3", "socket")',
        "pyo3::import_exception!(gevent.queue, Empty);",
    ],
)
def test_an_import_would_be_found(text):
    assert IMPORT.search(text)


def test_the_names_are_those_of_the_engine():
    text = "\n".join(rust().values())
    wanted = set(re.findall(r'Registered::new\("(\w+)"\)', text))
    wanted |= set(re.findall(r"^\s*registered_exception!\((\w+)\);", text, re.MULTILINE))
    assert wanted == set(gevent._engine.OBJECTS)


@pytest.mark.parametrize(("module", "name"), sorted(gevent._engine.OBJECTS.values()))
def test_each_object_is_where_the_table_says(module, name):
    assert getattr(importlib.import_module(module), name) is not None


def test_what_is_not_needed_is_not_imported():
    """Links of gevent 0.13, asyncio, TLS and HTTP are imported when something asks for them."""
    program = (
        "import sys, gevent; gevent.spawn(int).get();"
        "late = {'gevent.compat.links', 'gevent.aio._awaiting', 'gevent._sslsocket',"
        "        'gevent._http', 'gevent._queue_conditions'};"
        "print(sorted(late & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"
