"""Importing the application, and classes that the options name."""

from __future__ import annotations

import ast
import importlib
import os
import sys
import traceback
from typing import Any

from gevent.serve.errors import ServeError, in_a_line
from gevent.serve.options import Options


def load_application(options: Options) -> Any:
    """Return the application.

    ``module:make(1, debug=True)`` calls *make* with these arguments, which must be literals.

    :raises ServeError: The application cannot be imported or made, or cannot be called.
    """
    assert options.app is not None
    module_name, _, expression = options.app.partition(":")
    attribute, call = _parse(options.app, expression)
    found = load_name(module_name, attribute)
    if call is None and options.factory:
        call = ([], {})
    if call is not None:
        if not callable(found):
            raise ServeError(f"{options.app} cannot be called: {found!r:.80}")
        try:
            found = found(*call[0], **call[1])
        except BaseException as error:
            raise ServeError(f"cannot make {options.app}: {_with_place(error)}") from error
    if not callable(found):
        raise ServeError(f"{options.app} cannot be called: {found!r:.80}")
    return found


def load_name(module_name: str, attribute: str) -> Any:
    """Return an attribute, which may have dots in it, of a module in the path or this directory.

    :raises ServeError: The module cannot be imported, or has no such attribute.
    """
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = importlib.import_module(module_name)
    except BaseException as error:
        raise ServeError(f"cannot import {module_name}: {_with_place(error)}") from error
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise ServeError(f"there is no {attribute} in {module_name}") from None
    return found


def _parse(name: str, expression: str) -> tuple[str, tuple[list[Any], dict[str, Any]] | None]:
    """Return the attribute of ``attribute`` or ``attribute(…)``, and the call's arguments."""
    if not expression.endswith(")"):
        return expression, None
    wrong = ServeError(f"{name} is neither a name nor a call with literal arguments")
    try:
        call = ast.parse(expression, mode="eval").body
        if not isinstance(call, ast.Call):
            raise wrong
        positional = [ast.literal_eval(one) for one in call.args]
        named = {str(one.arg): ast.literal_eval(one.value) for one in call.keywords if one.arg}
    except (SyntaxError, ValueError):
        raise wrong from None
    if len(named) != len(call.keywords):
        raise wrong
    return ast.unparse(call.func), (positional, named)


def _with_place(error: BaseException) -> str:
    what = in_a_line(error)
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1] if frames else None
    if last is None or last.filename.startswith("<frozen"):
        return what
    return f"{what} ({last.filename}:{last.lineno})"
