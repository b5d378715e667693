"""A pytest plugin for programs that use gevent: ``-p gevent.pytest_plugin``.

It has to be named on the command line, in ``addopts`` or ``PYTEST_ADDOPTS``, so that it is loaded
before the test modules, and does nothing unless asked to:

``--gevent-patch``
    Makes the standard library cooperative first, as ``python -m gevent.monkey`` does. With
    pytest-xdist, each worker patches itself.
``--gevent-timeout SECONDS``
    Ends each test that takes longer, with the stacks of all greenlets and what each waits for; its
    fixtures have as long before, and once more after it. The mark ``gevent_timeout(seconds)`` sets
    it for one test. Code that lets no other greenlet run is not ended; the stacks are printed after
    a while all the same.
``--gevent-leaks``
    Fails each test that leaves greenlets or descriptors behind. The mark ``gevent_leaks`` has one
    test checked, ``gevent_leaks(False)`` excepts one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

# Patching has to come before pytest's other plugins and the tests import more.
_WANTED = "--gevent-patch"

#: The seconds that greenlets which a test killed have to end.
_GRACE = 0.2
#: The seconds after the timeout at which a native thread reports what nothing else could.
_LATER = 2.0


def _patch() -> None:
    from gevent import monkey

    if not monkey.is_module_patched("socket"):
        # Patching works in place, so modules that pytest holds already are patched too.
        monkey.patch_all()


def _distributes(arguments: list[str]) -> bool:
    return any(one.startswith(("-n", "--numprocesses", "--dist", "--tx")) for one in arguments)


if os.environ.get("GEVENT_PYTEST_PATCH") == "1" or (
    _WANTED in sys.argv and not _distributes(sys.argv)
):
    _patch()


def _expect_other_threads() -> None:
    """Keep the main greenlet's waits from being taken for deadlocks.

    What a worker of pytest-xdist is to do comes from a native thread of execnet's, which began
    before anything was patched, so the loop does not know of it.
    """
    from gevent import get_hub

    get_hub().loop.async_().start(lambda: None)


def pytest_addoption(parser: Any) -> None:
    """Add the options."""
    group = parser.getgroup("gevent")
    group.addoption(_WANTED, action="store_true", help="patch the standard library first")
    group.addoption(
        "--gevent-timeout",
        type=float,
        default=None,
        metavar="SECONDS",
        help="end each test that takes longer, with the stacks of all greenlets",
    )
    group.addoption(
        "--gevent-leaks",
        action="store_true",
        help="fail each test that leaves greenlets or descriptors behind",
    )


def pytest_configure(config: Any) -> None:
    """Patch if that was asked for, except where workers run the tests; describe the marks."""
    if config.getoption("gevent_patch"):
        # Also where the option came from a file, and for the workers of pytest-xdist.
        os.environ["GEVENT_PYTEST_PATCH"] = "1"
        if hasattr(config, "workerinput"):
            _patch()
            _expect_other_threads()
        elif config.getoption("dist", "no") == "no":
            _patch()
    seconds = config.getoption("gevent_timeout")
    if seconds is not None and not seconds > 0:
        raise pytest.UsageError("--gevent-timeout must be positive")
    config.addinivalue_line("markers", "gevent_timeout(seconds): end the test when it takes longer")
    config.addinivalue_line(
        "markers", "gevent_leaks(check=True): fail the test if it leaves greenlets or descriptors"
    )


def pytest_unconfigure(config: Any) -> None:
    """Leave the environment as it was."""
    if config.getoption("gevent_patch", False):
        os.environ.pop("GEVENT_PYTEST_PATCH", None)


class _TookTooLong(BaseException):
    """Ends a test whose time is up: no handler of ``Exception`` in it takes it for its own."""


def _run_info() -> str:
    from gevent.util import format_run_info

    return "\n".join(format_run_info())


def _timeout_of(item: Any) -> float | None:
    mark = item.get_closest_marker("gevent_timeout")
    if mark is not None:
        seconds = mark.args[0] if mark.args else mark.kwargs.get("seconds")
        return None if seconds is None else float(seconds)
    return item.config.getoption("gevent_timeout")  # type: ignore[no-any-return]


def _checks_leaks(item: Any) -> bool:
    mark = item.get_closest_marker("gevent_leaks")
    if mark is not None:
        return bool(mark.args[0] if mark.args else mark.kwargs.get("check", True))
    return bool(item.config.getoption("gevent_leaks"))


@contextmanager
def _limited(item: Any, phase: str) -> Generator[None]:
    """End a phase of a test that takes longer than the test may."""
    seconds = _timeout_of(item)
    if seconds is None:
        yield
        return
    import gevent
    from gevent.monkey import get_original

    info: list[str] = []
    ended = get_original("threading", "Event")()

    def expire() -> None:
        # In the hub, where nothing of the test runs: the stacks are as they were.
        info.append(_run_info())
        main.throw(_TookTooLong())

    def watch() -> None:
        # Only a native thread can report a test that never lets the hub run.
        if not ended.wait(seconds + _LATER) and not info:
            print(f"{item.nodeid} blocks for more than {seconds} s", file=sys.__stderr__)
            print(_run_info(), file=sys.__stderr__, flush=True)

    main = gevent.getcurrent()
    timer = gevent.get_hub().loop.timer(seconds)
    # The loop's own time is that of its last poll, which may be long ago.
    timer.start(expire, update=True)
    get_original("_thread", "start_new_thread")(watch, ())
    try:
        yield
    except _TookTooLong:
        pytest.fail(f"{phase} took longer than {seconds} s\n{info[0]}", pytrace=True)
    finally:
        timer.close()
        ended.set()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: Any) -> Generator[None, Any, Any]:
    """Make a test's fixtures within its time."""
    with _limited(item, "the setup of the test"):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: Any) -> Generator[None, Any, Any]:
    """Run a test within its time."""
    with _limited(item, "the test"):
        return (yield)


def _descriptors() -> dict[int, str]:
    found = {}
    with suppress(OSError):
        for name in os.listdir("/proc/self/fd"):
            if int(name) <= 2:
                # pytest puts files in their places while a test runs.
                continue
            with suppress(OSError):
                found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


def _greenlets() -> list[Any]:
    from gevent import Greenlet
    from gevent._waits import all_greenlets

    return [one for one in all_greenlets() if isinstance(one, Greenlet) and not one.dead]


def _leftovers(greenlets: set[int], descriptors: dict[int, str]) -> tuple[list[Any], list[str]]:
    left = [one for one in _greenlets() if id(one) not in greenlets]
    opened = [
        f"{number}: {what}"
        for number, what in _descriptors().items()
        if descriptors.get(number) != what and "anon_inode:[event" not in what
    ]
    return left, opened


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: Any, nextitem: Any) -> Generator[None, Any, Any]:
    """Keep what there was before the test and its fixtures."""
    if _checks_leaks(item):
        import gevent

        gevent.get_hub()
        before = _greenlets()
        # The references keep the numbers from being given to others.
        item.stash[_BEFORE] = (before, _descriptors())
    return (yield)


_BEFORE = pytest.StashKey[tuple[list[Any], dict[int, str]]]()


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_teardown(item: Any, nextitem: Any) -> Generator[None, Any, Any]:
    """End a test's fixtures within its time; fail it if it left something behind then."""
    with _limited(item, "the teardown of the test"):
        result = yield
    kept = item.stash.get(_BEFORE, None)
    if kept is None:
        return result
    import gc

    import gevent

    known, descriptors = {id(one) for one in kept[0]}, kept[1]
    left, opened = _leftovers(known, descriptors)
    if left or opened:
        # Greenlets that were just ended may need a turn, and unreachable ones the collector.
        gc.collect()
        until = gevent.get_hub().loop.now() + _GRACE
        while (left or opened) and gevent.get_hub().loop.now() < until:
            gevent.sleep(0.01)
            left, opened = _leftovers(known, descriptors)
    if left or opened:
        lines = [
            *(f"greenlet left behind: {one!r}" for one in left),
            *(f"descriptor left open: {one}" for one in opened),
        ]
        pytest.fail("\n".join(lines), pytrace=False)
    return result
