"""The one loop for all greenlets of a thread."""

from __future__ import annotations

import asyncio
import atexit
import os
from asyncio import tasks
from contextlib import suppress
from typing import Any

from gevent._core import (
    Event,
    get_hub_if_exists,
    keep_running,
    kill,
    restarting,
    spawn_raw,
)
from gevent.aio._loop import EventLoop
from gevent.exceptions import GreenletExit
from gevent.hub import get_hub, getcurrent

__all__ = ["SharedLoop", "loop"]

#: The seconds that a coroutine may block the loop for when the loop is to end.
_LONGEST_END = 1.0


class SharedLoop(EventLoop):
    """The loop that greenlets share. It runs in a greenlet of its own for as long as its hub.

    It keeps the hub alive as long as it has tasks that are not done.
    """

    def __init__(self, hub: Any) -> None:
        super().__init__()
        self._hub = hub
        # The identities of the tasks that are not done: a task may be taken away twice.
        self._unfinished: set[int] = set()
        #: The futures that greenlets wait for, each with the event that wakes the waiters.
        self._calls: dict[asyncio.Future[Any], Event] = {}
        self._ending = False
        # False once the thread or the interpreter ends: greenlets that wait for tasks then stay as
        # they are.
        self._wakes_callers = True
        #: True in the child of a fork, to which the loop does not belong.
        self.left_behind: bool = False
        self._counted = False
        self._served = Event()
        self._ends_call = restarting(self._end_call)
        self._ends_task = restarting(self._end_task)
        #: True once the greenlet that runs the loop has begun.
        self.has_begun: bool = False
        self._greenlet = spawn_raw(keep_running, self._serve)

    def create_task(self, coro: Any, **kwargs: Any) -> asyncio.Task[Any]:
        """Return a new task that runs *coro*; see :meth:`asyncio.loop.create_task`."""
        task = self.create_uncounted_task(coro, **kwargs)
        task.add_done_callback(self._ends_task)
        self._unfinished.add(id(task))
        self._counted = True
        return task

    def create_uncounted_task(self, coro: Any, **kwargs: Any) -> asyncio.Task[Any]:
        """Return a new task that keeps no hub alive, unless a greenlet waits for it."""
        if self._task_factory is None:
            if not kwargs and not self._debug and not self._closed:
                # This is what the method of asyncio's loop comes to here.
                return tasks.Task(coro, loop=self)
            if not kwargs.get("eager_start"):
                return super().create_task(coro, **kwargs)
        return self._create_task_inside(coro, kwargs)

    def _create_task_inside(self, coro: Any, kwargs: dict[str, Any]) -> asyncio.Task[Any]:
        # An eager task takes its first step in its constructor, and must find its loop running.
        outside = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            return super().create_task(coro, **kwargs)
        finally:
            asyncio._set_running_loop(outside)

    def _end_task(self, task: asyncio.Task[Any]) -> None:
        self._unfinished.discard(id(task))
        self._counted = self._is_busy()

    def _is_busy(self) -> bool:
        return bool(self._unfinished or self._calls) or self._ending

    def begin_call(self, future: asyncio.Future[Any]) -> Event:
        """Return an event that is set when *future* is done."""
        over = self._calls.get(future)
        if over is None:
            over = Event()
            future.add_done_callback(self._ends_call)
            self._calls[future] = over
            self._counted = True
        return over

    def _end_call(self, future: asyncio.Future[Any]) -> None:
        if self._wakes_callers and future in self._calls:
            self._calls[future].set()
        self._calls.pop(future, None)
        self._counted = self._is_busy()

    def is_dead(self) -> bool:
        """Return true if the greenlet that runs the loop was killed before it began."""
        return self._greenlet.dead and not self.has_begun

    def _serve(self) -> None:
        # It is called again after an error, which a task or a callback raises to end the program.
        self.has_begun = True
        try:
            while not self._ending:
                super().run_forever()
        except GreenletExit:
            if not self._ending:
                self._end_by_kill()
        self._served.set()

    def finish(self) -> None:
        """End the loop as :func:`asyncio.run` does: cancel the tasks, and let them clean up.

        It must be called in the thread of the loop, while its hub still works. Greenlets that wait
        for tasks do not go on.
        """
        self._wakes_callers = False
        self._ending = self._counted = True
        super().stop()
        if not self._served.wait(_LONGEST_END):
            kill(self._greenlet)
            self._served.wait(_LONGEST_END)
        if self._sleeper.hub is None:
            super().run_until_complete(self._clean_up())
            super().close()

    def _end_by_kill(self) -> None:
        """End the loop because a program has killed every greenlet that it could find."""
        self._ending = self._counted = True
        # The next call of loop() makes another one.
        self._hub._aio_loop = None
        super().run_until_complete(self._clean_up())
        super().close()

    async def _clean_up(self) -> None:
        left = asyncio.all_tasks(self) - {asyncio.current_task(self)}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        for task in left:
            if not task.cancelled() and task.exception() is not None:
                self.call_exception_handler(
                    {
                        "message": "unhandled exception at the end of the shared loop",
                        "exception": task.exception(),
                        "task": task,
                    }
                )
        await self.shutdown_asyncgens()
        # At the end of the interpreter no thread can be started that waits for the executor's
        # threads; these have ended by then, and `close` shuts the executor down without waiting.
        with suppress(RuntimeError):
            await self.shutdown_default_executor()

    def leave_behind(self) -> None:
        """Leave the loop to the parent process, in the child of a fork.

        No coroutine goes on here, not even to clean up, as that would be done twice.
        """
        self.left_behind = self._ending = True
        _left_behind.append((self, asyncio.all_tasks(self)))
        for over in self._calls.values():
            over.set()
        super().stop()
        if getcurrent() is not self._greenlet:
            kill(self._greenlet)

    def run_forever(self) -> None:
        """Raise :exc:`RuntimeError`: the shared loop runs all the time."""
        if not self._ending:
            raise _runs_by_itself()
        super().run_forever()

    def run_until_complete(self, future: Any) -> Any:
        """Raise :exc:`RuntimeError`: the shared loop runs all the time."""
        if asyncio.iscoroutine(future):
            # A coroutine that nothing runs would be reported as never awaited.
            future.close()
        raise _runs_by_itself()

    def stop(self) -> None:
        """Raise :exc:`RuntimeError`: other greenlets use the shared loop too."""
        if not self._ending:
            raise RuntimeError("the shared loop cannot be stopped: it ends together with its hub")
        super().stop()

    def close(self) -> None:
        """Raise :exc:`RuntimeError`: other greenlets use the shared loop too."""
        raise RuntimeError("the shared loop cannot be closed: it ends together with its hub")


def _runs_by_itself() -> RuntimeError:
    return RuntimeError("the shared loop runs by itself: aio.run() waits for a coroutine")


def loop() -> SharedLoop:
    """Return the loop that the greenlets of the calling thread share, which is running.

    Its methods may be called from any greenlet of the thread, outside of coroutines too. An idle
    loop, which has no unfinished task, does not keep :func:`gevent.wait` from returning.
    """
    hub = get_hub()
    shared: SharedLoop | None = hub._aio_loop
    if shared is None or (not shared.has_begun and shared.is_dead()):
        shared = hub._aio_loop = SharedLoop(hub)
    return shared


#: Loops of the parent process with their tasks, which must not be collected: that would run the
#: ``finally`` blocks of their coroutines.
_left_behind: list[Any] = []


def _leave_behind() -> None:
    hub = get_hub_if_exists()
    if hub is not None and hub._aio_loop is not None:
        shared, hub._aio_loop = hub._aio_loop, None
        shared.leave_behind()


os.register_at_fork(after_in_child=_leave_behind)


@atexit.register
def _finish_at_exit() -> None:
    hub = get_hub_if_exists()
    if hub is not None and getcurrent() is not hub:
        with suppress(KeyboardInterrupt):
            hub._finish_shared_loop()
