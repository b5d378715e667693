"""Cycles of greenlets are garbage like any other, though a collection ran while they waited."""

import gc
import threading
import weakref

import pytest

import gevent
import gevent.hub
import gevent.pool

KEEP = {
    "attribute": lambda one, other: setattr(one, "other", other),
    "list": lambda one, other: setattr(one, "others", [other]),
    "tuple": lambda one, other: setattr(one, "others", (other,)),
    "dict": lambda one, other: setattr(one, "others", {"other": other}),
    "object": lambda one, other: setattr(one, "owner", Owner(other)),
    "nested": lambda one, other: setattr(one, "others", {1: ({2: other},)}),
}


class Owner:
    def __init__(self, greenlet):
        self.greenlet = greenlet


class Greenlet(gevent.Greenlet):
    pass


class Slots(gevent.Greenlet):
    __slots__ = ("other", "others", "owner")


@pytest.fixture(autouse=True)
def collections_when_asked_for():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def collected(alive):
    gevent.sleep(0)
    gc.collect()
    gc.collect()
    return not list(alive)


@pytest.mark.parametrize("keep", KEEP.values(), ids=KEEP)
@pytest.mark.parametrize(
    ("cls", "when"),
    [
        (gevent.Greenlet, "before"),
        (gevent.Greenlet, "while waiting"),
        (gevent.Greenlet, "at the end"),
        (Greenlet, "while waiting"),
        (Slots, "while waiting"),
    ],
)
def test_greenlets_that_know_each_other(cls, when, keep):
    def run():
        if when == "before":
            gc.collect()
        gevent.sleep(0.001)
        if when == "at the end":
            gc.collect()

    one, other = cls.spawn(run), cls.spawn(run)
    keep(one, other)
    keep(other, one)
    alive = weakref.WeakSet([one, other])
    gevent.sleep(0)
    if when == "while waiting":
        gc.collect()
    gevent.joinall([one, other])
    del one, other
    assert collected(alive)


def test_greenlet_that_knows_itself():
    greenlet = gevent.spawn(gevent.sleep, 0.001)
    greenlet.me = greenlet
    alive = weakref.WeakSet([greenlet])
    gevent.sleep(0)
    gc.collect()
    greenlet.join()
    del greenlet
    assert collected(alive)


@pytest.mark.parametrize("cls", ["IMap", "IMapUnordered"])
def test_iterators_of_a_pool(cls):
    pool = gevent.pool.Pool(1)
    found = (pool.imap if cls == "IMap" else pool.imap_unordered)(gevent.sleep, [0.001, 0.001])
    found.me = found
    alive = weakref.WeakSet([found])
    gevent.sleep(0)
    gc.collect()
    list(found)
    found.join()
    del found
    assert collected(alive)


def test_hub_of_a_thread_that_ended():
    alive = weakref.WeakSet()

    def run():
        hub = gevent.get_hub()
        hub.owner = Owner(hub)
        alive.add(hub)
        gevent.sleep(0.001)
        gc.collect()
        hub.destroy()

    for _ in range(3):
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    assert collected(alive)


def test_greenlet_under_way_is_not_collected():
    # Nobody but its own stack, and a deadline, knows it.
    ended = []

    def run():
        try:
            gevent.sleep(0.005)
        finally:
            ended.append(gevent.getcurrent().others["other"] is gevent.getcurrent())

    greenlet = gevent.spawn(run)
    greenlet.others = {"other": greenlet}
    gevent.sleep(0)
    del greenlet
    for _ in range(5):
        gc.collect()
        gevent.sleep(0)
    gevent.sleep(0.01)
    assert ended == [True]


def test_run_of_a_subclass():
    # Its `run` is called without the object: the collector leaves it alone while it is under way.
    class Odd(gevent.Greenlet):
        @staticmethod
        def run():
            gevent.sleep(0.005)
            ended.append(True)

    ended = []
    greenlet = Odd.spawn()
    greenlet.me = [greenlet]
    gevent.sleep(0)
    del greenlet
    gc.collect()
    gevent.sleep(0.01)
    assert ended == [True]
