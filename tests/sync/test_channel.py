"""Channels: meeting, order, kills."""

import contextlib
import random

import pytest

import gevent
from gevent import queue


def waiting(function, *args, **kwargs):
    """A greenlet that waits in `function`."""
    greenlet = gevent.spawn(function, *args, **kwargs)
    gevent.sleep(0)
    assert not greenlet.ready()
    return greenlet


def test_channel_hands_over():
    one, events = queue.Channel(), []

    def receive():
        events.append(one.get())
        events.append(one.get())

    gevent.spawn(receive)
    events.append("sending")
    one.put("hello")
    events.append("sent hello")
    one.put("world")
    events.append("sent world")
    assert events == ["sending", "hello", "sent hello", "world", "sent world"]


def test_channel_balance():
    one = queue.Channel()
    getters = [waiting(one.get) for _ in range(3)]
    assert (one.balance, len(one.getters), len(one.putters)) == (-3, 3, 0)
    for item in range(3):
        one.put_nowait(item)
    with pytest.raises(queue.Full):
        one.put_nowait(3)
    assert one.balance == 0
    assert [getter.get() for getter in getters] == [0, 1, 2]
    putters = [waiting(one.put, item) for item in range(2)]
    assert (one.balance, len(one.getters)) == (2, 0)
    assert [item for item, _ in one.putters] == [0, 1]
    assert (one.get_nowait(), one.get()) == (0, 1)
    gevent.joinall(putters, timeout=20, raise_error=True)
    assert (one.qsize(), one.empty(), one.full()) == (0, True, True)


def test_channel_item_of_a_killed_getter_is_not_lost():
    one = queue.Channel()
    first, second = waiting(one.get), waiting(one.get)
    first.kill(block=False)
    one.put_nowait(1)
    assert second.get(timeout=20) == 1
    third = waiting(one.get)
    third.kill(block=False)
    one.put_nowait(2)
    gevent.sleep(0)
    assert one.get_nowait() == 2


def test_killed_putter_takes_its_item_along():
    one = queue.Channel()
    putter = waiting(one.put, 1)
    putter.kill()
    with pytest.raises(queue.Empty):
        one.get_nowait()


@pytest.mark.parametrize("seed", range(6))
def test_random_channel_programs(seed):
    rng = random.Random(seed)
    one = queue.Channel()
    offered, accepted, received = set(), [], []

    def put(number):
        offered.add(number)
        try:
            one.put(number, rng.random() < 0.7, rng.choice([None, 0, 0.001]))
        except queue.Full:
            offered.remove(number)
        else:
            accepted.append(number)

    def get():
        with contextlib.suppress(queue.Empty):
            received.append(one.get(rng.random() < 0.7, rng.choice([None, 0, 0.001])))

    alive = []
    for number in range(600):
        alive.append(gevent.spawn(put, number) if rng.random() < 0.5 else gevent.spawn(get))
        if rng.random() < 0.2:
            alive[rng.randrange(len(alive))].kill(block=False)
        if rng.random() < 0.3:
            gevent.sleep(rng.choice([0, 0.0005]))
    gevent.sleep(0.01)
    gevent.killall(alive)
    while one.balance > 0:
        received.append(one.get_nowait())
    assert len(set(received)) == len(received)
    assert set(accepted) <= set(received) <= offered
    assert one.balance == 0
