"""Names of gevent 0.13: links between greenlets, groups, the end of a program."""

import importlib
import os
import signal

import pytest

import gevent
from gevent import Greenlet
from gevent.event import Event

pytestmark = pytest.mark.filterwarnings("ignore:.*is of gevent 0.13:DeprecationWarning")


def names(*which):
    module = importlib.import_module("gevent.compat.links")
    return [getattr(module, name) for name in which]


LinkedExited, LinkedCompleted, LinkedFailed, LinkedKilled = names(
    "LinkedExited", "LinkedCompleted", "LinkedFailed", "LinkedKilled"
)


def fail():
    raise ValueError("expected")


def raised_by(action, *args):
    try:
        action(*args)
        gevent.sleep(0.05)
    except LinkedExited as told:
        return told
    return None


@pytest.mark.usefixtures("printed")
class TestLinks:
    @pytest.mark.parametrize(
        ("method", "function", "expected"),
        [
            ("link", int, LinkedCompleted),
            ("link", fail, LinkedFailed),
            ("link_value", int, LinkedCompleted),
            ("link_value", fail, None),
            ("link_exception", int, None),
            ("link_exception", fail, LinkedFailed),
        ],
    )
    @pytest.mark.parametrize("over", [False, True], ids=["alive", "over"])
    def test_to_the_current_greenlet(self, method, function, expected, over):
        source = Greenlet.spawn(function)
        if over:
            source.join()
        told = raised_by(getattr(source, method))
        assert type(told) is (expected or type(None))
        if told is not None:
            assert told.source is source
            assert repr(source) in str(told)
        # Either way it is there no more.
        assert raised_by(gevent.sleep) is None

    def test_a_killed_one(self):
        source = Greenlet.spawn(gevent.sleep, 10)
        source.link()
        told = raised_by(source.kill)
        assert type(told) is LinkedKilled
        assert isinstance(told, LinkedCompleted)

    def test_to_another_greenlet(self):
        source = Greenlet.spawn(gevent.sleep, 0.001)
        other = Greenlet.spawn(gevent.sleep, 10)
        source.link(other)
        other.join(5)
        assert type(other.exception) is LinkedCompleted

    def test_to_a_raw_greenlet(self):
        seen = []

        def wait():
            try:
                gevent.sleep(10)
            except LinkedFailed as told:
                seen.append(told.source)

        raw = gevent.spawn_raw(wait)
        gevent.sleep(0)
        source = Greenlet.spawn(fail)
        source.link_exception(raw)
        source.join()
        gevent.sleep(0.01)
        assert seen == [source]

    def test_unlink(self):
        source, other = Greenlet.spawn(gevent.sleep, 0.001), Greenlet.spawn(gevent.sleep, 0.02)
        source.link()
        source.link_value(other)
        assert source.has_links()
        source.unlink()
        source.unlink(other)
        assert not source.has_links()
        other.join()
        assert other.successful()

    def test_link_with_a_callback_is_as_ever(self, recwarn):
        source, seen = Greenlet.spawn(int), []
        source.link(seen.append)
        source.link_value(callback=seen.append)
        with pytest.raises(TypeError, match="Expected callable: 5"):
            source.link(5)
        source.join()
        gevent.sleep(0)
        assert seen == [source, source]
        assert not recwarn

    @pytest.mark.parametrize("where", [gevent, Greenlet, names("GreenletSet")[0]()])
    def test_spawn_link(self, where):
        assert type(raised_by(where.spawn_link, int, "3")) is LinkedCompleted
        assert type(raised_by(where.spawn_link_value, int)) is LinkedCompleted
        assert type(raised_by(where.spawn_link_exception, fail)) is LinkedFailed
        linked = where.spawn_link_exception(int, "7")
        assert isinstance(linked, Greenlet)
        assert linked.get() == 7

    def test_spawn_link_passes_keywords(self):
        linked = gevent.spawn_link_exception(dict, function=1, name=2)
        assert linked.get() == {"function": 1, "name": 2}

    def test_spawn_link_of_a_subclass(self):
        class Own(Greenlet):
            pass

        assert type(Own.spawn_link_exception(int)) is Own

    def test_a_link_keeps_nothing(self):
        source, other = Greenlet.spawn(int), Greenlet.spawn(gevent.sleep, 0.02)
        source.link_exception(other)
        source.join()
        other.join()
        assert not source.has_links()


class TestEnds:
    def test_shutdown_waits_in_the_main_greenlet(self):
        done = Event()
        gevent.spawn_later(0.01, done.set)
        gevent.shutdown()
        assert done.is_set()

    def test_shutdown_elsewhere_ends_the_program(self, output_of):
        assert (
            output_of("""
            import atexit, gevent
            atexit.register(print, "end")
            gevent.spawn_later(0.01, gevent.shutdown)
            try:
                gevent.sleep(100)
            finally:
                print("unwound")
        """)
            == "unwound\nend\n"
        )

    def test_dispatch_exit_is_what_a_wait_for_ever_raises(self):
        with pytest.raises(gevent.hub.DispatchExit):
            Event().wait()

    def test_signal_calls_its_handler_in_a_greenlet(self):
        seen, done = [], Event()

        def handler(*args, **kwargs):
            gevent.sleep(0)
            seen.append((args, kwargs))
            done.set()

        installed = gevent.signal(signal.SIGUSR1, handler, 1, two=2)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert done.wait(10)
        installed.cancel()
        assert seen == [((1,), {"two": 2})]

    def test_signal_is_a_module_all_the_same(self):
        module = importlib.import_module("gevent.signal")
        assert gevent.signal is module
        assert module.SIGUSR1 is signal.SIGUSR1
        assert module.getsignal(signal.SIGUSR2) == signal.getsignal(signal.SIGUSR2)
        with pytest.raises(TypeError):
            gevent.signal(signal.SIGUSR1, "no handler")


def test_raw_greenlets():
    raw = importlib.import_module("gevent.rawgreenlet")
    greenlets = [gevent.spawn_raw(gevent.sleep, 0.01) for _ in range(3)]
    raw.joinall(greenlets, polling_period=0.01)
    assert all(greenlet.dead for greenlet in greenlets)
    greenlets = [gevent.spawn_raw(gevent.sleep, 10), gevent.spawn(gevent.sleep, 10)]
    gevent.sleep(0)
    raw.kill(greenlets[0])
    assert greenlets[0].dead
    raw.killall(greenlets, block=False)
    assert not greenlets[1].dead
    raw.join(greenlets[1])


@pytest.mark.usefixtures("printed")
def test_procs():
    proc = importlib.import_module("gevent.proc")
    one, other = proc.spawn(int, "3"), proc.spawn(int, "4")
    assert one.wait() == 3
    assert proc.waitall([one, other]) == [3, 4]
    with pytest.raises(ValueError, match="expected"):
        proc.waitall([proc.spawn(fail), proc.spawn(gevent.sleep, 10)], timeout=5)
    procs = proc.ProcSet()
    assert type(procs.spawn(int)) is proc.Proc
    assert type(raised_by(proc.spawn_link, int)) is proc.LinkedCompleted
    assert issubclass(proc.ProcExit, BaseException)


def test_semaphores():
    coros, lock = importlib.import_module("gevent.coros"), importlib.import_module("gevent.lock")
    for name in lock.__all__:
        assert getattr(coros, name) is getattr(lock, name)
    told = coros.event()
    waiting = gevent.spawn(told.wait)
    gevent.sleep(0)
    told.send("value")
    assert waiting.get() == "value"
    told = coros.event()
    told.send(exc=ValueError("sent"))
    with pytest.raises(ValueError, match="sent"):
        told.wait()
    with pytest.raises(gevent.Timeout):
        coros.event().wait(timeout=0.001)


def test_lazy_property():
    class Thing:
        made = 0

        @importlib.import_module("gevent.util").lazy_property
        def value(self):
            self.made += 1
            return self.made

    thing = Thing()
    assert (thing.value, thing.value) == (1, 1)
