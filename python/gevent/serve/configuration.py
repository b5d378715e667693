"""The sources of settings beside the command line: a TOML file and environment variables."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

from gevent.serve import converters
from gevent.serve.errors import ServeError, reason
from gevent.serve.options import Setting, settings

#: The prefix of the names of environment variables.
PREFIX = "GEVENT_SERVE_"
#: The variable that names the configuration file, and the option's name.
CONFIG = "config"
#: The variable that hosting platforms set to the number of processes.
CONCURRENCY = "WEB_CONCURRENCY"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a hint that names the known word most like *word*, or an empty text."""
    alike = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {alike[0]}?" if alike else ""


def from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings that environment variables state, by field.

    :raises ServeError: A variable has the prefix but names no setting, or its value is wrong.
    """
    known = {PREFIX + name.upper(): name for name in settings()}
    found: dict[str, Any] = {}
    if environ.get(CONCURRENCY):
        found["workers"] = _value(CONCURRENCY, settings()["workers"][1], environ[CONCURRENCY])
    for variable, text in environ.items():
        if not variable.startswith(PREFIX) or variable == PREFIX + CONFIG.upper():
            continue
        if variable not in known:
            raise ServeError(f"unknown setting {variable}{did_you_mean(variable, known)}")
        name = known[variable]
        setting = settings()[name][1]
        value: Any = [one for one in text.split(",") if one] if setting.many else text
        found[name] = _value(variable, setting, value)
    return found


def from_file(path: str) -> dict[str, Any]:
    """Return the settings that a TOML file states, by field.

    Keys are written as the options are, without the dashes in front.

    :raises ServeError: The file cannot be read, is no TOML, or has an unknown key or a wrong
        value.
    """
    try:
        with open(path, "rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise ServeError(f"cannot read {path}: {reason(error)}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ServeError(f"{path} is not valid TOML: {error}") from error
    known = {name.replace("_", "-"): name for name in settings()}
    found: dict[str, Any] = {}
    for key, value in table.items():
        name = known.get(key.replace("_", "-"))
        if name is None:
            raise ServeError(f"{path}: unknown setting {key!r}{did_you_mean(key, known)}")
        found[name] = _value(f"{path}: {key}", settings()[name][1], value)
    return found


def _value(where: str, setting: Setting, given: Any) -> Any:
    """Return the value of a setting that was *given* as a text, a list, or another TOML value."""
    try:
        if setting.many:
            values = given if isinstance(given, list) else [given]
            return tuple(setting.convert(_text(one)) for one in values)
        if setting.convert is converters.truth and isinstance(given, bool):
            return given
        return setting.convert(_text(given))
    except ValueError as error:
        raise ServeError(f"{where}: {error}") from None


def _text(given: Any) -> str:
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        raise ValueError(f"{given!r} is neither a text nor a number")
    return str(given)
