"""Greenlet-local data: whose attributes are whose, classes, copies, and when data goes."""

import copy
import gc
import pickle
import sys
import threading
import time
import weakref

import greenlet
import pytest

import gevent
from gevent.local import all_local_dicts_for_greenlet, local


class Thing:
    pass


class Counted(local):
    made = 0

    def __init__(self, *args, **kwargs):
        type(self).made += 1
        self.args = args
        self.kwargs = kwargs


def elsewhere(function, *args):
    """Return the result of `function` in a greenlet of its own."""
    return gevent.spawn(function, *args).get()


def test_every_greenlet_has_its_own():
    one = local()
    one.x = 1
    assert not elsewhere(hasattr, one, "x")
    assert elsewhere(lambda: setattr(one, "x", 2) or one.x) == 2
    assert one.x == 1
    assert one.__dict__ == vars(one) == {"x": 1}


def test_raw_greenlets_and_threads():
    one, seen = local(), []
    one.x = 1
    greenlet.greenlet(lambda: seen.append(hasattr(one, "x"))).switch()
    thread = threading.Thread(target=lambda: seen.append(hasattr(one, "x")))
    thread.start()
    thread.join()
    assert seen == [False, False]


def test_interleaved():
    one = local()

    def run(number):
        one.number = number
        for _ in range(10):
            gevent.sleep(0)
            assert one.number == number
            one.number = number = number + 1000
        return True

    assert all(job.get() for job in [gevent.spawn(run, number) for number in range(100)])


def test_missing_attributes():
    one = local()
    with pytest.raises(AttributeError, match="has no attribute 'x'") as caught:
        _ = one.x
    assert caught.value.name == "x"
    assert caught.value.obj is one
    with pytest.raises(AttributeError):
        del one.x
    assert getattr(one, "x", 5) == 5
    with pytest.raises(TypeError):
        getattr(one, 5)


def test_dict_is_read_only():
    one = local()
    for change in (lambda: setattr(one, "__dict__", {}), lambda: delattr(one, "__dict__")):
        with pytest.raises(AttributeError, match="read-only"):
            change()

    class LikeEveryName:
        def __eq__(self, other):
            return True

        __hash__ = None

    class Name:
        pass

    for change, *value in ((one.__setattr__, 1), (one.__delattr__,)):
        with pytest.raises(AttributeError, match="read-only"):
            change(LikeEveryName(), *value)
        with pytest.raises(TypeError, match="attribute name must be string, not 'Name'"):
            change(Name(), *value)
    one.__dict__["x"] = 1
    assert one.x == 1
    assert getattr(one, "".join(["__di", "ct__"])) is one.__dict__


def test_init_runs_in_every_greenlet():
    one = Counted(1, two=2)
    assert Counted.made == 1
    assert elsewhere(lambda: (one.args, one.kwargs)) == ((1,), {"two": 2})
    assert Counted.made == 2
    assert elsewhere(setattr, one, "x", 1) is None
    assert Counted.made == 3


def test_arguments_need_an_init():
    class Plain(local):
        pass

    for kind in (local, Plain):
        with pytest.raises(TypeError, match="Initialization arguments are not supported"):
            kind(1)
        with pytest.raises(TypeError, match="Initialization arguments are not supported"):
            kind(x=1)


def test_failing_init_is_tried_again():
    class Fails(local):
        fail = False

        def __init__(self):
            self.x = 1
            if Fails.fail:
                raise KeyError("init")

    one = Fails()
    Fails.fail = True

    def visit():
        for _ in range(2):
            with pytest.raises(KeyError):
                _ = one.x
        Fails.fail = False
        return one.x

    assert elsewhere(visit) == 1


def test_init_that_waits():
    class Waits(local):
        def __init__(self):
            self.first = gevent.getcurrent()
            gevent.sleep(0.001)
            self.second = gevent.getcurrent()

    one = Waits()

    def visit():
        return one.first is one.second is gevent.getcurrent()

    assert all(job.get() for job in [gevent.spawn(visit) for _ in range(5)])


def test_descriptors():
    class Rich(local):
        __slots__ = ("shared",)
        constant = 42

        @property
        def doubled(self):
            return self.x * 2

        @property
        def broken(self):
            raise AttributeError("broken inside")

        @classmethod
        def kind(cls):
            return cls

        @staticmethod
        def static():
            return "static"

        def method(self):
            return self

    one = Rich()
    one.x = 4
    assert (one.doubled, one.kind(), one.static(), one.method()) == (8, Rich, "static", one)
    with pytest.raises(AttributeError):
        one.doubled = 1
    with pytest.raises(AttributeError, match="broken inside"):
        _ = one.broken
    one.constant = 1
    assert elsewhere(lambda: one.constant) == 42
    del one.constant
    assert one.constant == 42
    one.shared = 1
    one.__dict__["shared"] = 2
    assert elsewhere(lambda: one.shared) == 1


def test_overridden_access():
    calls = []

    class Watched(local):
        def __getattr__(self, name):
            if name == "virtual":
                return 42
            raise AttributeError(name)

        def __getattribute__(self, name):
            calls.append(name)
            return super().__getattribute__(name)

        def __setattr__(self, name, value):
            calls.append((name, value))
            super().__setattr__(name, value)

    one = Watched()
    one.x = 1
    assert (one.x, one.virtual) == (1, 42)
    with pytest.raises(AttributeError):
        _ = one.y
    assert calls == [("x", 1), "x", "virtual", "y"]


def test_copy():
    one = Counted([1])
    one.x = []
    made = Counted.made
    other = copy.copy(one)
    assert Counted.made == made + 1
    assert type(other) is Counted
    assert other.x is one.x
    assert other.__dict__ == one.__dict__
    assert other.__dict__ is not one.__dict__
    assert elsewhere(lambda: other.args) == ([1],)
    plain = local()
    plain.x = 1
    assert copy.copy(plain).x == 1
    for call in (copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot pickle"):
            call(plain)


# The end of data


def test_data_goes_with_the_greenlet():
    one, seen = local(), []

    def visit():
        one.thing = Thing()
        seen.append(weakref.ref(one.thing))

    kept = gevent.spawn(visit)
    kept.join()
    assert seen[0]() is None
    killed = gevent.spawn(lambda: (visit(), gevent.sleep(60)))
    gevent.sleep(0)
    assert seen[1]() is not None
    killed.kill()
    assert seen[1]() is None
    raw = greenlet.greenlet(visit)
    raw.switch()
    del raw
    gc.collect()
    assert seen[2]() is None


def test_data_goes_with_a_failed_greenlet():
    one, seen = local(), []

    def fail():
        one.thing = Thing()
        seen.append(weakref.ref(one.thing))
        raise RuntimeError("on purpose")

    failed = gevent.spawn(fail)
    failed.join()
    assert not failed.successful()
    assert seen[0]() is None


def test_data_of_a_thread_goes_with_it():
    one, seen = local(), []

    def visit():
        one.thing = Thing()
        seen.append(weakref.ref(one.thing))

    thread = threading.Thread(target=visit)
    thread.start()
    thread.join()
    # greenlet learns of the end of a thread a little after those who join it.
    deadline = time.monotonic() + 10
    while seen[0]() is not None and time.monotonic() < deadline:
        time.sleep(0.001)
        greenlet.getcurrent()
        gc.collect()
    assert seen[0]() is None


def test_data_goes_with_the_local():
    def visit():
        for _ in range(1000):
            one = local()
            one.thing = Thing()
            gone = weakref.ref(one.thing)
            del one
            assert gone() is None
        return True

    running = gevent.spawn(visit)
    assert running.get()
    assert not running.has_links()


def test_used_while_the_greenlet_ends():
    one, seen = local(), []

    class Last:
        def __del__(self):
            one.again = Thing()
            seen.append(weakref.ref(one.again))

    def visit():
        one.last = Last()

    ended = gevent.spawn(visit)
    ended.join()
    assert len(seen) == 1
    del ended
    gc.collect()
    assert seen[0]() is None


def test_cycles_are_collected():
    one = Counted()
    one.thing = Thing()
    one.thing.local = one
    gone = weakref.ref(one.thing)
    del one
    gc.collect()
    assert gone() is None


def test_no_data_of_a_former_greenlet():
    one = local()

    def visit():
        found = dict(vars(one))
        one.x = 1
        return found

    for _ in range(2000):
        assert greenlet.greenlet(visit).switch() == {}
        assert elsewhere(visit) == {}


def test_memory_does_not_grow():
    one = Counted()

    def visit():
        one.x = local()
        one.x.y = 1

    def churn():
        gevent.joinall([gevent.spawn(visit) for _ in range(100)])
        for _ in range(100):
            greenlet.greenlet(visit).switch()
            Thing.local = local()
            Thing.local.x = 1

    for _ in range(3):
        churn()
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(10):
        churn()
    gc.collect()
    assert sys.getallocatedblocks() - before < 200


def test_all_local_dicts_for_greenlet():
    one, other = local(), Counted(1)
    one.x = 1

    def visit():
        other.x = 2
        return all_local_dicts_for_greenlet(gevent.getcurrent())

    assert ((local, id(one)), {"x": 1}) in all_local_dicts_for_greenlet(gevent.getcurrent())
    assert elsewhere(visit) == [((Counted, id(other)), {"args": (1,), "kwargs": {}, "x": 2})]
    with pytest.raises(TypeError):
        all_local_dicts_for_greenlet(5)
