"""gevent.core.timer and gevent.core.signal: classes of today's loop and of gevent 0.13 in one."""

import os
import signal

import pytest
from conditions import until

import gevent
from gevent import core
from gevent._core import watchers

pytestmark = pytest.mark.filterwarnings("ignore:.*is of gevent 0.13:DeprecationWarning")


class Countdown(core.timer):
    """A class that a program may have: with a constructor, a callback and overridden methods."""

    def __init__(self, name, seconds):
        super().__init__(seconds, self.fire, name, exclaim=True)
        self.name = name
        self.seen = []

    def fire(self, name, exclaim):
        self.seen.append((name, exclaim, self.pending))

    def cancel(self):
        self.cancelled = True
        super().cancel()


def test_an_older_timer_is_an_instance():
    fired = []
    timer = core.timer(0.001, fired.append, "x")
    assert isinstance(timer, core.timer)
    assert isinstance(timer, core.event)
    assert not isinstance(timer, core.signal)
    assert issubclass(type(timer), core.timer)
    gevent.sleep(0.02)
    assert fired == ["x"]


def test_todays_timers_are_instances():
    loop = gevent.get_hub().loop
    for timer in (core.timer(loop, 1.0), loop.timer(1.0)):
        assert type(timer) is watchers.timer
        assert isinstance(timer, core.timer)
        assert not isinstance(timer, core.event)


def test_a_subclass_in_the_older_way():
    timer = Countdown("name", 0.001)
    assert isinstance(timer, Countdown)
    assert isinstance(timer, core.timer)
    assert isinstance(timer, core.event)
    assert isinstance(timer, watchers.timer)
    assert type(timer).__name__ == "Countdown"
    assert timer.pending
    assert timer.callback == timer.fire
    assert (timer.events_str, timer.fd, timer.arg) == (
        "TIMEOUT",
        -1,
        (("name",), {"exclaim": True}),
    )
    assert "Countdown.fire of <...>" in repr(timer)
    gevent.sleep(0.02)
    assert timer.seen == [("name", True, False)]
    timer.add(0.001)
    gevent.sleep(0.02)
    assert len(timer.seen) == 2
    assert type(Countdown("other", 1)) is type(timer)
    with Countdown("unused", 0) as unused:
        pass
    gevent.sleep(0.01)
    assert unused.cancelled
    assert unused.seen == []


def test_a_subclass_in_todays_way():
    class Plain(core.timer):
        pass

    fired = []
    timer = Plain(gevent.get_hub().loop, 0.001)
    assert type(timer) is Plain
    timer.start(fired.append, "x")
    gevent.sleep(0.02)
    assert fired == ["x"]
    older = Plain(0.001, fired.append, "y")
    assert isinstance(older, Plain)
    gevent.sleep(0.02)
    assert fired == ["x", "y"]


def test_signals():
    class Counting(core.signal):
        def cancel(self):
            super().cancel()
            seen.append("cancelled")

    seen = []
    for kind in (core.signal, Counting):
        event = kind(signal.SIGUSR2, seen.append, kind.__name__)
        assert isinstance(event, kind)
        assert event.pending
        for _ in range(2):
            count = len(seen)
            os.kill(os.getpid(), signal.SIGUSR2)
            until(lambda count=count: len(seen) > count)
        event.cancel()
    assert seen == ["signal", "signal", "Counting", "Counting", "cancelled"]
    assert not isinstance(core.timer(1, print), core.signal)


@pytest.mark.parametrize("args", [(), ("x",), ("x", 1), (None, 1)])
def test_neither_way(args):
    with pytest.raises(TypeError):
        core.timer(*args)


@pytest.mark.parametrize("name", ["event", "read_event", "buffer", "http", "http_request"])
def test_other_names_are_classes(name):
    kind = getattr(core, name)
    assert isinstance(kind, type)
    assert issubclass(type("Own", (kind,), {}), kind)


def test_a_call_warns_where_it_stands():
    class Plain(core.timer):
        pass

    for kind in (core.timer, Plain):
        with pytest.warns(DeprecationWarning, match=r"gevent.core.timer\(\) is of") as seen:
            kind(1, print).cancel()
        assert seen[0].filename == __file__


def test_core_is_there_without_being_imported(output_of):
    assert output_of("import gevent; print(gevent.core.READ)") == "1\n"
