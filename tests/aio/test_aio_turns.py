"""gevent.aio: the turns of loops: handles, the ready queue, timers, and what they let run."""

import asyncio
import contextvars
import gc
import heapq
import random
import socket
import threading
import weakref
from types import MethodType

import pytest
from aio_support import Recorder, connected, received_by, run

import gevent
from gevent import aio


@pytest.fixture
def loop():
    loop = aio.new_event_loop()
    yield loop
    loop.close()


def turn(loop):
    """Run what is ready now, and nothing that this puts in."""
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_callbacks_run_in_their_order_and_new_ones_in_the_next_turn(loop):
    def first():
        ran.append("first")
        loop.call_soon(ran.append, "later")

    ran = []
    loop.call_soon(first)
    loop.call_soon(ran.append, "second")
    turn(loop)
    assert ran == ["first", "second"]
    turn(loop)
    assert ran == ["first", "second", "later"]


def test_handles_are_those_of_asyncio_and_are_not_used_again_while_somebody_has_them(loop):
    ran = []
    handles = [loop.call_soon(ran.append, number) for number in range(10)]
    assert all(type(handle) is asyncio.Handle for handle in handles)
    handles[3].cancel()
    assert handles[3].cancelled()
    del handles[5]
    turn(loop)
    assert ran == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    kept = {id(handle) for handle in handles}
    again = [loop.call_soon(ran.append, number) for number in range(20)]
    assert not kept & {id(handle) for handle in again}
    assert handles[0]._args == (0,)
    # A handle that was kept and ran may be cancelled without harm to others.
    handles[0].cancel()
    ran.clear()
    turn(loop)
    assert ran == list(range(20))


def test_a_handle_with_a_weak_reference_is_not_used_again(loop):
    reference = weakref.ref(loop.call_soon(int))
    turn(loop)
    turn(loop)
    gc.collect()
    later = loop.call_soon(int)
    assert reference() is not later
    turn(loop)


def test_what_callbacks_refer_to_is_let_go(loop):
    class Thing:
        pass

    thing = Thing()
    reference = weakref.ref(thing)
    loop.call_soon(lambda kept: None, thing)
    loop.call_later(0, lambda kept: None, thing)
    del thing
    turn(loop)
    turn(loop)
    assert reference() is None


def test_a_callback_runs_in_its_context(loop):
    variable = contextvars.ContextVar("variable", default="none")
    seen = []
    variable.set("at the call")
    loop.call_soon(lambda: seen.append(variable.get()))
    variable.set("later")
    context = contextvars.Context()
    context.run(variable.set, "given")
    loop.call_soon(lambda: seen.append(variable.get()), context=context)
    turn(loop)
    assert seen == ["at the call", "given"]


def test_an_error_of_a_callback_is_reported_and_the_loop_goes_on(loop):
    reports, ran = [], []
    loop.set_exception_handler(lambda _loop, context: reports.append(context))
    handle = loop.call_soon(lambda: 1 / 0)
    loop.call_soon(ran.append, 1)
    turn(loop)
    assert ran == [1]
    (report,) = reports
    assert isinstance(report["exception"], ZeroDivisionError)
    assert report["handle"] is handle
    assert report["message"].startswith("Exception in callback test_an_error")


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_a_program_leaves_the_loop_usable(loop, error):
    def end():
        raise error

    ran = []
    loop.call_soon(end)
    loop.call_soon(ran.append, 1)
    with pytest.raises(error):
        loop.run_forever()
    turn(loop)
    assert ran == [1]


def test_debug_mode_checks_callbacks_and_names_slow_ones(loop, caplog):
    loop.set_debug(True)
    loop.slow_callback_duration = 0
    with pytest.raises(TypeError, match="coroutines cannot be used"):
        loop.call_soon(asyncio.sleep)
    with pytest.raises(TypeError, match="callable object was expected"):
        loop.call_soon(5)
    ran = []
    handle = loop.call_soon(ran.append, 1)
    assert handle._source_traceback
    turn(loop)
    assert ran == [1]
    assert "Executing <Handle" in caplog.text


@pytest.mark.parametrize("task_class", [asyncio.tasks._PyTask, asyncio.Task])
def test_debug_mode_lets_go_of_a_task_that_failed(loop, task_class):
    reported = []
    loop.set_debug(True)
    loop.set_exception_handler(lambda _loop, context: reported.append(context["message"]))

    async def fails():
        raise LookupError

    async def main():
        task_class(fails())
        await asyncio.sleep(0)
        # No reference to the task is left, so it reports its error as it is released.
        assert reported == ["Task exception was never retrieved"]

    loop.run_until_complete(main())


def test_a_closed_loop_takes_no_callbacks(loop):
    loop.close()
    for call in (loop.call_soon, loop.call_soon_threadsafe):
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            call(int)
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.call_later(0, int)


def test_wrong_times_are_refused(loop):
    with pytest.raises(TypeError):
        loop.call_later(None, int)
    with pytest.raises(TypeError):
        loop.call_at(None, int)


def test_timers_of_random_programs_run_as_in_a_model():
    """Times are those of a clock that the test moves, so that the order is known exactly."""

    class Clocked(aio.EventLoop):
        now = 1000.0

        def time(self):
            return self.now

    for seed in range(30):
        random_ = random.Random(seed)
        loop = Clocked()
        ran, model, handles = [], [], {}
        for number in range(400):
            what = random_.random()
            if what < 0.6:
                when = loop.now + random_.randrange(1, 50)
                handles[number] = loop.call_at(when, ran.append, number)
                assert type(handles[number]) is asyncio.TimerHandle
                assert handles[number].when() == when
                model.append((when, number))
            elif what < 0.9 and handles:
                number = random_.choice(list(handles))
                handles.pop(number).cancel()
                model = [entry for entry in model if entry[1] != number]
            else:
                loop.now += random_.randrange(10)
                due = sorted(entry for entry in model if entry[0] <= loop.now)
                model = [entry for entry in model if entry[0] > loop.now]
                ran.clear()
                turn(loop)
                whens = dict(entry[::-1] for entry in due)
                assert sorted(ran) == sorted(whens)
                assert [whens[number] for number in ran] == sorted(whens.values())
                for _, number in due:
                    assert not handles.pop(number)._scheduled
            scheduled = [handle.when() for handle in loop._scheduled]
            smallest = heapq.nsmallest(1, scheduled)
            assert scheduled[:1] == smallest
        loop.close()


def test_cancelled_timers_do_not_pile_up(loop):
    for _ in range(10_000):
        loop.call_later(3600, int).cancel()
    turn(loop)
    assert len(loop._scheduled) <= 100
    assert loop._timer_cancelled_count <= 100


def test_a_timer_wakes_the_loop_on_time_while_others_run():
    async def main():
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.gather(*(asyncio.sleep(after / 1000) for after in (5, 1, 9)))
        assert loop.time() - began >= 0.009

    ticks = []
    ticking = gevent.spawn(lambda: [ticks.append(gevent.sleep(0.001)) for _ in range(5)])
    run(main)
    ticking.join()
    assert len(ticks) == 5


def test_a_busy_loop_starves_neither_greenlets_nor_descriptors_nor_timers():
    async def main():
        loop = asyncio.get_running_loop()
        async with connected() as (protocol, peer):
            events = []
            gevent.spawn(events.append, "greenlet")
            gevent.spawn_later(0.001, events.append, "later")
            loop.call_later(0.001, events.append, "timer")
            loop.add_reader(peer.fileno(), lambda: events.append("reader"))
            await loop.sock_sendall(peer, b"x")
            protocol.transport.write(b"y")
            while len(set(events)) < 4 or not protocol.data:
                await asyncio.sleep(0)
            loop.remove_reader(peer.fileno())

    run(main)


def test_each_turn_finds_what_the_turn_before_sent():
    async def main():
        loop = asyncio.get_running_loop()
        one, other = socket.socketpair()
        plain, peer = socket.socketpair()
        called = []
        with plain, peer:
            loop.add_reader(plain, lambda: called.append(plain.recv(1)))
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=one)
            receiving, protocol = await loop.create_connection(Recorder, sock=other)
            for count in range(1, 101):
                transport.write(b"x")
                peer.send(b"y")
                # The first of these turns receives, the second goes on here.
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                assert len(protocol.data) == len(called) == count
            loop.remove_reader(plain)
            transport.close()
            receiving.close()

    run(main)


def test_other_threads_may_call_the_loop_at_any_time():
    async def main():
        loop = asyncio.get_running_loop()
        done, count = loop.create_future(), 0

        def call():
            nonlocal count
            count += 1
            if count == 400:
                done.set_result(None)

        def calls():
            for _ in range(100):
                loop.call_soon_threadsafe(call)

        threads = [threading.Thread(target=calls) for _ in range(4)]
        for thread in threads:
            thread.start()
        await done
        for thread in threads:
            thread.join()

    run(main)


def test_the_ready_queue_can_be_used_like_a_deque(loop):
    ran = []
    queue = loop._ready
    handle = asyncio.Handle(ran.append, (1,), loop)
    queue.append(handle)
    queue.extend([asyncio.Handle(ran.append, (2,), loop)])
    queue.appendleft(asyncio.Handle(ran.append, (0,), loop))
    assert len(queue) == 3
    assert handle in queue
    assert queue[1] is handle
    assert list(queue)[1] is handle
    queue.remove(handle)
    with pytest.raises(ValueError, match="not in deque"):
        queue.remove(handle)
    queue.popleft()._run()
    turn(loop)
    assert ran == [0, 2]
    queue.append(handle)
    queue.clear()
    assert not queue
    with pytest.raises(IndexError):
        queue.popleft()
    with pytest.raises(IndexError):
        queue[0]


def test_a_loop_whose_turns_are_replaced_by_those_of_asyncio_serves_transports():
    """Libraries that nest loops run the turns in Python, with what the loop has as attributes."""

    class Nested(aio.EventLoop):
        def _run_once(self):
            MethodType(asyncio.BaseEventLoop._run_once, self)()

    async def main():
        async with connected() as (protocol, peer):
            loop = asyncio.get_running_loop()
            for size in (1, 100_000):
                protocol.data.clear()
                await loop.sock_sendall(peer, bytes(size))
                await asyncio.wait_for(protocol.receive(size), 10)
                protocol.transport.write(b"x")
                assert await loop.sock_recv(peer, 10) == b"x"
                await asyncio.sleep(0.001)

    with asyncio.Runner(loop_factory=Nested) as runner:
        runner.run(main())


def test_a_loop_goes_on_in_another_thread_with_its_transports_and_waits(loop):
    """The thread of the former hub is blocked meanwhile, so the new one has to poll."""

    async def begin():
        connection = connected()
        connections.append((connection, await connection.__aenter__()))
        one, other = socket.socketpair()
        one.setblocking(False)
        waits.append((asyncio.ensure_future(loop.sock_recv(one, 10)), one, other))
        await asyncio.sleep(0.001)

    async def go_on():
        connection, (protocol, peer) = connections[0]
        await loop.sock_sendall(peer, b"x")
        assert await asyncio.wait_for(protocol.receive(1), 10) == b"x"
        protocol.transport.write(bytes(3_000_000))
        assert len(await received_by(peer, 3_000_000)) == 3_000_000
        await connection.__aexit__(None, None, None)
        future, one, other = waits[0]
        other.send(b"y")
        assert await asyncio.wait_for(future, 10) == b"y"
        one.close()
        other.close()
        return "done"

    connections, waits, results = [], [], []
    loop.run_until_complete(begin())
    thread = threading.Thread(target=lambda: results.append(loop.run_until_complete(go_on())))
    thread.start()
    thread.join()
    assert results == ["done"]
    loop.run_until_complete(asyncio.sleep(0.001))
