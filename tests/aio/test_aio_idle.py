"""gevent.aio: a loop that waits: the hub polls for it, and runs nothing with its state."""

import asyncio
import os
import signal
import socket
import sys
import threading
import time

import pytest
from aio_support import connected, run

import gevent
from gevent import aio


def state():
    """Return what asyncio and CPython keep in the thread for a loop that runs."""
    loop = asyncio._get_running_loop()
    task = asyncio.current_task() if loop else None
    return loop, task, tuple(sys.get_asyncgen_hooks()), sys.get_coroutine_origin_tracking_depth()


EMPTY = (None, None, (None, None), 0)


def by_timer(hub, look, stack):
    timer = hub.loop.timer(0.02)
    stack.append(timer)
    timer.start(look)


def by_greenlet(hub, look, stack):
    stack.append(gevent.spawn_later(0.02, look))


def by_raw_greenlet(hub, look, stack):
    by_timer(hub, lambda: gevent.spawn_raw(look), stack)


def by_link(hub, look, stack):
    stack.append(gevent.spawn_later(0.02, int))
    stack[-1].link(lambda _: look())


def by_timeout(hub, look, stack):
    def waits():
        with gevent.Timeout(0.02, False):
            gevent.sleep(20)
        look()

    stack.append(gevent.spawn(waits))


def by_kill(hub, look, stack):
    def waits():
        try:
            gevent.sleep(20)
        finally:
            look()

    stack.append(gevent.spawn(waits))
    stack.append(gevent.spawn_later(0.02, stack[-1].kill))


def by_thread(hub, look, stack):
    later(lambda: hub.loop.run_callback_threadsafe(look))


def by_async(hub, look, stack):
    watcher = hub.loop.async_()
    stack.append(watcher)
    watcher.start(look)
    later(watcher.send)


def by_signal(hub, look, stack):
    watcher = hub.loop.signal(signal.SIGUSR1)
    stack.append(watcher)
    watcher.start(look)
    later(lambda: os.kill(os.getpid(), signal.SIGUSR1))


def by_descriptor(hub, look, stack):
    one, other = socket.socketpair()
    watcher = hub.loop.io(one.fileno(), 1)
    stack.extend((one, other, watcher))

    def readable():
        watcher.stop()
        look()

    watcher.start(readable)
    later(lambda: other.send(b"x"))


def by_prepare(hub, look, stack):
    by_phase(hub.loop.prepare(), hub, look, stack)


def by_check(hub, look, stack):
    by_phase(hub.loop.check(), hub, look, stack)


def by_phase(watcher, hub, look, stack):
    """Have the watcher called in the turn that ends a wait."""

    def called():
        watcher.stop()
        look()

    by_timer(hub, lambda: watcher.start(called), stack)
    stack.append(watcher)


def by_loop(hub, look, stack):
    async def main():
        before = state()
        assert before[0] is loop
        for _ in range(3):
            await asyncio.sleep(0.01)
            assert state() == before

    loop = aio.new_event_loop()

    def runs():
        loop.run_until_complete(main())
        loop.close()
        look()

    stack.append(gevent.spawn(runs))


def later(call):
    """Call in another thread, after the loop has most probably begun to wait."""

    def calls():
        time.sleep(0.02)
        call()

    threading.Thread(target=calls).start()


WAYS = (
    by_timer,
    by_greenlet,
    by_raw_greenlet,
    by_link,
    by_timeout,
    by_kill,
    by_thread,
    by_async,
    by_signal,
    by_descriptor,
    by_prepare,
    by_check,
    by_loop,
)


@pytest.mark.parametrize("way", WAYS)
def test_what_the_hub_runs_while_a_loop_waits_sees_no_loop(way):
    async def main():
        loop = asyncio.get_running_loop()
        before = state()
        assert before[0] is loop
        assert before[1] is asyncio.current_task() is not None
        assert before[2] != (None, None)
        seen, stack = [], []
        came = loop.create_future()

        def look():
            seen.append(state())
            if not came.done():
                came.set_result(None)

        way(gevent.get_hub(), look, stack)
        await came
        assert state() == before
        # Another wait, whose wake-up is the next thing that the hub runs.
        await asyncio.sleep(0.001)
        assert state() == before
        assert seen == [EMPTY]
        for resource in stack:
            if isinstance(resource, gevent.Greenlet):
                resource.join()
            else:
                resource.close()

    run(main)
    assert state() == EMPTY


def test_a_greenlet_that_nothing_can_wake_sees_no_loop_beside_one_that_waits(output_of):
    # A process that handles signals would go on waiting for one.
    assert output_of(NOTHING_CAN_WAKE) == "done\n"


NOTHING_CAN_WAKE = """
import asyncio
from gevent import aio
from gevent.event import Event
from gevent.exceptions import LoopExit

async def ready():
    return 1

# The loop that greenlets share waits from now on, and keeps nothing else waiting.
assert aio.run(ready()) == 1
for _ in range(2):
    try:
        Event().wait()
    except LoopExit:
        assert asyncio._get_running_loop() is None
    else:
        raise AssertionError("something woke it")
assert aio.run(ready()) == 1
print("done")
"""


def test_an_error_that_ends_the_wait_finds_the_state():
    async def main():
        before = state()
        runner = gevent.getcurrent()
        gevent.spawn_later(0.01, runner.kill, KeyError, block=False)
        try:
            await asyncio.sleep(20)
        finally:
            seen.append(state()[:2] == before[:2])

    def runs():
        with asyncio.Runner(loop_factory=aio.new_event_loop) as runner:
            runner.run(main())

    seen = []
    greenlet = gevent.spawn(runs)
    greenlet.join()
    assert isinstance(greenlet.exception, KeyError)
    assert seen == [True]
    assert state() == EMPTY


def test_a_wait_takes_one_poll_more_than_the_one_that_found_nothing():
    messages = 50

    def sends(peer):
        for _ in range(messages):
            # The loop most probably waits by then; if not, it polls once less.
            time.sleep(0.005)
            peer.send(b"x")

    async def main():
        async with connected() as (protocol, peer):
            loop = gevent.get_hub().loop

            async def polls_during(awaitable):
                before, began = loop.iteration, time.monotonic()
                await awaitable
                return loop.iteration - before, time.monotonic() - began

            async def receive_all():
                for count in range(1, messages + 1):
                    # This takes a turn that receives and another that goes on here, which polls.
                    await protocol.receive(count)

            # Greenlets that other tests left behind may have the loop poll for their timers.
            others, seconds = await polls_during(asyncio.sleep(0.1))
            thread = threading.Thread(target=sends, args=(peer,))
            thread.start()
            polls, taken = await polls_during(receive_all())
            thread.join()
        return polls - others * taken / seconds

    # Those beyond three for a message are what a slow machine adds.
    assert run(main) <= 3 * messages + 20
