"""Make the standard library cooperative.

:func:`patch_all` replaces, in place, the functions and classes of the standard library that
block the whole thread by ones that block only the calling greenlet. A program that knows nothing
of this package then serves many connections concurrently::

    from gevent import monkey
    monkey.patch_all()

Patch first of all, in the main thread and while there is no other: a module that has already
taken ``socket.socket`` or ``time.sleep`` under a name of its own keeps the blocking one.
The table in ``gevent/monkey/_table.py`` lists everything that is patched.

Asking
    :func:`is_module_patched`, :func:`is_object_patched`, and :func:`get_original` for the
    blocking original.

Events
    Subscribers (:data:`gevent.events.subscribers`) and then the entry points of installed
    distributions are called, in this order, with
    :class:`gevent.events.GeventWillPatchAllEvent`; for each module
    :class:`gevent.events.GeventWillPatchModuleEvent` and
    :class:`gevent.events.GeventDidPatchModuleEvent`;
    :class:`gevent.events.GeventDidPatchBuiltinModulesEvent`, which is the moment to patch further
    packages with :func:`patch_module`; and :class:`gevent.events.GeventDidPatchAllEvent`. The
    event classes name their entry point groups. Raising :exc:`gevent.events.DoNotPatch` from a
    "will" event leaves the module, or everything, alone.

Exempting
    ``with monkey.unpatched(): import module`` gives a module, such as an agent or a profiler, the
    standard library as it is without patching, and so does ``patch_all(exempt=["module"])``,
    wherever the program imports it; see :func:`unpatched` for the limits.

Running programs
    ``python -m gevent.monkey script.py`` runs a script in a patched interpreter; see
    :func:`main`.
"""

from __future__ import annotations

import sys as _sys
from collections.abc import Iterable
from typing import Any

from gevent import events
from gevent.monkey._exempt import exempt_modules
from gevent.monkey._exempt import unpatched as unpatched
from gevent.monkey._imports import when_imported
from gevent.monkey._state import check_patchable, is_module_patched, is_object_patched, saved
from gevent.monkey._state import is_anything_patched as is_anything_patched
from gevent.monkey._table import DNS_NAMES, LATE, ROWS, Row
from gevent.monkey._warnings import MonkeyPatchWarning
from gevent.monkey._warnings import process_warnings as _process_warnings
from gevent.monkey.api import get_original, patch_module
from gevent.monkey.api import patch_item as patch_item

__all__ = [
    "MonkeyPatchWarning",
    "get_original",
    "is_module_patched",
    "is_object_patched",
    "main",
    "patch_all",
    "patch_asyncio",
    "patch_builtins",
    "patch_dns",
    "patch_module",
    "patch_os",
    "patch_queue",
    "patch_select",
    "patch_signal",
    "patch_socket",
    "patch_ssl",
    "patch_subprocess",
    "patch_sys",
    "patch_thread",
    "patch_time",
    "unpatched",
]

#: The rows for modules that programs import later. A row leaves the list once it is applied or
#: waits for the import of its module.
_unapplied = list(LATE)

# Parameters below are named after the modules that they enable, and hide those names.
_SETTINGS = "_gevent_saved_patch_all_module_settings"
_TWICE = "Patching more than once will result in the union of all True parameters being patched"
_SIGNAL_WITHOUT_OS = (
    "Patching signal but not os will result in SIGCHLD handlers installed after this not being "
    "called and os.waitpid may not function correctly if gevent.subprocess is used. This may "
    "raise an error in the future."
)


def _apply_late(option: str) -> None:
    for row in [row for row in _unapplied if row.option == option]:
        _unapplied.remove(row)
        when_imported(row.target, row.apply)


def _patch_row(row: Row, **kwargs: Any) -> bool:
    target, source = row.modules()
    return patch_module(target, source, **kwargs)


def patch_os() -> None:
    """Patch :mod:`os`: forks, ``waitpid``, ``waitid``, ``posix_spawn(p)`` and ``close``.

    ``waitpid`` and ``waitid`` are left alone where the environment variable ``GEVENT_NOWAITPID``
    is set. Goes together with :func:`patch_signal`: only both give ``SIGCHLD`` handlers their
    signal.
    """
    _patch_row(ROWS["os"])


def patch_time() -> None:
    """Patch :func:`time.sleep`."""
    _patch_row(ROWS["time"])


def patch_thread(
    threading: bool = True,
    _threading_local: bool = True,
    Event: bool = True,
    logging: bool = True,
    existing_locks: bool = True,
    _warnings: list[str] | None = None,
) -> None:
    """Patch :mod:`_thread` and :mod:`threading`: threads become greenlets.

    :param threading: Also patch :mod:`threading`.
    :param _threading_local: Also patch :class:`_threading_local.local`.
    :param Event: Also patch :class:`threading.Event`.
    :param logging: Also replace the locks that :mod:`logging` has already made.
    :param existing_locks: Also see to locks of the import system that are held just now, and to
        the lock that :mod:`concurrent.futures.thread` takes around a fork.

    Threads that are already running stay native threads and can be joined as before.
    """
    from gevent.monkey import _threads

    _threads.patch(
        threading=threading,
        threading_local=_threading_local,
        event=Event,
        logging=logging,
        existing_locks=existing_locks,
        warnings=_warnings,
    )
    if threading:
        patch_processes()


def patch_processes() -> None:
    """Patch :mod:`multiprocessing`, as it is imported. :func:`patch_thread` does it too.

    Connections, locks and what is built on them block only the calling greenlet, with every start
    method, and a child that is forked runs none of the parent's greenlets. The same holds for
    ``billiard``, Celery's fork of it.
    """
    _apply_late("thread")


def patch_asyncio() -> None:
    """Patch :mod:`asyncio`, as it is imported: each greenlet is a thread to it.

    A loop that runs in one greenlet is not seen by others, which may run loops of their own with
    :func:`asyncio.run`; the policy keeps a loop for each greenlet. A greenlet that a coroutine
    switches to directly still sees the coroutine's loop. Waiting for a loop of the standard
    library lets other greenlets run, one of uvloop does not: making one issues a
    :class:`MonkeyPatchWarning`. Useful only along with the other functions.
    """
    saved.setdefault("asyncio", {})
    _apply_late("asyncio")


def patch_socket(dns: bool = True, aggressive: bool = True) -> None:
    """Patch the classes and functions of :mod:`socket`.

    :param dns: Also patch the functions that look up names; see :func:`patch_dns`.
    :param aggressive: Accepted for compatibility.
    """
    target, source = ROWS["socket"].modules()
    names = source.__implements__
    if not dns:
        names = [name for name in names if name not in DNS_NAMES]
    patch_module(target, source, names)


def patch_dns() -> None:
    """Patch the functions of :mod:`socket` that look up names. :func:`patch_socket` does it too."""
    target, source = ROWS["socket"].modules()
    patch_module(target, source, DNS_NAMES)


def patch_select(aggressive: bool = True) -> None:
    """Patch :func:`select.select`, :class:`select.poll` and :class:`select.epoll`.

    :param aggressive: Accepted for compatibility: all that Linux has is cooperative.
    """
    # selectors must be imported before select loses functions: it leaves out, for good, classes
    # whose functions it does not find.
    ROWS["selectors"].modules()
    _patch_row(ROWS["select"])


def patch_selectors(aggressive: bool = True) -> None:
    """Patch the classes of :mod:`selectors`. ``patch_all(select=True)`` does it too.

    :param aggressive: Accepted for compatibility: all that Linux has is cooperative.
    """
    _patch_row(ROWS["selectors"])


def patch_ssl(_warnings: list[str] | None = None, _first_time: bool = True) -> None:
    """Patch :mod:`ssl`. Useful only along with :func:`patch_socket`.

    Contexts that exist, and classes derived from :class:`ssl.SSLContext`, become cooperative too.
    Issues a :class:`MonkeyPatchWarning` if there are such classes or another module has made the
    original class its own: connections that exist stay blocking. Does nothing if the
    interpreter was built without :mod:`ssl`.
    """
    from gevent.monkey import _late

    late = _late.ssl_message() if _first_time else None
    try:
        ROWS["ssl"].modules()
    except ImportError:
        return
    if _patch_row(ROWS["ssl"], _warnings=_warnings) and late is not None:
        if _warnings is None:
            _process_warnings([late])
        else:
            _warnings.append(late)


def patch_subprocess() -> None:
    """Patch :class:`subprocess.Popen` and the functions that use it."""
    _patch_row(ROWS["subprocess"])


def patch_signal() -> None:
    """Patch :func:`signal.signal` and its like, so that ``SIGCHLD`` handlers go on working.

    Handlers of other signals may block, also those that were set before. Goes together with
    :func:`patch_os`.
    """
    if _patch_row(ROWS["signal"]):
        from gevent.signal import take_handlers

        take_handlers()


def patch_queue() -> None:
    """Patch ``SimpleQueue``, ``Queue``, ``LifoQueue`` and ``PriorityQueue`` of :mod:`queue`."""
    _patch_row(ROWS["queue"])


def _subscribe_signal_os(event: events.GeventWillPatchAllEvent) -> None:
    """Do nothing: :func:`patch_all` itself warns if ``signal`` is patched and ``os`` is not.

    It exists because the entry points of a distribution of gevent that is also installed name it.
    """


def patch_builtins() -> None:
    """Do nothing: import locks are per module and cooperative once threads are patched."""


def patch_contextvars() -> None:
    """Do nothing: each greenlet has a context of its own anyway."""


def patch_sys(stdin: bool = True, stdout: bool = True, stderr: bool = True) -> None:
    """Do nothing: the interpreter flushes the standard streams when no greenlet can run."""


def patch_all(
    socket: bool = True,
    dns: bool = True,
    time: bool = True,
    select: bool = True,
    thread: bool = True,
    os: bool = True,
    ssl: bool = True,
    subprocess: bool = True,
    sys: bool = False,
    aggressive: bool = True,
    Event: bool = True,
    builtins: bool = True,
    signal: bool = True,
    queue: bool = True,
    contextvars: bool = True,
    asyncio: bool = True,
    *,
    exempt: Iterable[str] = (),
    **kwargs: Any,
) -> bool | None:
    """Patch everything that the arguments do not exclude.

    Calling it again adds what the earlier calls left out, with a :class:`MonkeyPatchWarning`;
    nothing is ever put back.

    :param aggressive: Accepted for compatibility.
    :param Event: Also patch :class:`threading.Event`.
    :param asyncio: Along with *thread*, also make each greenlet a thread to :mod:`asyncio`; see
        :func:`patch_asyncio`. gevent has no such parameter.
    :param exempt: Names of modules, such as ``"ddtrace"``. They and their submodules are imported
        as within :func:`unpatched` from now on, with its limits. gevent has no such parameter.
    :param kwargs: Handed to the subscribers of the events, and otherwise ignored.
    :return: True if something was patched, ``None`` if nothing was left to do, ``False`` if a
        subscriber raised :exc:`gevent.events.DoNotPatch`.
    :raises RuntimeError: within a block of :func:`unpatched`.
    """
    settings = {name: on for name, on in locals().items() if name not in ("exempt", "kwargs")}
    exempt_modules(exempt)
    first_time = _SETTINGS not in saved
    before: dict[str, bool] = saved.get(_SETTINGS, {})
    if settings == before:
        return None
    check_patchable("threading")

    pending: list[str] = []
    arguments = settings
    if not first_time:
        pending.append(_TWICE)
        arguments = {name: on for name, on in settings.items() if on and not before[name]}
    saved[_SETTINGS] = {name: bool(on or before.get(name)) for name, on in settings.items()}
    if not arguments:
        _process_warnings(pending)
        return None
    if signal and not os:
        pending.append(_SIGNAL_WITHOUT_OS)

    try:
        events.notify_and_call_entry_points(events.GeventWillPatchAllEvent(arguments, kwargs))
    except events.DoNotPatch:
        return False

    if os:
        patch_os()
    if thread:
        patch_thread(Event=Event, _warnings=pending)
        if asyncio:
            patch_asyncio()
    if time:
        patch_time()
    if socket:
        patch_socket(dns=dns, aggressive=aggressive)
    if select:
        patch_select(aggressive=aggressive)
        patch_selectors(aggressive=aggressive)
    if ssl:
        patch_ssl(_warnings=pending, _first_time=first_time)
    if subprocess:
        patch_subprocess()
    if signal:
        patch_signal()
    if queue:
        patch_queue()

    events.notify_and_call_entry_points(events.GeventDidPatchBuiltinModulesEvent(arguments, kwargs))
    events.notify_and_call_entry_points(events.GeventDidPatchAllEvent(arguments, kwargs))
    _process_warnings(pending)
    return True


def main() -> None:
    """Patch, then run the script or module that the command line names; see the usage text."""
    from gevent.monkey._main import main as run

    run(_sys.argv[1:])
