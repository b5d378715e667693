"""``python -m gevent.monkey``: run a program that was not written for greenlets."""

from __future__ import annotations

import os
import runpy
import sys
from inspect import signature
from typing import Any, NoReturn

import gevent.monkey
from gevent.monkey._table import TABLE

__all__ = ["main"]

USAGE = """\
gevent.monkey - monkey patch the standard modules to use gevent.

USAGE: python -m gevent.monkey [MONKEY OPTIONS] [--module] (script|module) [SCRIPT OPTIONS]

If no MONKEY OPTIONS are present, monkey patches all the modules as if by calling patch_all().
You can exclude a module with --no-<module>, e.g. --no-thread. You can
specify a module to patch with --<module>, e.g. --socket. In the latter
case only the modules specified on the command line will be patched.

The script may be anything that the interpreter runs: a file, a directory or an archive with a
__main__.py. To run a module instead, pass --module before its name.

MONKEY OPTIONS: --verbose, {options}
"""


def main(arguments: list[str]) -> None:
    """Interpret *arguments*, patch, and run the program with the rest of them.

    :raises SystemExit: with 1 for a wrong option or a missing module, 2 for a missing script, and
        whatever the program raises.
    """
    known = [
        name
        for name, parameter in signature(gevent.monkey.patch_all).parameters.items()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    usage = USAGE.format(options=" ".join(f"--[no-]{name}" for name in known))
    settings: dict[str, Any] = {}
    verbose = as_module = False
    while arguments and arguments[0].startswith("--"):
        option = arguments.pop(0).removeprefix("--")
        if option == "verbose":
            verbose = True
        elif option == "module":
            as_module = True
        elif option.removeprefix("no-") in known:
            settings[option.removeprefix("no-")] = not option.startswith("no-")
        else:
            sys.exit(f"{usage}\nCannot patch {option!r}")
    if not arguments:
        print(usage)
        return

    if any(settings.get(row.option) for row in TABLE):
        settings = dict.fromkeys((row.option for row in TABLE), False) | settings
    if verbose:
        _describe(settings)
    gevent.monkey.patch_all(**settings)
    sys.argv = arguments
    (_run_module if as_module else _run_script)(arguments[0])


def _describe(settings: dict[str, Any]) -> None:
    from pprint import pformat

    given = ", ".join(f"{name}={on}" for name, on in settings.items())
    print(f"gevent.monkey.patch_all({given})")
    print(f"sys.version={sys.version}")
    print(f"sys.path={pformat(sys.path)}")
    print(f"sys.modules={pformat(sorted(sys.modules))}")
    print(f"cwd={os.getcwd()}")


def _run_script(path: str) -> None:
    if not os.path.exists(path):
        _fail(f"can't open file {os.path.abspath(path)!r}: [Errno 2] No such file or directory", 2)
    if os.path.isfile(path) and sys.path:
        # The interpreter puts the folder of a script there; ``-m`` has put the working directory.
        sys.path[0] = os.path.dirname(os.path.abspath(path))
    runpy.run_path(path, run_name="__main__")


def _run_module(name: str) -> None:
    from importlib.util import find_spec

    try:
        found = find_spec(name) is not None
    except ModuleNotFoundError:
        found = False
    if not found:
        _fail(f"No module named {name}", 1)
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def _fail(message: str, status: int) -> NoReturn:
    print(f"{sys.executable}: {message}", file=sys.stderr)
    sys.exit(status)
