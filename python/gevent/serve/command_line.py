"""The command line, and how the places that state settings are put together."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from gevent.serve import configuration
from gevent.serve.errors import ServeError
from gevent.serve.options import Options, Setting, default_of, settings

PROGRAM = "python -m gevent.serve"


class _Parser(argparse.ArgumentParser):
    """A parser whose error names the known option that an unknown one resembles."""

    def error(self, message: str) -> NoReturn:
        """Print the error *message*, and end the program with status 2."""
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown != message:
            first = unknown.split()[0].partition("=")[0]
            message += configuration.did_you_mean(first, self._option_string_actions)
        # The usage as a whole is longer than a screen, and would hide this line.
        self.exit(2, f"{PROGRAM}: error: {message}\nTry '{PROGRAM} --help' for the options.\n")


class Sources:
    """The places that state settings, read anew at each reload.

    The command line takes precedence over the environment, and the environment over the file.

    :param arguments: The command line after the program's name.
    :param environ: The environment.
    :raises SystemExit: The command line is wrong (2), or asks for help (0).
    """

    def __init__(self, arguments: Sequence[str], environ: Mapping[str, str]) -> None:
        self._parser = _make_parser()
        values = vars(self._parser.parse_args(arguments))
        self._given = {name: value for name, value in values.items() if value is not None}
        self._environ = dict(environ)
        path = self._given.pop(configuration.CONFIG, None)
        path = path or environ.get(configuration.PREFIX + configuration.CONFIG.upper())
        # The process may change its directory before the file is read again.
        self._path = os.path.abspath(path) if path else None

    def options(self) -> Options:
        """Return the options, put together from all places as they are now.

        :raises ServeError: A setting is unknown, has a wrong value, or contradicts another.
        """
        found = configuration.from_file(self._path) if self._path else {}
        found |= configuration.from_environment(self._environ)
        for name, value in self._given.items():
            found[name] = tuple(value) if settings()[name][1].many else value
        options = Options(**found)
        for wrong in _contradictions(options):
            raise ServeError(wrong)
        return options

    def first_options(self) -> Options:
        """Return the options as :meth:`options` does, but end the program where that fails.

        :raises SystemExit: A setting is wrong (2); one line on stderr says why.
        """
        try:
            return self.options()
        except ServeError as error:
            self._parser.error(str(error))


def _contradictions(options: Options) -> list[str]:
    wrong = []
    if not options.app:
        wrong.append("the following arguments are required: app")
    else:
        try:
            settings()["app"][1].convert(options.app)
        except ValueError as error:
            wrong.append(f"argument app: {error}")
    for name in ("tls_key", "tls_client_ca", "tls_ciphers", "tls_key_password_file"):
        if getattr(options, name) and not options.tls_cert:
            wrong.append(f"--{name.replace('_', '-')} needs --tls-cert")
    if options.max_requests_jitter and not options.max_requests:
        wrong.append("--max-requests-jitter needs --max-requests")
    if options.reload_extra and not options.reload:
        wrong.append("--reload-extra needs --reload")
    return wrong


def _make_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        description="Serve a WSGI application.",
        epilog="Each option may also stand in the configuration file, by its name without the "
        f"dashes in front, and in the environment, as {configuration.PREFIX}MAX_REQUESTS for "
        "--max-requests. The command line counts before the environment, that before the file.",
        allow_abbrev=False,
    )
    for name, (field, setting) in settings().items():
        default = default_of(field)
        if name == "app":
            # Its form is checked later: argparse would take the value of a misspelt option for it,
            # and report that instead of the option.
            parser.add_argument(name, nargs="?", help=setting.help, metavar=name)
        elif setting.is_flag:
            parser.add_argument(
                _option(name),
                action=argparse.BooleanOptionalAction,
                default=None,
                help=f"{setting.help} (default: {'yes' if default else 'no'})",
            )
        else:
            text = setting.help
            if default is not None and default != ():
                text += (
                    f" (default: {default:g})" if _is_number(default) else f" (default: {default})"
                )
            parser.add_argument(
                _option(name),
                type=_converter(setting),
                help=text.replace("%", "%%"),
                metavar=setting.metavar,
                action=_Extend if setting.many else "store",
            )
    parser.add_argument(
        _option(configuration.CONFIG), metavar="FILE", help="read settings from this TOML file"
    )
    return parser


class _Extend(argparse.Action):
    """Adds values to those of the option's earlier occurrences."""

    def __call__(
        self, parser: Any, namespace: argparse.Namespace, values: Any, option: Any = None
    ) -> None:
        setattr(namespace, self.dest, [*(getattr(namespace, self.dest) or ()), *values])


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _is_number(value: Any) -> bool:
    return isinstance(value, float)


def _converter(setting: Setting) -> Callable[[str], Any]:
    """Return the function that argparse calls. argparse prints the texts of its errors as is."""

    def convert(text: str) -> Any:
        try:
            if setting.many:
                return [setting.convert(one) for one in text.split(",") if one]
            return setting.convert(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert
