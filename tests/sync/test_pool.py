"""gevent.pool: groups, pools and their iterators."""

import gc
import queue
import weakref

import pytest

import gevent
from gevent.event import Event
from gevent.pool import Group, Pool, PoolFull
from gevent.queue import Queue


class Failure(Exception):
    pass


def fail(*_args):
    raise Failure


def sleep_and_return(seconds):
    gevent.sleep(seconds)
    return seconds


def survive(event):
    """Ignore the first attempt to kill, until *event*."""
    try:
        gevent.sleep(10)
    except gevent.GreenletExit:
        event.wait()


@pytest.fixture(autouse=True)
def no_greenlet_left():
    """Every greenlet of a test ends with it."""
    yield
    assert gevent.wait(timeout=5)


each = pytest.mark.parametrize("make", [Group, Pool, lambda: Pool(2)], ids=["group", "any", "two"])


@each
class TestEach:
    def test_holds_greenlets_while_they_live(self, make):
        group = make()
        greenlet = group.spawn(gevent.sleep, 0.001)
        assert greenlet in group
        assert (len(group), list(group), bool(group)) == (1, [greenlet], True)
        greenlet.join()
        gevent.sleep(0)
        assert (len(group), list(group), bool(group)) == (0, [], False)

    def test_spawn_passes_arguments(self, make):
        assert make().spawn(dict, [("a", 1)], b=2).get() == {"a": 1, "b": 2}

    def test_add_and_discard(self, make):
        group = make()
        greenlet = gevent.spawn(gevent.sleep, 10)
        group.add(greenlet)
        group.add(greenlet)
        assert len(group) == 1
        group.discard(greenlet)
        group.discard(greenlet)
        assert len(group) == 0
        assert not greenlet.has_links()
        greenlet.kill()

    def test_add_what_is_over(self, make):
        group = make()
        greenlet = gevent.spawn(int)
        greenlet.join()
        group.add(greenlet)
        assert len(group) == 1
        gevent.sleep(0)
        assert len(group) == 0

    def test_start(self, make):
        group = make()
        greenlet = gevent.Greenlet(int)
        group.start(greenlet)
        assert greenlet in group
        assert greenlet.get() == 0

    def test_join(self, make):
        group = make()
        assert group.join() is True
        greenlet = group.spawn(gevent.sleep, 10)
        assert group.join(timeout=0.001) is False
        greenlet.kill(block=False)
        assert group.join() is True

    def test_join_raise_error(self, make, printed):
        group = make()
        group.spawn(fail)
        assert group.join() is True
        group.spawn(fail)
        with pytest.raises(Failure):
            group.join(raise_error=True)

    def test_kill(self, make):
        group = make()
        greenlets = [group.spawn(gevent.sleep, 10) for _ in range(2)]
        gevent.sleep(0)
        assert group.kill() is None
        assert len(group) == 0
        assert all(greenlet.dead for greenlet in greenlets)

    def test_kill_what_has_not_begun(self, make):
        group = make()
        greenlet = group.spawn(gevent.sleep, 10)
        group.kill(block=False)
        assert len(group) == 1
        gevent.sleep(0)
        assert len(group) == 0
        assert greenlet.dead

    def test_kill_timeout(self, make):
        group, event = make(), Event()
        greenlet = group.spawn(survive, event)
        gevent.sleep(0)
        assert group.kill(timeout=0.001) is None
        assert group.dying == {greenlet}
        event.set()
        group.kill()
        assert (len(group), group.dying) == (0, set())

    def test_kill_reaches_what_is_spawned_meanwhile(self, make):
        group = make()

        def respawn():
            try:
                gevent.sleep(10)
            finally:
                group.discard(gevent.getcurrent())
                group.spawn(gevent.sleep, 10)

        group.spawn(respawn)
        gevent.sleep(0)
        group.kill()
        assert len(group) == 0

    def test_killone(self, make):
        group = make()
        one, other = group.spawn(gevent.sleep, 10), group.spawn(gevent.sleep, 10)
        gevent.sleep(0)
        group.killone(one)
        assert one.dead
        assert not other.dead
        group.kill()

    def test_killone_of_a_stranger(self, make):
        greenlet = gevent.spawn(gevent.sleep, 0.001)
        gevent.sleep(0)
        make().killone(greenlet)
        assert not greenlet.dead

    def test_apply(self, make, printed):
        group = make()
        assert group.apply(dict, ([("a", 1)],), {"b": 2}) == {"a": 1, "b": 2}
        assert group.apply(int) == 0
        with pytest.raises(Failure):
            group.apply(fail)

    def test_apply_in_a_greenlet_of_the_group_is_a_call(self, make):
        group = make()
        inner = group.apply(lambda: (gevent.getcurrent(), group.apply(gevent.getcurrent)))
        assert inner[0] is inner[1]

    def test_apply_cb(self, make):
        results = []
        assert make().apply_cb(int, ("3",), callback=results.append) == 3
        gevent.sleep(0)
        assert results == [3]

    def test_apply_async(self, make, printed):
        group, results = make(), []
        greenlet = group.apply_async(int, ("3",), callback=results.append)
        assert greenlet.get() == 3
        gevent.sleep(0)
        assert results == [3]
        group.apply_async(fail, callback=results.append).join()
        gevent.sleep(0)
        assert results == [3]

    def test_map(self, make):
        assert make().map(sleep_and_return, [0.003, 0.001, 0.002]) == [0.003, 0.001, 0.002]
        assert make().map(int, []) == []

    def test_map_raises_the_first_error(self, make, printed):
        with pytest.raises(ZeroDivisionError):
            make().map(lambda x: 1 / x, [1, 0, 2])
        with pytest.raises(TypeError, match="not iterable"):
            make().map(int, 3)

    def test_map_cb_and_map_async(self, make):
        results = []
        assert make().map_cb(int, "12", results.append) == [1, 2]
        assert results == [[1, 2]]
        assert make().map_async(int, "34", results.append).get() == [3, 4]
        assert results == [[1, 2], [3, 4]]

    def test_imap_order(self, make):
        seconds = [0.02, 0.001]
        assert list(make().imap(sleep_and_return, seconds)) == seconds
        assert list(make().imap_unordered(sleep_and_return, seconds)) == seconds[::-1]

    @pytest.mark.parametrize("method", ["imap", "imap_unordered"])
    class TestBothIterators:
        def test_items(self, make, method):
            imap = getattr(make(), method)
            assert sorted(imap(int, "123")) == [1, 2, 3]
            assert sorted(imap(lambda *args: args, [1, 2, 3], "ab")) == [(1, "a"), (2, "b")]
            assert list(imap(int, [])) == list(imap(int)) == []

        def test_stays_exhausted(self, make, method):
            iterator = getattr(make(), method)(int, "1")
            assert iter(iterator) is iterator
            assert next(iterator) == 1
            for _ in range(2):
                with pytest.raises(StopIteration):
                    next(iterator)
            with pytest.raises(StopIteration):
                iterator.next()

        def test_goes_on_after_an_error(self, make, method, printed):
            iterator = getattr(make(), method)(lambda x: 1 // x, [1, 0, 2])
            outcomes = []
            for _ in range(3):
                try:
                    outcomes.append(next(iterator))
                except ZeroDivisionError as error:
                    outcomes.append(type(error))
            assert outcomes == [1, ZeroDivisionError, 0]
            assert list(iterator) == []

        def test_error_of_the_iterable(self, make, method):
            def items():
                yield "1"
                raise Failure

            iterator = getattr(make(), method)(int, items())
            outcomes = set()
            for _ in range(2):
                try:
                    outcomes.add(next(iterator))
                except Failure as error:
                    outcomes.add(type(error))
            assert outcomes == {1, Failure}
            assert list(iterator) == []

        def test_wrong_use(self, make, method):
            imap = getattr(make(), method)
            with pytest.raises(TypeError, match="not iterable"):
                imap(int, 3)
            with pytest.raises(TypeError):
                list(imap(3, [1]))
            with pytest.raises(TypeError):
                imap(int, [1], unknown=1)
            with pytest.raises(ValueError, match=">= 0"):
                imap(int, [1], maxsize=-1)
            with pytest.raises(TypeError, match="an integer is required"):
                imap(int, [1], maxsize="1")

        def test_maxsize(self, make, method):
            begun = []
            iterator = getattr(make(), method)(begun.append, range(20), maxsize=2)
            for read in range(20):
                next(iterator)
                gevent.sleep(0)
                assert len(begun) <= read + 3
                assert len(iterator.queue) <= 2
            assert list(iterator) == []

        def test_iterable_that_blocks(self, make, method):
            source = Queue()
            gevent.spawn_later(0.001, lambda: (source.put("1"), source.put(StopIteration)))
            assert list(getattr(make(), method)(int, source)) == [1]

        def test_kill(self, make, method):
            def items():
                yield 0
                gevent.sleep(10)

            iterator = getattr(make(), method)(sleep_and_return, items())
            assert next(iterator) == 0
            reader = gevent.spawn(next, iterator, "none")
            gevent.sleep(0)
            iterator.kill()
            assert reader.get() == "none"

        def test_kill_before_it_begins(self, make, method):
            iterator = getattr(make(), method)(int, "123")
            reader = gevent.spawn(list, iterator)
            iterator.kill()
            assert reader.get() == []

        def test_killed_calls_are_results(self, make, method):
            group = make()
            iterator = getattr(group, method)(gevent.sleep, [10, 10])
            gevent.sleep(0.001)
            gevent.spawn(group.kill)
            assert [type(result) for result in iterator] == [gevent.GreenletExit] * 2

        def test_several_readers(self, make, method):
            iterator = getattr(make(), method)(sleep_and_return, [0.001] * 6)
            readers = [gevent.spawn(list, iterator) for _ in range(3)]
            assert sum(len(reader.get()) for reader in readers) == 6

        def test_killed_reader_loses_nothing(self, make, method):
            def work(_item):
                # Ends before the reader is killed, so what wakes the reader comes after this.
                doomed.kill(block=False)
                return "result"

            iterator = getattr(make(), method)(work, [1])
            doomed = gevent.spawn(next, iterator)
            reader = gevent.spawn(list, iterator)
            assert reader.get() == ["result"]
            assert isinstance(doomed.value, gevent.GreenletExit)

    def test_lets_go_of_everything(self, make):
        class Item:
            pass

        group, item = make(), Item()
        group.map(id, [item])
        list(group.imap(id, [item]))
        gevent.sleep(0)
        references = [weakref.ref(item), weakref.ref(group)]
        del group, item
        gc.collect()
        assert [reference() for reference in references] == [None, None]


class TestGroup:
    def test_from_greenlets(self):
        greenlets = [gevent.spawn(gevent.sleep, 0.001) for _ in range(2)]
        group = Group(greenlets)
        assert set(group) == set(greenlets)
        with pytest.raises(AssertionError):
            Group(greenlets, greenlets)

    def test_never_full(self):
        group = Group()
        assert group.full() is False
        assert group.wait_available() is None

    def test_any_object(self):
        group, thing = Group(), object()
        group.add(thing)
        assert thing in group
        group.discard(thing)
        assert len(group) == 0

    def test_repr(self):
        group = Group()
        assert repr(group) == f"<Group at {hex(id(group))} set()>"

    def test_kill_goes_on_ahead_of_those_who_join(self):
        group, log = Group(), []

        def kill():
            group.spawn(log.append, "never")
            group.kill()
            log.append("killed")

        def join():
            log.append("joins")
            group.join()
            log.append("joined")

        gevent.joinall([gevent.spawn(kill), gevent.spawn(join)])
        assert log == ["joins", "killed", "joined"]

    def test_map_begins_after_those_who_are_ready(self):
        log = []
        gevent.spawn(log.append, "ready")
        assert Pool(2).map(lambda item: log.append(item) or item, [1, 2]) == [1, 2]
        assert log == ["ready", 1, 2]
        other = gevent.spawn(log.append, "ready, too")
        assert Group().map(str, []) == []
        assert other.ready()

    def test_raw_greenlets_can_be_killed(self):
        group = Group()
        raw = gevent.spawn_raw(gevent.sleep, 10)
        group.add(raw)
        gevent.sleep(0)
        group.kill()
        assert raw.dead
        assert len(group) == 0


class TestPool:
    @pytest.mark.parametrize("size", [-1, -0.5])
    def test_negative_size(self, size):
        with pytest.raises(ValueError, match="size must not be negative"):
            Pool(size)

    def test_counts(self):
        pool = Pool(2)
        assert (pool.free_count(), pool.full(), pool.wait_available()) == (2, False, 2)
        greenlets = [pool.spawn(gevent.sleep, 10) for _ in range(2)]
        assert (pool.free_count(), pool.full(), pool.wait_available(timeout=0)) == (0, True, 0)
        assert pool._semaphore.counter == 0
        greenlets[0].kill()
        gevent.sleep(0)
        assert (pool.free_count(), pool._semaphore.counter) == (1, 1)
        pool.kill()

    def test_no_limit(self):
        pool = Pool()
        assert (pool.size, pool.free_count(), pool.full(), pool.wait_available()) == (
            None,
            1,
            False,
            1,
        )

    def test_nothing_fits(self):
        pool = Pool(0)
        assert pool.full()
        with pytest.raises(PoolFull):
            pool.add(gevent.spawn(int), blocking=False)

    def test_grows_as_dependents_do(self):
        pool = Pool(1)
        pool._semaphore.counter += 1
        pool.size += 1
        greenlets = [pool.spawn(gevent.sleep, 0.001) for _ in range(2)]
        assert (len(pool), pool.free_count()) == (2, 0)
        gevent.joinall(greenlets)

    def test_spawn_waits_for_room(self):
        pool, order = Pool(1), []
        for number in range(3):
            pool.spawn(order.append, number)
            assert len(pool) == 1
        assert order == [0, 1]
        pool.join()
        assert order == [0, 1, 2]

    @pytest.mark.parametrize("kwargs", [{"blocking": False}, {"timeout": 0.001}])
    def test_full(self, kwargs):
        pool = Pool(1)
        pool.spawn(gevent.sleep, 10)
        with pytest.raises(PoolFull) as caught:
            pool.add(gevent.spawn(int), **kwargs)
        assert isinstance(caught.value, queue.Full)
        with pytest.raises(PoolFull):
            pool.start(gevent.Greenlet(int), **kwargs)
        assert (len(pool), pool.free_count()) == (1, 0)
        pool.kill()
        assert pool.free_count() == 1

    def test_discard_makes_room(self):
        pool = Pool(1)
        greenlet = pool.spawn(gevent.sleep, 10)
        pool.discard(greenlet)
        assert pool.free_count() == pool._semaphore.counter == 1
        greenlet.kill()
        pool.discard(gevent.spawn(int))
        assert pool._semaphore.counter == 1

    def test_killed_while_waiting_for_room(self):
        pool = Pool(1)
        first = pool.spawn(gevent.sleep, 10)
        waiting = gevent.spawn(pool.spawn, int)
        gevent.sleep(0)
        waiting.kill()
        first.kill()
        pool.join()
        assert pool._semaphore.counter == 1

    def test_apply_async_does_not_wait_for_room(self):
        pool = Pool(1)
        first = pool.spawn(gevent.sleep, 10)
        greenlet = pool.apply_async(int, ("3",))
        assert not greenlet.dead
        first.kill()
        assert greenlet.get() == 3

    def test_map_at_most_so_many_at_once(self):
        running, most = 0, 0

        def work(_item):
            nonlocal running, most
            running += 1
            most = max(most, running)
            gevent.sleep(0.001)
            running -= 1

        Pool(3).map(work, range(20))
        assert most == 3

    def test_greenlets_are_let_go_after_those_that_were_ready(self):
        for pool, sizes in ((Group(), [3, 3, 3]), (Pool(2), [2, 2, 1])):
            assert pool.map(lambda _item, pool=pool: len(pool), range(3)) == sizes

    def test_greenlet_class(self):
        class Own(gevent.Greenlet):
            pass

        assert type(Pool(1, Own).spawn(int)) is Own
        pool = Pool(1)
        pool.greenlet_class = Own
        greenlet = pool.spawn(int)
        assert type(greenlet) is Own
        assert greenlet.get() == 0
        pool.join()
        assert pool.free_count() == 1


class TestSubclasses:
    """Methods that a subclass overrides are called, and those that it calls are there."""

    @pytest.mark.parametrize("base", [Group, Pool])
    def test_steps(self, base):
        called = []

        class Own(base):
            def spawn(self, *args, **kwargs):
                called.append("spawn")
                return super().spawn(*args, **kwargs)

            def start(self, greenlet):
                called.append("start")
                return super().start(greenlet)

            def add(self, greenlet):
                called.append("add")
                return super().add(greenlet)

            def _discard(self, greenlet):
                called.append("_discard")
                return super()._discard(greenlet)

        group = Own()
        assert group.map(int, "1") == [1]
        group.join()
        assert called == ["spawn", "start", "add", "_discard"]
        called.clear()
        assert list(group.imap(int, "1")) == [1]
        group.join()
        assert called == ["spawn", "start", "add", "_discard"]

    def test_own_attributes_without_init(self):
        class Own(Pool):
            def __init__(self):
                self.name = "own"
                super().__init__(1)

        pool = Own()
        assert (pool.name, pool.size) == ("own", 1)
        assert pool.apply(int) == 0

    def test_own_iterator(self, monkeypatch):
        class Own(gevent.pool.IMapUnordered):
            def __init__(self, *args, **kwargs):
                super().__init__(*args, **kwargs)
                self.made = True

            def run(self):
                self.ran = True
                super().run()

        monkeypatch.setattr(gevent.pool, "IMapUnordered", Own)
        iterator = Group().imap_unordered(int, "12")
        assert isinstance(iterator, Own)
        assert sorted(iterator) == [1, 2]
        assert iterator.made
        assert iterator.ran
