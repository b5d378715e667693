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
    """A parser that says which option an unknown one resembles."""

    def error(self, message: str) -> NoReturn:
        """Print what is wrong, and end."""
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown != message:
            first = unknown.split()[0].partition("=")[0]
            message += configuration.did_you_mean(first, self._option_string_actions)
        super().error(message)


def parse(arguments: Sequence[str], environ: Mapping[str, str] = os.environ) -> Options:
    """Return the options that *arguments*, *environ* and the configuration file amount to.

    What the command line says counts before the environment, and that before the file.

    :raises SystemExit: Something is wrong (2), or the command line asks for help (0).
    """
    parser = _make_parser()
    given = {
        name: value
        for name, value in vars(parser.parse_args(arguments)).items()
        if value is not None
    }
    path = given.pop(configuration.CONFIG, None)
    path = path or environ.get(configuration.PREFIX + configuration.CONFIG.upper())
    try:
        found = configuration.from_file(path) if path else {}
        found |= configuration.from_environment(environ)
    except ServeError as error:
        parser.error(str(error))
    found |= {
        name: tuple(value) if settings()[name][1].many else value for name, value in given.items()
    }
    if "app" in given:
        try:
            settings()["app"][1].convert(found["app"])
        except ValueError as error:
            parser.error(f"argument app: {error}")
    options = Options(**found)
    for wrong in _contradictions(options):
        parser.error(wrong)
    return options


def _contradictions(options: Options) -> list[str]:
    wrong = []
    if not options.app:
        wrong.append("the following arguments are required: app")
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
            # It is judged later: the value of a misspelt option would be taken for it.
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
    """Return the function that argparse calls, whose errors it prints as they are."""

    def convert(text: str) -> Any:
        try:
            if setting.many:
                return [setting.convert(one) for one in text.split(",") if one]
            return setting.convert(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert
