"""What the command lines of the examples have in common."""

import argparse

Address = tuple[str, int]


def address(text: str) -> Address:
    """Return host and port of ``[HOST:]PORT``; the host is this machine's own by default."""
    host, _, port = text.rpartition(":")
    if not 0 <= int(port) < 65536:
        raise ValueError(f"{port} is no port")
    return host.strip("[]") or "127.0.0.1", int(port)


def parser(description: str | None) -> argparse.ArgumentParser:
    """Make a parser whose ``--help`` says what a module's docstring does."""
    formatter = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(description=description, formatter_class=formatter)


def server_parser(description: str | None, default: str | None = None) -> argparse.ArgumentParser:
    """Make a parser for a server. ``listen`` is its address, optional where there is a default."""
    made = parser(description)
    made.add_argument(
        "listen",
        type=address,
        nargs="?" if default else None,
        default=default,
        metavar="[HOST:]PORT",
        help="where to listen; port 0 takes any free one"
        + (", default %(default)s" * bool(default)),
    )
    return made
