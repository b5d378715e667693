"""gevent.aio: descriptors of add_reader and add_writer, which are the selector's."""

import asyncio
import os
import resource
import selectors
import socket
from contextlib import ExitStack

import pytest
from aio_support import run

import gevent
from gevent import aio
from gevent.hub import get_hub


@pytest.fixture
def loop():
    loop = aio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def pair():
    one, other = socket.socketpair()
    with one, other:
        one.setblocking(False)
        other.setblocking(False)
        yield one, other


def turn(loop):
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_a_reader_is_called_in_every_turn_until_all_is_read(loop, pair):
    one, other = pair
    got = []

    def read():
        got.append(one.recv(1))
        if len(got) == 5:
            loop.stop()

    loop.add_reader(one, read)
    other.send(b"abcde")
    loop.run_forever()
    assert b"".join(got) == b"abcde"
    turn(loop)
    assert len(got) == 5


def test_the_callbacks_of_one_descriptor_are_called_in_the_same_turn_the_reader_first(loop, pair):
    one, other = pair
    called = []
    loop.add_writer(one, called.append, "write")
    loop.add_reader(one, called.append, "read")
    other.send(b"x")
    turn(loop)
    assert called == ["read", "write"]
    loop.remove_writer(one)
    turn(loop)
    assert called == ["read", "write", "read"]
    loop.remove_reader(one)
    turn(loop)
    assert called == ["read", "write", "read"]


def test_a_callback_that_another_one_removes_or_replaces_in_the_turn_is_not_called(loop):
    with ExitStack() as stack:
        pairs = [socket.socketpair() for _ in range(3)]
        for one, other in pairs:
            stack.enter_context(one)
            stack.enter_context(other)
            other.send(b"x")
        called = []

        def only(number):
            called.append(number)
            for other, (one, _) in enumerate(pairs):
                if other != number:
                    loop.remove_reader(one)
            loop.add_reader(pairs[number - 1][0], called.append, "new")

        for number, (one, _) in enumerate(pairs):
            loop.add_reader(one, only, number)
        turn(loop)
        assert len(called) == 1
        first = called[0]
        loop.remove_reader(pairs[first][0])
        turn(loop)
        assert called == [first, "new"]
        loop.remove_reader(pairs[first - 1][0])


def test_a_handle_that_is_cancelled_ends_the_registration(loop, pair):
    one, other = pair
    called = []
    loop.add_reader(one, called.append, 1)
    loop.add_writer(one, called.append, 2)
    loop._selector.get_key(one).data[0].cancel()
    other.send(b"x")
    turn(loop)
    assert called == [2]
    assert loop._selector.get_key(one).events == selectors.EVENT_WRITE
    loop._selector.get_key(one).data[1].cancel()
    turn(loop)
    assert one.fileno() not in loop._selector.get_map()


def test_many_descriptors_that_are_ready_at_once_are_all_served_in_one_turn(loop):
    count = min(300, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)
    with ExitStack() as stack:
        called = []
        for number in range(count):
            one, other = socket.socketpair()
            stack.enter_context(one)
            stack.enter_context(other)
            other.send(b"x")
            loop.add_reader(one, called.append, number)
            stack.callback(loop.remove_reader, one)
        turn(loop)
        assert sorted(called) == list(range(count))


def test_a_loop_that_does_not_run_keeps_no_hub_busy(loop, pair):
    one, other = pair
    called = []
    loop.add_reader(one, called.append, 1)
    turn(loop)
    other.send(b"x")
    polls = 0
    hub_loop = get_hub().loop
    check = hub_loop.check()

    def count():
        nonlocal polls
        polls += 1

    check.start(count)
    try:
        gevent.sleep(0.05)
    finally:
        check.close()
    # The hub would poll thousands of times if it went on with a report that nobody reads.
    assert polls < 50
    turn(loop)
    assert called == [1]
    loop.remove_reader(one)


def test_a_method_of_a_subclass_gets_what_the_selector_reports(pair):
    one, other = pair
    reported = []

    class Watching(aio.EventLoop):
        def _process_events(self, events):
            reported.extend((key.fd, mask) for key, mask in events)
            super()._process_events(events)

    loop = Watching()
    try:
        called = []
        loop.add_reader(one, called.append, 1)
        other.send(b"x")
        turn(loop)
        assert called == [1]
        assert (one.fileno(), selectors.EVENT_READ) in reported
        loop.remove_reader(one)
    finally:
        loop.close()


def test_data_of_another_shape_fails_as_with_the_loop_of_asyncio(pair):
    one, other = pair
    errors = []
    for loop in aio.new_event_loop(), asyncio.SelectorEventLoop():
        try:
            loop._selector.register(one, selectors.EVENT_READ, None)
            other.send(b"x")
            with pytest.raises(TypeError) as caught:
                turn(loop)
            errors.append(str(caught.value))
            loop._selector.unregister(one)
        finally:
            loop.close()
    assert errors[0] == errors[1]


def test_a_descriptor_that_was_closed_and_opened_anew_is_watched_again(loop):
    called = []
    first, write = os.pipe()
    loop.add_reader(first, called.append, "first")
    turn(loop)
    loop.remove_reader(first)
    os.close(first)
    os.close(write)
    read, write = os.pipe()
    try:
        assert first in (read, write)
        loop.add_reader(read, called.append, "second")
        os.write(write, b"x")
        turn(loop)
        assert called == ["second"]
        loop.remove_reader(read)
    finally:
        os.close(read)
        os.close(write)


def test_two_loops_share_a_descriptor_that_blocks():
    """The second reader finds the descriptor empty, so its callback must not be called."""
    read, write = os.pipe()
    got = []

    async def take(done):
        loop = asyncio.get_running_loop()
        loop.add_reader(read, lambda: got.append(os.read(read, 1)))
        await done.wait()
        loop.remove_reader(read)

    async def main(others):
        done = asyncio.Event()
        others.append((asyncio.get_running_loop(), done))
        await take(done)

    others = []
    greenlets = [gevent.spawn(run, main, others) for _ in range(2)]
    try:
        while len(others) < 2:
            gevent.sleep(0)
        gevent.sleep(0.01)
        for count in range(1, 11):
            os.write(write, b"x")
            while len(got) < count:
                gevent.sleep(0)
        for loop, done in others:
            loop.call_soon(done.set)
        gevent.joinall(greenlets, timeout=20, raise_error=True)
    finally:
        os.close(write)
        gevent.killall(greenlets)
        os.close(read)
    assert got == [b"x"] * 10
