"""gevent.wait, iwait, joinall and killall: several objects at once."""

import time
from collections import deque

import pytest

import gevent
from gevent.event import Event
from gevent.lock import Semaphore


class Failure(Exception):
    pass


def fail():
    raise Failure


class Source:
    """Anything with `rawlink` and `unlink` can be waited for."""

    def __init__(self):
        self.links = []

    def rawlink(self, callback):
        self.links.append(callback)

    def unlink(self, callback):
        self.links = [link for link in self.links if link != callback]

    def tell(self):
        for link in list(self.links):
            link(self)

    def tell_soon(self):
        gevent.get_hub().loop.run_callback(self.tell)


class TestIwait:
    def test_order_of_readiness(self):
        slow, fast = (gevent.spawn(gevent.sleep, seconds) for seconds in (0.02, 0.001))
        assert list(gevent.iwait([slow, fast])) == [fast, slow]

    def test_links_from_first_step_to_last(self):
        one, other = Source(), Source()
        iterator = gevent.iwait([one, other])
        assert (one.links, other.links) == ([], [])
        one.tell_soon()
        other.tell_soon()
        # Nobody would tell them before they are linked to.
        gevent.spawn(lambda: (one.tell_soon(), other.tell_soon()))
        assert list(iterator) == [one, other]
        assert (one.links, other.links) == ([], [])
        assert list(iterator) == []

    def test_context_manager_unlinks(self):
        ready, never = Source(), Source()
        gevent.spawn(ready.tell_soon)
        with gevent.iwait((ready, never)) as iterator:
            assert next(iterator) is ready
            assert len(never.links) == 1
        assert never.links == []

    def test_count(self):
        greenlets = [gevent.spawn(int) for _ in range(3)]
        assert list(gevent.iwait(greenlets, count=2)) == greenlets[:2]
        assert list(gevent.iwait(greenlets, count=0)) == []
        assert len(list(gevent.iwait(greenlets, count=10))) == 3

    @pytest.mark.parametrize("timeout", [0, -1, 0.001])
    def test_timeout(self, timeout):
        assert list(gevent.iwait([Event()], timeout=timeout)) == []

    def test_ready_in_time(self):
        event = Event()
        event.set()
        assert list(gevent.iwait([event, Event()], timeout=0.001)) == [event]

    def test_finished_greenlet_needs_no_switch(self):
        over = gevent.spawn(int)
        over.join()
        later = gevent.spawn(int)
        iterator = gevent.iwait([later, over])
        assert next(iterator) is over
        assert not later.dead
        assert next(iterator) is later

    def test_same_object_twice(self):
        greenlet = gevent.spawn(int)
        assert list(gevent.iwait([greenlet, greenlet])) == [greenlet, greenlet]

    def test_caller_may_switch_between_steps(self):
        greenlets = [gevent.spawn(int) for _ in range(3)]
        seen = []
        for greenlet in gevent.iwait(greenlets):
            gevent.sleep(0.001)
            seen.append(greenlet)
        assert seen == greenlets

    def test_error_while_waiting_unlinks(self):
        source = Source()
        with pytest.raises(gevent.Timeout), gevent.Timeout(0.001):
            next(gevent.iwait([source]))
        assert source.links == []

    def test_what_cannot_be_read(self):
        with pytest.raises(TypeError, match="not iterable"):
            gevent.iwait(gevent.spawn(int))

    def test_no_source(self):
        source = Source()
        with pytest.raises(AttributeError, match="rawlink"):
            list(gevent.iwait([source, 3]))
        assert source.links == []


def generated(greenlets):
    yield from greenlets


@pytest.mark.parametrize("kind", [list, tuple, set, iter, generated, dict.fromkeys, deque])
class TestAnyIterable:
    def greenlets(self, function=int):
        return [gevent.spawn(function) for _ in range(3)]

    def test_iwait_and_wait(self, kind):
        greenlets = self.greenlets()
        assert set(gevent.iwait(kind(greenlets))) == set(greenlets)
        greenlets = self.greenlets()
        assert set(gevent.wait(kind(greenlets))) == set(greenlets)
        assert len(gevent.wait(kind(greenlets), count=2)) == 2

    def test_joinall(self, kind, printed):
        greenlets = self.greenlets()
        assert set(gevent.joinall(kind(greenlets))) == set(greenlets)
        assert len(gevent.joinall(kind(self.greenlets()), count=2)) == 2
        assert gevent.joinall(kind([]), timeout=0) == []
        with pytest.raises(Failure):
            gevent.joinall(kind(self.greenlets(fail)), raise_error=True)

    def test_killall(self, kind):
        greenlets = self.greenlets(lambda: gevent.sleep(30))
        gevent.sleep(0)
        gevent.killall(kind(greenlets))
        assert all(greenlet.dead for greenlet in greenlets)


class TestWait:
    def test_objects_of_several_kinds(self):
        event, semaphore, greenlet = Event(), Semaphore(0), gevent.spawn(int)
        gevent.spawn(event.set)
        gevent.spawn(semaphore.release)
        assert set(gevent.wait([event, semaphore, greenlet])) == {event, semaphore, greenlet}
        assert semaphore.linkcount() == event.linkcount() == 0

    def test_semaphore_is_not_acquired(self):
        semaphore = Semaphore(1)
        assert gevent.wait([semaphore]) == [semaphore]
        assert semaphore.counter == 1

    def test_nothing(self):
        assert gevent.wait([]) == []

    def test_everything(self):
        greenlet = gevent.spawn(gevent.sleep, 0.001)
        assert gevent.wait() is True
        assert greenlet.dead

    def test_everything_in_time(self):
        greenlet = gevent.spawn(gevent.sleep, 10)
        assert gevent.wait(timeout=0.001) is False
        greenlet.kill()


class TestJoinall:
    def test_order_of_ends(self):
        slow, fast = (gevent.spawn(gevent.sleep, seconds) for seconds in (0.02, 0.001))
        assert gevent.joinall([slow, fast]) == [fast, slow]

    def test_timeout(self):
        slow, fast = (gevent.spawn(gevent.sleep, seconds) for seconds in (10, 0.001))
        assert gevent.joinall([slow, fast], timeout=0.5) == [fast]
        slow.kill()

    @pytest.mark.parametrize("kind", [list, tuple, set])
    def test_any_collection(self, kind):
        greenlets = [gevent.spawn(int) for _ in range(3)]
        assert set(gevent.joinall(kind(greenlets))) == set(greenlets)

    def test_count(self):
        greenlets = [gevent.spawn(int) for _ in range(3)]
        assert gevent.joinall(greenlets, count=1) == greenlets[:1]

    def test_other_objects(self):
        event, greenlet = Event(), gevent.spawn(int)
        event.set()
        assert set(gevent.joinall([event, greenlet])) == {event, greenlet}

    def test_errors_stay_with_greenlets(self, printed):
        greenlet = gevent.spawn(fail)
        assert gevent.joinall([greenlet]) == [greenlet]
        assert isinstance(greenlet.exception, Failure)

    def test_raise_error(self, printed):
        forever = gevent.spawn(gevent.sleep, 10)
        with pytest.raises(Failure):
            gevent.joinall([forever, gevent.spawn(fail)], raise_error=True)
        assert not forever.has_links()
        forever.kill()

    def test_raise_error_without_errors(self):
        greenlet = gevent.spawn(int)
        assert gevent.joinall([greenlet], raise_error=True) == [greenlet]

    def test_what_cannot_be_read(self):
        with pytest.raises(TypeError, match="not iterable"):
            gevent.joinall(gevent.spawn(int))

    def test_raw_greenlet(self):
        with pytest.raises(AttributeError, match="rawlink"):
            gevent.joinall([gevent.spawn_raw(int)])

    def test_everything(self):
        greenlet = gevent.spawn(gevent.sleep, 0.001)
        assert gevent.joinall(None) is True
        assert greenlet.dead


class TestKillall:
    def test_blocking(self):
        greenlets = [gevent.spawn(gevent.sleep, 10) for _ in range(3)]
        gevent.sleep(0)
        assert gevent.killall(greenlets) is None
        assert all(isinstance(greenlet.value, gevent.GreenletExit) for greenlet in greenlets)

    def test_those_that_have_not_begun_never_will(self):
        ran = []
        greenlet = gevent.spawn(ran.append, 1)
        gevent.killall(iter([greenlet]), block=False)
        assert greenlet.dead
        gevent.sleep(0.001)
        assert ran == []

    def test_not_blocking(self):
        greenlet = gevent.spawn(gevent.sleep, 10)
        gevent.sleep(0)
        gevent.killall([greenlet], block=False)
        assert not greenlet.dead
        gevent.sleep(0)
        assert greenlet.dead

    def test_exception(self, printed):
        greenlet = gevent.spawn(gevent.sleep, 10)
        gevent.sleep(0)
        gevent.killall([greenlet], exception=Failure("x"))
        assert isinstance(greenlet.exception, Failure)

    def test_raw_greenlets(self):
        raw = gevent.spawn_raw(gevent.sleep, 10)
        gevent.sleep(0)
        gevent.killall([raw, gevent.spawn(int)])
        assert raw.dead

    def test_timeout(self):
        def survive():
            try:
                gevent.sleep(10)
            except gevent.GreenletExit:
                gevent.sleep(10)

        greenlet = gevent.spawn(survive)
        gevent.sleep(0)
        with pytest.raises(gevent.Timeout):
            gevent.killall([greenlet], timeout=0.001)
        gevent.killall([greenlet])
        assert greenlet.dead

    def test_own_greenlet(self):
        greenlet = gevent.spawn(lambda: gevent.killall([gevent.getcurrent()]))
        assert isinstance(greenlet.get(), gevent.GreenletExit)

    def test_nothing(self):
        assert gevent.killall([]) is None

    def test_no_greenlet(self):
        with pytest.raises(AttributeError):
            gevent.killall([None])


def test_a_timeout_begins_with_the_call():
    """Not with the last turn of the loop, before which the program worked without a pause."""
    gevent.sleep(0.001)
    time.sleep(0.55)
    sleeper = gevent.spawn(gevent.sleep, 0.01)
    assert gevent.wait([sleeper], timeout=0.5) == [sleeper]
    time.sleep(0.55)
    sleeper = gevent.spawn(gevent.sleep, 0.01)
    assert gevent.joinall([sleeper], timeout=0.5, raise_error=True) == [sleeper]
