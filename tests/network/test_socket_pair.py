"""Socket pairs: an end knows what is under way to it, and does not go by that when it cannot."""

import os
import random
import socket as stdlib
import threading

import pytest

import gevent
from gevent import socket


@pytest.fixture
def pair():
    one, other = socket.socketpair()
    with one, other:
        yield one, other


def settle(one, other):
    """Have both ends wait once, and what they know be the latest."""
    for sender, receiver in ((one, other), (other, one)):
        reading = gevent.spawn(receiver.recv, 5)
        gevent.sleep(0)
        sender.send(b"hello")
        assert reading.get(timeout=20) == b"hello"


def assert_arrives(receiver, send):
    """Bytes that are sent while the receiver waits reach it."""
    reading = gevent.spawn(receiver.recv, 100)
    gevent.sleep(0)
    send()
    assert reading.get(timeout=20) == b"late"


@pytest.mark.parametrize("seed", range(5))
def test_streams_of_every_size_arrive_whole(pair, seed):
    dice = random.Random(seed)
    sizes = (1, 2, 7, 64, 65, 8191, 8192, 8193, 70_000)
    messages = [os.urandom(dice.choice(sizes)) for _ in range(60)]

    def send(sock):
        for message in messages:
            sock.sendall(message)
            if dice.random() < 0.3:
                gevent.sleep(0)
        sock.shutdown(socket.SHUT_WR)

    def receive(sock):
        parts = []
        while True:
            size = dice.choice(sizes)
            if dice.random() < 0.5:
                data = sock.recv(size)
            else:
                room = bytearray(size)
                data = bytes(room[: sock.recv_into(room)])
            if not data:
                return b"".join(parts)
            parts.append(data)

    sending = [gevent.spawn(send, end) for end in pair]
    receiving = [gevent.spawn(receive, end) for end in pair]
    gevent.joinall(sending + receiving, timeout=30, raise_error=True)
    assert [one.value for one in receiving] == [b"".join(messages)] * 2


def test_no_call_is_made_that_would_only_tell_to_wait(pair):
    one, other = pair
    settle(one, other)
    other.settimeout(0)
    # Without patience the kernel is asked all the same.
    with pytest.raises(BlockingIOError):
        other.recv(1)


WAYS = {
    "descriptor": lambda sock: os.write(sock.fileno(), b"late"),
    "_sock": lambda sock: sock._sock.send(b"late"),
    "sendmsg": lambda sock: sock.sendmsg([b"la", b"te"]),
    "flags": lambda sock: sock.send(b"late", socket.MSG_NOSIGNAL),
    "makefile": lambda sock: sock.makefile("wb", buffering=0).write(b"late"),
    "duplicate": lambda sock: sock.dup().sendall(b"late"),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_is_sent_in_other_ways(pair, way):
    one, other = pair
    settle(one, other)
    for _ in range(3):
        assert_arrives(other, lambda: WAYS[way](one))


@pytest.mark.parametrize("way", WAYS)
def test_more_than_one_message_at_a_time(pair, way):
    """The last of them is not taken for all there is."""
    one, other = pair
    settle(one, other)
    one.send(b"first")
    WAYS[way](one)
    assert other.recv(5) == b"first"
    assert gevent.spawn(other.recv, 100).get(timeout=20) == b"late"


def test_peeking_takes_nothing(pair):
    one, other = pair
    settle(one, other)
    one.send(b"data")
    assert other.recv(4, socket.MSG_PEEK) == b"data"
    assert gevent.spawn(other.recv, 4).get(timeout=20) == b"data"
    one.send(b"late")
    assert other.recv(2) == b"la"
    assert gevent.spawn(other.recv, 4).get(timeout=20) == b"te"


def test_an_end_that_is_closed_or_shut_down(pair):
    one, other = pair
    settle(one, other)
    reading = gevent.spawn(other.recv, 5)
    gevent.sleep(0)
    one.send(b"12345")
    one.shutdown(socket.SHUT_WR)
    assert reading.get(timeout=20) == b"12345"
    assert gevent.spawn(other.recv, 5).get(timeout=20) == b""
    other.send(b"12345")
    assert one.recv(5) == b"12345"
    other.close()
    assert gevent.spawn(one.recv, 5).get(timeout=20) == b""


def test_a_detached_end(pair):
    one, other = pair
    settle(one, other)
    with stdlib.socket(fileno=one.detach()) as plain:
        for _ in range(2):
            assert_arrives(other, lambda: plain.send(b"late"))


@pytest.mark.parametrize("what", ["thread", "timer", "watcher"])
def test_a_busy_pair_starves_nobody(pair, what):
    """Two ends that do nothing but wake each other leave room for what only a poll finds."""
    one, other = pair
    loop = gevent.get_hub().loop
    near, far = stdlib.socketpair()
    watcher = loop.io(near.fileno(), 1)
    came = []

    def begin():
        if what == "thread":
            threading.Thread(target=loop.run_callback_threadsafe, args=(came.append, 1)).start()
        elif what == "timer":
            gevent.spawn_later(0.001, came.append, 1)
        else:
            watcher.start(came.append, 1)
            far.send(b"x")

    def ask():
        for number in range(1_000_000):
            if number == 100:
                begin()
            if came:
                break
            one.send(b"x")
            one.recv(1)
        one.shutdown(socket.SHUT_WR)

    def answer():
        while other.recv(1):
            other.send(b"x")

    with near, far:
        gevent.joinall([gevent.spawn(ask), gevent.spawn(answer)], raise_error=True)
        watcher.close()
    assert came


def test_both_ends_of_a_forked_child(pair):
    one, other = pair
    settle(one, other)
    for _ in range(2):
        pid = os.fork()
        if pid == 0:
            one.send(b"l")
            one.send(b"ate")
            os._exit(0)
        os.waitpid(pid, 0)
        one.send(b"!")
        got = b""
        while len(got) < 5:
            got += gevent.spawn(other.recv, 1).get(timeout=20)
        assert got == b"late!"
