"""Type checkers find the mistakes in typed programs, and report nothing else."""

import importlib
import importlib.util
import json
import os
import pkgutil
import re
import subprocess
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest
from paths import ROOT, TESTS

import gevent
from gevent.event import AsyncResult
from gevent.hub import Waiter
from gevent.pool import IMap, IMapUnordered
from gevent.threadpool import Future

#: Programs in which a line with a mistake says so by the comment `# E: what is wrong`.
PROGRAMS = TESTS / "typing"
MARK = "# E: "
#: Modules that have the constants of the standard library's.
OF_THE_SYSTEM = ("gevent.os", "gevent.select", "gevent.signal", "gevent.socket", "gevent.ssl")

Place = tuple[str, int]


def planted() -> dict[Place, str]:
    """Return the lines that are marked as mistakes, by file and number."""
    return {
        (program.name, number): line.strip()
        for program in PROGRAMS.glob("*.py")
        for number, line in enumerate(program.read_text().splitlines(), 1)
        if MARK in line
    }


def run(checker: str, *args: str) -> str:
    """Return what a type checker prints; it takes packages from where this Python does."""
    if importlib.util.find_spec(checker) is None:
        pytest.skip(f"needs {checker} beside this Python")
    folders = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    environment = os.environ | {"PATH": os.pathsep.join(folders)}
    command = [sys.executable, "-m", checker, *args]
    # An exit status of 2 is the checker's own failure.
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def found_by_mypy(*paths: object) -> Iterator[tuple[Place, str]]:
    """Yield file, line and message of each error."""
    # Without a cache, which several processes would write to at once.
    output = run("mypy", f"--cache-dir={os.devnull}", *map(str, paths))
    for line in output.splitlines():
        if match := re.match(r"(.+?):(\d+): error: (.*)", line):
            yield (Path(match[1]).name, int(match[2])), match[3]


def found_by_pyright(*paths: object) -> Iterator[tuple[Place, str]]:
    """Yield file, line and message of each error."""
    report = json.loads(run("pyright", "--outputjson", *map(str, paths)))
    for each in report["generalDiagnostics"]:
        if each["severity"] == "error":
            line = each["range"]["start"]["line"] + 1
            yield (Path(each["file"]).name, line), each["message"]


@pytest.mark.parametrize("find", [found_by_mypy, found_by_pyright])
def test_the_planted_mistakes_are_found_and_no_others(find):
    errors = dict(find(PROGRAMS))
    mistakes = planted()
    assert len(mistakes) > 80
    missed = {place: line for place, line in mistakes.items() if place not in errors}
    assert not missed
    unfounded = {place: text for place, text in errors.items() if place not in mistakes}
    assert not unfounded


def public_names() -> Iterator[tuple[str, str]]:
    """Yield module and name for all that the public modules export."""
    for module in pkgutil.iter_modules(gevent.__path__[:1], "gevent."):
        if module.name.partition(".")[2].startswith("_") or module.name == "gevent.ares":
            continue
        for name in getattr(importlib.import_module(module.name), "__all__", ()):
            # Which constants of the standard library there are depends on the system.
            if not (module.name in OF_THE_SYSTEM and name.isupper()):
                yield module.name, name
    for name in gevent.__all__:
        yield "gevent", name


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_modules_export_can_be_imported_by_typed_programs(tmp_path):
    names = sorted(set(public_names()))
    lines = [
        f"from {module} import {name} as x{number}" for number, (module, name) in enumerate(names)
    ]
    program = tmp_path / "importing.py"
    program.write_text("\n".join(lines) + "\n")
    refused = [(names[line - 1], text) for (_, line), text in found_by_mypy(program)]
    assert not refused


@pytest.mark.parametrize("kind", [gevent.Greenlet, AsyncResult, Waiter, IMap, IMapUnordered])
def test_generic_classes_can_be_subscripted(kind):
    alias = kind[int]
    assert isinstance(alias, types.GenericAlias)
    assert typing.get_origin(alias) is kind
    assert typing.get_args(alias) == (int,)


def test_arguments_and_result_of_a_greenlet_can_be_stated():
    assert typing.get_args(gevent.Greenlet[..., str]) == (..., str)

    class Worker(gevent.Greenlet[[int], str]):
        def _run(self):
            return "done"

    assert Worker.__mro__[1] is gevent.Greenlet
    assert Worker.spawn().get() == "done"
    assert Worker[int] is not None


def test_aliases_make_what_the_classes_make():
    assert gevent.Greenlet[..., int](len, "abc").args == ("abc",)
    result = AsyncResult[int]()
    assert type(result) is AsyncResult
    result.set(1)
    assert result.get() == 1
    assert typing.get_origin(Future[int]) is Future
