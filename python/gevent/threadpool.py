"""Pools of native threads, for calls that would block the hub.

:attr:`gevent.hub.Hub.threadpool` is the pool of each hub.
"""

from __future__ import annotations

import atexit
import concurrent.futures
import itertools
import os
import sys
import threading
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from greenlet import greenlet as RawGreenlet

from gevent import queue as _queue  # noqa: F401
from gevent import util as _util  # noqa: F401
from gevent._core import (
    TaskQueue,
    get_hub,
    get_hub_if_exists,
    getcurrent,
    retire_workers,
    sleep,
)
from gevent._future import LOGGER, Future, Reporter, StandardFuture, Work
from gevent.event import AsyncResult
from gevent.exceptions import InvalidThreadUseError
from gevent.monkey._state import is_module_patched
from gevent.monkey.api import get_original
from gevent.pool import GroupMappingMixin

__all__ = ["ThreadPool", "ThreadPoolExecutor", "ThreadResult"]

if TYPE_CHECKING:
    from gevent.hub import Hub

_P = ParamSpec("_P")
_T = TypeVar("_T")

# The threads are native ones, also in a patched process.
start_new_thread: Any = get_original("_thread", "start_new_thread")
get_thread_ident: Any = get_original("_thread", "get_ident")

atexit.register(retire_workers)


def _get_thread_profile() -> Any:
    return getattr(threading, "_profile_hook", None)


def _get_thread_trace() -> Any:
    return getattr(threading, "_trace_hook", None)


def _format_hub(hub: Any) -> str:
    if hub is None:
        return "<missing>"
    return f"<{type(hub).__name__} at {hex(id(hub))} thread_ident={hex(hub.thread_ident)}>"


class _WorkerGreenlet(RawGreenlet):
    # The greenlet above the main one of a worker thread. It takes tasks from the pool's queue.

    #: Trees of greenlets begin here.
    greenlet_tree_is_root = True

    _thread_ident = 0
    # The hub of the worker thread, if a task made one.
    _worker_hub: Any = None
    # True once the executor has prepared the thread for its first task, and has named it.
    _prepared = False
    _named = False

    def __init__(self, threadpool: ThreadPool) -> None:
        self._hub = threadpool.hub
        self._stderr = sys.stderr
        self._task_queue = threadpool.task_queue
        self._idle_task_timeout = threadpool._idle_task_timeout
        self._on_exit: Any = threadpool._on_worker_exit

    def _begin(self) -> None:
        # A thread's own main greenlet cannot be of another class; this one goes above it.
        self.parent = getcurrent()
        self._thread_ident = get_thread_ident()
        self.switch()

    def run(self) -> None:
        get = self._task_queue.get
        idle = self._idle_task_timeout
        job = None
        try:
            while (job := get(idle, job)) is not None:
                self._run_task(job.func, job.args, job.kwargs, job)
                self._after_task()
        except BaseException as error:
            task = None if job is None else (job.func, job.args, job.kwargs)
            self._report(task, error)
            self._task_queue.lose()
            if job is not None:
                self._task_queue.give_back(job)
        finally:
            self._leave()

    def _run_task(self, func: Any, args: Any, kwargs: Any, thread_result: Any) -> None:
        try:
            self._before_run_task(func, args, kwargs, thread_result)
        except BaseException:
            thread_result.handle_error((self, func), sys.exc_info())
            raise
        try:
            thread_result.set(func(*args, **kwargs))
        except BaseException:
            thread_result.handle_error((self, func), sys.exc_info())
        finally:
            self._after_run_task(func, args, kwargs, thread_result)

    def _before_run_task(
        self,
        func: Any,
        args: Any,
        kwargs: Any,
        thread_result: Any,
        _sys: Any = sys,
        _get_thread_profile: Callable[[], Any] = _get_thread_profile,
        _get_thread_trace: Callable[[], Any] = _get_thread_trace,
    ) -> None:
        # Each raises an audit event, even where there is nothing to set.
        profile = _get_thread_profile()
        if profile is not None:
            _sys.setprofile(profile)
        trace = _get_thread_trace()
        if trace is not None:
            _sys.settrace(trace)

    def _after_run_task(
        self, func: Any, args: Any, kwargs: Any, thread_result: Any, _sys: Any = sys
    ) -> None:
        if _sys.getprofile() is not None:
            _sys.setprofile(None)
        if _sys.gettrace() is not None:
            _sys.settrace(None)

    def _after_task(self) -> None:
        hub = self._worker_hub = get_hub_if_exists()
        if hub is None:
            return
        if not hub.name:
            hub.name = "ThreadPool Worker Hub"
        monitor = hub.periodic_monitoring_thread
        if monitor is not None:
            # Waiting for a task does not block that hub, nor does the next task.
            monitor.ignore_current_greenlet_blocking()

    def _report(self, task: Any, error: BaseException) -> None:
        if self._stderr is None:
            return
        print(f"Failed to run worker thread. Task={task!r} Exception={error!r}", file=self._stderr)
        traceback.print_tb(error.__traceback__, file=self._stderr)

    def _leave(self) -> None:
        hub = get_hub_if_exists()
        self._worker_hub = None
        try:
            if hub is not None:
                hub.destroy(True)
            if self._named:
                # The entry would outlive the thread, which `threading` did not start.
                threading._active.pop(threading.get_ident(), None)  # type: ignore[attr-defined]
        finally:
            on_exit, self._on_exit = self._on_exit, None
            on_exit(self)

    def __repr__(self) -> str:
        return (
            f"<ThreadPoolWorker at {hex(id(self))} thread_ident={hex(self._thread_ident)} "
            f"threadpool-hub={_format_hub(self._hub)}>"
        )


class ThreadPool(GroupMappingMixin):
    """A pool of at most *maxsize* native threads, which are started as they are needed.

    It is for functions that block the thread and know nothing of gevent, best those that release
    the GIL. Its length is the number of unfinished tasks, so it is only true if there are some.

    It may only be used in the thread of its hub, by default that of the calling thread. Just
    before a task the hooks set by :func:`threading.setprofile` and :func:`threading.settrace` are
    installed in its thread, and removed afterwards.

    :param idle_task_timeout: The seconds without a task after which a thread ends; -1 for never.
    :raises ValueError: *maxsize* is negative.
    :raises TypeError: *maxsize* or *idle_task_timeout* is no number.
    """

    __slots__ = (
        "_idle_task_timeout",
        "_maxsize",
        "_reporter",
        "_worker_greenlets",
        "fork_watcher",
        "hub",
        "manager",
        "pid",
        "task_queue",
    )

    _WorkerGreenlet = _WorkerGreenlet

    def __init__(self, maxsize: int, hub: Hub | None = None, idle_task_timeout: float = -1) -> None:
        #: The hub that tasks are spawned from.
        self.hub: Hub = get_hub() if hub is None else hub
        # The hub that reports the errors of tasks.
        self._reporter: Any = self.hub
        #: Always ``None``: no greenlet is needed to change the number of threads.
        self.manager: None = None
        #: The process that the threads run in.
        self.pid: int = os.getpid()
        # A wrong value is refused here, as it would end a worker with an error.
        self._idle_task_timeout = _checked_seconds(idle_task_timeout)
        self._worker_greenlets: set[Any] = set()
        self._maxsize = _checked(maxsize)
        # The queue has room for one task more than there are threads, so that a thread finds its
        # next task waiting.
        self.task_queue: TaskQueue = TaskQueue(self.hub.loop, maxsize + 1)
        #: The watcher that notifies the pool of a fork.
        self.fork_watcher: Any = self.hub.loop.fork(ref=False)

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} at {hex(id(self))} tasks={len(self)} size={self.size} "
            f"maxsize={self.maxsize} hub={_format_hub(self.hub)}>"
        )

    def __len__(self) -> int:
        return len(self.task_queue)

    @property
    def maxsize(self) -> int:
        """The most threads there may be. Surplus ones end when they are idle."""
        return self._maxsize

    @maxsize.setter
    def maxsize(self, maxsize: int) -> None:
        self._maxsize = _checked(maxsize)
        self.task_queue.limit = maxsize + 1
        self.adjust()

    @property
    def size(self) -> int:
        """The number of threads. Setting it starts threads, or waits until some have ended."""
        return self.task_queue.workers

    @size.setter
    def size(self, size: int) -> None:
        if size < 0:
            raise ValueError(f"Size of the pool cannot be negative: {size!r}")
        if size > self._maxsize:
            raise ValueError(
                f"Size of the pool cannot be bigger than maxsize: {size!r} > {self._maxsize!r}"
            )
        while self.task_queue.staying < size:
            self._add_worker()
        self.task_queue.shrink(self, size)

    def adjust(self) -> None:
        """Start threads for the tasks that there are, or have surplus ones end."""
        queue = self.task_queue
        while queue.lacks_workers(self._maxsize):
            self._add_worker()
        if queue.staying > self._maxsize:
            queue.dismiss(self._maxsize)

    def join(self) -> None:
        """Wait until all tasks are done."""
        # The error of a signal may have come between a task and the thread that was due for it.
        self.adjust()
        self.task_queue.join(self)

    def kill(self) -> None:
        """Wait until all tasks are done and all threads ended. New tasks start new threads."""
        self.size = 0
        # A thread counts as ended when it takes no more tasks; its hub may still be there then.
        while self._worker_greenlets and not self.task_queue.workers:
            sleep(0.0005)
        if not self.task_queue.workers:
            self.fork_watcher.stop()

    def spawn(  # type: ignore[override]
        self, func: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> AsyncResult[_T]:
        """Have ``func(*args, **kwargs)`` called in a thread.

        Waits while more than :attr:`maxsize` tasks are unfinished.

        :returns: An :class:`gevent.event.AsyncResult` for what the function returns or raises.
        :raises InvalidThreadUseError: called in another thread than that of the pool's hub.
        """
        hub = self.hub
        if get_hub_if_exists() is not hub:
            raise InvalidThreadUseError(hub, get_hub_if_exists())
        queue = self.task_queue
        result = queue.submit(self, self._reporter, func, args, kwargs)
        if queue.lacks_workers(self._maxsize):
            self.adjust()
        return result

    def _add_worker(self) -> None:
        worker = self._WorkerGreenlet(self)
        if not self.fork_watcher.active:
            self.fork_watcher.start(self._on_fork)
        self.task_queue.hire(self._worker_greenlets, worker, start_new_thread)

    def _on_worker_exit(self, worker: Any) -> None:
        # This runs in the worker's thread.
        self._worker_greenlets.discard(worker)
        if len(self.task_queue):
            self.hub.loop.run_callback_threadsafe(self.adjust)

    def _on_fork(self) -> None:
        # Threads do not survive a fork.
        if self.pid != os.getpid():
            self.pid = os.getpid()
            self._worker_greenlets.clear()
            self.task_queue.after_fork()
            self.adjust()

    def _apply_immediately(self) -> bool:
        # A task would wait for a thread that may never come.
        return get_hub_if_exists() is not self.hub

    def _apply_async_use_greenlet(self) -> bool:
        # Spawning may block.
        return True

    def _apply_async_cb_spawn(self, callback: Callable[[Any], object], result: Any) -> None:
        callback(result)


def _checked(maxsize: Any) -> int:
    if not isinstance(maxsize, int):
        raise TypeError(f"maxsize must be integer: {maxsize!r}")
    if maxsize < 0:
        raise ValueError(f"maxsize must not be negative: {maxsize!r}")
    return maxsize


def _checked_seconds(seconds: Any) -> float:
    # None, as a number below zero, means no limit.
    if seconds is None:
        return -1
    if not hasattr(seconds, "__float__") and not hasattr(seconds, "__index__"):
        raise TypeError(f"idle_task_timeout must be a number: {seconds!r}")
    number = float(seconds)
    if number != number:
        raise ValueError("idle_task_timeout must not be nan")
    return number


def _ignore(_result: Any = None) -> None:
    pass


class ThreadResult:
    """Brings what a call in another thread returned or raised back to a hub.

    Each of the arguments is called once, in the hub: *call_when_ready* without arguments, then
    *receiver* with this object. It keeps the hub's loop running until then.
    """

    __slots__ = (
        "_call_when_ready",
        "async_watcher",
        "context",
        "exc_info",
        "hub",
        "receiver",
        "value",
    )

    def __init__(
        self, receiver: Callable[[Any], object], hub: Any, call_when_ready: Callable[[], object]
    ) -> None:
        self.receiver: Callable[[Any], object] = receiver
        self.hub: Any = hub
        self.value: Any = None
        self.context: Any = None
        self.exc_info: Any = ()
        self._call_when_ready = call_when_ready
        self.async_watcher: Any = hub.loop.async_()
        self.async_watcher.start(self._on_async)

    @property
    def exception(self) -> BaseException | None:
        """The exception that the call raised, or ``None``."""
        return self.exc_info[1] if self.exc_info else None

    def successful(self) -> bool:
        """Return true if nothing was raised."""
        return not self.exc_info

    def set(self, value: Any) -> None:
        """Send *value* to the hub. Any thread may call it."""
        self.value = value
        self.async_watcher.send()

    def handle_error(self, context: Any, exc_info: Any) -> None:
        """Send what :func:`sys.exc_info` returned to the hub, which reports it; from any thread.

        :param context: The object to name in the report.
        """
        self.context = context
        self.exc_info = exc_info
        self.async_watcher.send()

    def destroy_in_main_thread(self) -> None:
        """Release everything. Only the hub's thread may call it."""
        self.async_watcher.close()
        self.hub = self.context = self.value = None
        self.exc_info = ()
        self.receiver = _ignore
        self._call_when_ready = _ignore

    def _on_async(self) -> None:
        self.async_watcher.close()
        try:
            if self.exc_info:
                self.hub.handle_error(self.context, *self.exc_info)
            self.context = None
            self._call_when_ready()
            self.receiver(self)
        finally:
            self.destroy_in_main_thread()


if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor as _Executor
    from concurrent.futures.thread import BrokenThreadPool as _BrokenPool
else:
    try:
        _Executor = concurrent.futures.ThreadPoolExecutor
        _BrokenPool = concurrent.futures.thread.BrokenThreadPool
    except RuntimeError:
        # The interpreter is ending and refuses executors, but pools still work.
        _Executor = concurrent.futures.Executor
        _BrokenPool = concurrent.futures.BrokenExecutor


class ThreadPoolExecutor(_Executor):
    """The standard executor, over a :class:`ThreadPool`: always native threads, never patched.

    The futures can be waited for with gevent's functions such as :func:`gevent.wait`. Those of
    :mod:`concurrent.futures` only wait for them where :mod:`threading` is patched. Other than the
    standard one, it makes :meth:`submit` wait while more than *max_workers* tasks are unfinished.

    :param max_workers: The most threads there may be.
    :param thread_name_prefix: The beginning of the threads' names, if given.
    :param initializer: Is called with *initargs* in each thread before its first task. When it
        raises, the executor is broken: what is queued and what is submitted later fails with
        :exc:`concurrent.futures.thread.BrokenThreadPool`.
    :raises ValueError: *max_workers* is not positive.
    :raises TypeError: *initializer* cannot be called.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names = ("max_workers", "thread_name_prefix", "initializer", "initargs")
        given = dict(zip(names, args, strict=False)) | kwargs
        self._thread_name_given = given.get("thread_name_prefix") or ""
        self._thread_numbers = itertools.count()
        self._call_first = given.get("initializer")
        self._call_first_with = given.get("initargs", ())
        #: The calls that were submitted and neither begun nor given up.
        self._queued: set[Work] = set()
        self._threadpool = ThreadPool(self._max_workers)
        self._threadpool._reporter = Reporter(self._threadpool.hub)

    def submit(  # type: ignore[override]
        self, fn: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> Future[_T]:
        """Have ``fn(*args, **kwargs)`` called in a thread; return a future.

        :raises concurrent.futures.thread.BrokenThreadPool: an initializer failed.
        :raises RuntimeError: the executor was shut down.
        """
        broken = self._broken_error()
        if broken is not None:
            raise broken
        if self._shutdown:
            raise RuntimeError("cannot schedule new futures after shutdown")
        work = Work(self, fn)
        self._queued.add(work)
        try:
            work.result = self._threadpool.spawn(work, *args, **kwargs)
        except BaseException:
            self._queued.discard(work)
            raise
        # The call may have been cancelled while it waited for room in the pool, and the executor
        # shut down. Then the thread that was started for it has to end.
        work.notify()
        if self._shutdown:
            self._threadpool.task_queue.dismiss(0)
        kind = StandardFuture if is_module_patched("threading") else Future
        return kind(work.result, work)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False, **kwargs: Any) -> None:
        """Take no more tasks; with *wait* return when all are done.

        :param cancel_futures: Cancel the tasks that no thread has begun.
        """
        with self._shutdown_lock:
            self._shutdown = True
        if cancel_futures:
            self._give_up_queued(concurrent.futures.CancelledError)
        if wait:
            self._threadpool.kill()
        else:
            self._threadpool.task_queue.dismiss(0)

    #: The same as :meth:`shutdown`.
    kill = shutdown

    def _give_up_queued(self, make_error: Callable[[], BaseException | None]) -> None:
        for work in list(self._queued):
            error = make_error()
            if error is not None:
                work.give_up(error)

    def _broken_error(self) -> BaseException | None:
        return _BrokenPool(self._broken) if self._broken else None

    def _prepare_worker(self) -> None:
        # This runs in the worker's thread.
        worker: Any = getcurrent()
        if worker._prepared:
            return
        worker._prepared = True
        if self._thread_name_given:
            worker._named = True
            number = next(self._thread_numbers)
            threading.current_thread().name = f"{self._thread_name_given}_{number}"
        if self._call_first is None:
            return
        try:
            self._call_first(*self._call_first_with)
        except BaseException:
            LOGGER.critical("Exception in initializer:", exc_info=True)
            broken: Any = "A thread initializer failed, the thread pool is not usable anymore"
            self._broken = broken
            # Links are called in the hub's thread.
            self._threadpool.hub.loop.run_callback_threadsafe(
                self._give_up_queued, self._broken_error
            )
