"""``python -m gevent.top PID``: the greenlets and waits of a running program, and its load.

The program must have a view open, see :mod:`gevent.inspect`; it has one if it was started with
``GEVENT_INSPECT=on``. A socket's path or an address may be given in place of the process's number.

``--once`` prints one picture and ends, ``--json`` prints everything as JSON and ends. Without them
the terminal shows a picture that is drawn anew, which takes Rich (``pip install gevent-rs[top]``):
the arrow keys choose a greenlet, Enter shows its stack, ``k`` kills it after a question, ``q`` ends
the picture.

``--kill NUMBER`` kills one greenlet, by its number in the first column of ``--once``, once the
question that it prints is answered with ``y``; ``--yes`` skips the question. Nothing else here
changes the program.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from gevent._inspect_address import Address, InspectError, ask_json, find_address, order
from gevent._inspect_picture import Picture

__all__ = ["main"]


def _print_once(picture: Picture) -> None:
    for line in picture.summary():
        print(line)
    print()
    rows = [("NUMBER", "GREENLET", "STATE", "SECONDS", "WAITS FOR")]
    rows += [row.cells() for row in picture.rows()]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for number, name, state, seconds, where in rows:
        line = f"{number:>{widths[0]}}  {name:{widths[1]}}  {state:{widths[2]}}"
        print(f"{line}  {seconds:>{widths[3]}}  {where}".rstrip())
    if picture.left_out:
        print(f"and {picture.left_out} more")


def _print_json(picture: Picture) -> None:
    whole = {
        "stats": picture.stats,
        "greenlets": picture.greenlets,
        "left_out": picture.left_out,
    }
    print(json.dumps(whole, indent=1))


def _kill(address: Address, token: str | None, number: int, sure: bool) -> None:
    known = ask_json(address, "/greenlets.json?stacks=0", token)["greenlets"]
    found: dict[str, Any] | None = next((one for one in known if one["number"] == number), None)
    if found is None:
        raise InspectError(f"there is no greenlet {number}")
    what = f"{found['name']} ({found['wait'] or found['state']})"
    if not sure:
        if not sys.stdin.isatty():
            raise InspectError(
                "cannot ask for confirmation without a terminal; --yes kills without asking"
            )
        if input(f"Kill {what}? [y/N] ").strip().lower() not in ("y", "yes"):
            raise InspectError("nothing was killed")
    killed = order(address, f"/kill?number={number}", token)["killed"]
    print(f"killed {killed}")


def _watch(address: Address, token: str | None, interval: float) -> None:
    try:
        from gevent._inspect_terminal import Terminal
    except ImportError:
        raise InspectError(
            "the live view needs Rich (pip install gevent-rs[top]); --once works without it"
        ) from None
    Terminal(address, token, interval).run()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m gevent.top",
        description="Show the greenlets of a running program and what each waits for.",
        epilog="The program must have been started with GEVENT_INSPECT=on, or have called "
        "gevent.inspect.open_view().",
    )
    parser.add_argument("target", help="the number of a process, a socket's path or an address")
    parser.add_argument("--once", action="store_true", help="print one picture and end")
    parser.add_argument("--json", action="store_true", help="print everything as JSON and end")
    parser.add_argument(
        "--interval",
        type=float,
        default=2.0,
        help="seconds between pictures, at least; more where a picture costs the program much",
    )
    parser.add_argument(
        "--token",
        default=os.environ.get("GEVENT_INSPECT_TOKEN"),
        help="what a view on a loopback address asks for (default: GEVENT_INSPECT_TOKEN)",
    )
    parser.add_argument(
        "--kill",
        type=int,
        metavar="NUMBER",
        help="kill the greenlet with this number, after a question, and end",
    )
    parser.add_argument("--yes", action="store_true", help="kill without a question")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if not options.interval > 0:
        parser.error("--interval must be positive")
    try:
        address = find_address(options.target)
        if options.kill is not None:
            _kill(address, options.token, options.kill, options.yes)
        elif options.json:
            _print_json(Picture(address, options.token))
        elif options.once:
            _print_once(Picture(address, options.token))
        else:
            _watch(address, options.token, options.interval)
        sys.stdout.flush()
    except InspectError as error:
        print(f"gevent.top: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, EOFError):
        return 0
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
