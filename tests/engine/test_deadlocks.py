"""The report of a deadlock: who waits for whom, and who holds which lock."""

import gc
import re
from contextlib import ExitStack

import pytest
from greenlet import getcurrent
from greenlet import greenlet as RawGreenlet

import gevent
from gevent._waits import all_greenlets, named
from gevent.event import Event
from gevent.exceptions import LoopExit
from gevent.lock import BoundedSemaphore, RLock, Semaphore
from gevent.pool import Group, Pool
from gevent.queue import Queue
from gevent.util import format_run_info

LOCKS = (Semaphore, BoundedSemaphore, RLock)
make_lock = pytest.mark.parametrize("make_lock", LOCKS)


@pytest.fixture
def report():
    """Return a function that calls another one, which never returns, and returns LoopExit's text.

    Afterwards all greenlets are ended, as later reports would show them too.
    """

    def report(function, *args):
        with pytest.raises(LoopExit) as caught:
            function(*args)
        return str(caught.value)

    yield report
    hub = gevent.get_hub()
    for greenlet in all_greenlets():
        if greenlet.parent is not None and greenlet is not hub and not greenlet.dead:
            gevent.kill(greenlet)
    gevent.sleep(0)
    gevent.sleep(0)


def held_by(text, lock, greenlet):
    """Return true if the report says that the greenlet holds the lock that another waits for."""
    where = re.escape(f"on <{type(lock).__name__} at {id(lock):#x}>")
    return re.search(rf"{where}.*\n    held by \S.* at {id(greenlet):#x}", text) is not None


def by_hand(function, *args):
    """Begin a raw greenlet by hand, in which *function* runs until it switches back."""
    # The hub goes on when it ends: the main greenlet, the parent by default, waits then.
    greenlet = RawGreenlet(function, gevent.get_hub())
    greenlet.switch(*args)
    return greenlet


def spawn_and_join(function):
    """Run *function* in a greenlet of the engine."""
    gevent.spawn(function).join()


def begin_and_end(function):
    """Run *function* in a raw greenlet that is begun by hand, and ends."""
    RawGreenlet(function).switch()


class TestSwitchedByHand:
    @make_lock
    def test_two_raw_greenlets(self, report, make_lock):
        main = getcurrent()
        locks = [make_lock(), make_lock()]

        def take(first, second):
            first.acquire()
            main.switch()
            second.acquire()

        one, two = by_hand(take, *locks), by_hand(take, *reversed(locks))
        switching = [gevent.spawn(one.switch), gevent.spawn(two.switch)]
        text = report(Event().wait)
        assert "Deadlock of 2 greenlets" in text
        assert held_by(text, locks[0], one)
        assert held_by(text, locks[1], two)
        assert all(not greenlet.dead for greenlet in switching)

    @make_lock
    def test_one_by_hand_and_one_spawned(self, report, make_lock):
        main = getcurrent()
        first, second = make_lock(), make_lock()

        def take():
            first.acquire()
            main.switch()
            second.acquire()

        def take_reversed():
            with second:
                gevent.sleep(0.001)
                first.acquire()

        raw, spawned = by_hand(take), gevent.spawn(take_reversed)
        gevent.sleep(0)
        gevent.spawn(raw.switch)
        text = report(spawned.join)
        assert "Deadlock of 2 greenlets" in text
        assert held_by(text, first, raw)
        assert held_by(text, second, spawned)

    def test_a_holder_that_was_left_by_hand(self, report):
        main, lock = getcurrent(), Semaphore()

        def take():
            lock.acquire()
            main.switch()

        raw = by_hand(take)
        text = report(lock.acquire)
        assert "Deadlock" not in text
        holder = rf"held by <greenlet at {id(raw):#x}.*>, which is suspended by a switch"
        assert re.search(holder, text)

    def test_a_lock_that_was_taken_deep_in_the_stack(self, report):
        main, lock = getcurrent(), Semaphore()

        def take(depth):
            if depth:
                return take(depth - 1)
            lock.acquire()
            return None

        def body():
            take(300)
            main.switch()

        raw = by_hand(body)
        assert f"held by <greenlet at {id(raw):#x}" in report(lock.acquire)


class TestEndedHolders:
    @make_lock
    @pytest.mark.parametrize("begin", [spawn_and_join, begin_and_end])
    def test_nobody_else_is_taken_for_it(self, report, make_lock, begin):
        lock = make_lock()

        def take():
            lock.acquire()

        begin(take)
        gc.collect()
        # Their memory, and that of their frames, is the memory of the one that ended.
        waiting = [gevent.spawn(lock.acquire) for _ in range(3)]
        raw = [RawGreenlet(lambda: lock.acquire(), gevent.get_hub()) for _ in range(3)]
        switching = [gevent.spawn(greenlet.switch) for greenlet in raw]
        text = report(gevent.joinall, waiting + switching)
        assert "Deadlock" not in text
        name = f"<{make_lock.__name__} at {id(lock):#x}>"
        assert f"{name}, for which 6 greenlets wait, is held by a greenlet that has ended" in text


class TestJoins:
    @pytest.mark.parametrize("wait", ["join", "get"])
    def test_a_circle(self, report, wait):
        greenlets = []
        for index in range(3):
            greenlets.append(
                gevent.spawn(lambda index=index: getattr(greenlets[(index + 1) % 3], wait)())
            )
        text = report(greenlets[0].join)
        assert "Deadlock of 3 greenlets" in text
        for greenlet in greenlets:
            assert f"that is the end of <Greenlet at {id(greenlet):#x}" in text

    def test_a_group(self, report):
        group = Group()
        member = group.spawn(group.join)
        text = report(group.join)
        assert "Deadlock of one greenlet that waits for itself" in text
        assert f"that includes the end of <Greenlet at {id(member):#x}" in text

    def test_a_task_group(self, report):
        lock = Semaphore()

        def body():
            with lock, gevent.TaskGroup() as group:
                group.spawn(lock.acquire)

        spawned = gevent.spawn(body)
        text = report(spawned.join)
        assert "Deadlock of 2 greenlets" in text
        assert held_by(text, lock, spawned)

    @pytest.mark.parametrize(
        ("shields", "words"),
        [
            (0, ""),
            (1, ", inside a shield, which puts its kills and cancellations off"),
            (3, ", inside 3 shields, which put its kills and cancellations off"),
        ],
    )
    def test_a_child_inside_shields(self, report, shields, words):
        event = Event()

        def child():
            with ExitStack() as stack:
                for _ in range(shields):
                    stack.enter_context(gevent.CancelScope(shield=True))
                stack.enter_context(gevent.CancelScope())
                event.wait()

        def body():
            with gevent.TaskGroup("crawl") as group:
                group.spawn(child)

        lines = report(body).splitlines()
        # The shields put off what ends the greenlets of other tests.
        event.set()
        assert any(" on <TaskGroup 'crawl' at 0x" in line for line in lines)
        assert any(line.endswith(f"Event.wait on {named(event)}{words}") for line in lines)

    @pytest.mark.parametrize("count", [None, 1])
    def test_all_of_several_or_any(self, report, count):
        lock = Semaphore()
        other = gevent.spawn(Event().wait)

        def body():
            with lock:
                gevent.wait([other, waiter], count=count)

        holder = gevent.spawn(body)
        waiter = gevent.spawn(lock.acquire)
        text = report(holder.join)
        # With a count of one, the end of `other` would let the holder go on.
        assert ("Deadlock of 2 greenlets" in text) is (count is None)

    def test_one_at_a_time(self, report):
        greenlets = [
            gevent.spawn(lambda index=index: list(gevent.iwait([greenlets[1 - index]])))
            for index in range(2)
        ]
        assert "Deadlock of 2 greenlets" in report(greenlets[0].join)

    def test_a_member_of_a_full_pool_that_spawns_into_it(self, report):
        pool = Pool(1)
        member = pool.spawn(pool.spawn, int)
        text = report(member.join)
        assert "Deadlock of one greenlet that waits for itself" in text
        assert f"that is the end of <Greenlet at {id(member):#x}" in text

    def test_all_members_of_a_full_pool_that_spawn_into_it(self, report):
        pool = Pool(3)
        members = [pool.spawn(pool.spawn, int) for _ in range(3)]
        text = report(members[0].join)
        name = f"<Pool at {id(pool):#x}>"
        assert f"Deadlock of the 3 greenlets of {name}, which all wait for room in it" in text

    def test_the_waits_that_the_main_one_depends_on(self, report):
        queue = Queue()
        last = gevent.spawn(queue.get)
        first = gevent.spawn(last.join)
        text = report(first.join)
        assert f"that is the end of <Greenlet at {id(last):#x}" in text
        assert f"Queue.get on <Queue at {id(queue):#x}>" in text
        assert "Deadlock" not in text


class TestNoCircleIsMadeUp:
    def test_several_permits(self, report):
        semaphore = Semaphore(2)

        def take_two():
            semaphore.acquire()
            gevent.sleep(0)
            semaphore.acquire()

        greenlets = [gevent.spawn(take_two) for _ in range(2)]
        assert "Deadlock" not in report(gevent.joinall, greenlets)

    @pytest.mark.parametrize("size", [1, 2])
    def test_a_full_pool(self, size):
        pool = Pool(size)

        def spawn():
            for _ in range(size + 1):
                pool.spawn(gevent.sleep, 30)

        spawning = gevent.spawn(spawn)
        gevent.sleep(0.001)
        try:
            assert "Semaphore.acquire" in repr(spawning)
            assert "* Deadlocks" not in format_run_info()
        finally:
            spawning.kill()
            pool.kill()

    def test_a_semaphore_that_counts(self, report):
        items = Semaphore(0)

        def consume():
            while True:
                items.acquire()

        consumer = gevent.spawn(consume)
        gevent.sleep(0)
        items.release()
        assert "Deadlock" not in report(consumer.join)

    def test_a_number_of_permits_that_changes(self, report):
        semaphore = Semaphore(3)
        semaphore.counter = 1
        semaphore.acquire()
        assert "waits for itself" in report(semaphore.acquire)


def test_patched_locks(run_python):
    found = run_python("""
        from gevent import monkey; monkey.patch_all()
        import gevent, threading
        from gevent.exceptions import LoopExit

        def reported(function):
            try:
                function()
            except LoopExit as error:
                return str(error)

        condition = threading.Condition()
        def wait():
            with condition:
                condition.wait()
        text = reported(wait)
        assert "threading.Condition.wait" in text and "Deadlock" not in text, text

        locks, both = (threading.Lock(), threading.Lock()), threading.Barrier(2)
        def take(first, second):
            with first:
                both.wait()
                second.acquire()
        threads = [
            threading.Thread(target=take, args=args, daemon=True) for args in (locks, locks[::-1])
        ]
        for thread in threads:
            thread.start()
        text = reported(threads[0].join)
        assert "Deadlock of 2 greenlets" in text, text
        assert text.count("held by") >= 2, text
        joining = []
        def join(index):
            both.wait()
            joining[1 - index].join()
        joining += [threading.Thread(target=join, args=(each,), daemon=True) for each in range(2)]
        for thread in joining:
            thread.start()
        of_threads = reported(joining[0].join)
        assert of_threads.count(": join> is waiting") == 2, of_threads
        # It is the function of the thread that is shown, and not the one that begins threads.
        assert text.count(": take> is waiting") == 2, text
        print("done")
    """)
    assert found.stdout == "done\n", found.stderr


def test_across_threads(run_python):
    found = run_python("""
        import gevent, threading, time
        from gevent import util
        from gevent.lock import Semaphore

        first, second, both = Semaphore(), Semaphore(), threading.Barrier(2)
        def take(one, other):
            # The sleep makes the thread's hub, without which its waits are no greenlet's.
            gevent.sleep(0.001)
            one.acquire()
            both.wait()
            other.acquire()
        pool = gevent.get_hub().threadpool
        pool.spawn(take, first, second)
        pool.spawn(take, second, first)
        end = time.monotonic() + 20
        # The title must be a whole line, as the stacks in the text may show this very source.
        while "* Deadlocks" not in (lines := util.format_run_info()):
            assert time.monotonic() < end, lines
            gevent.sleep(0.01)
        text = "\\n".join(lines[lines.index("* Deadlocks"):])
        assert "Deadlock of 2 greenlets" in text, text
        assert text.count("held by <_WorkerGreenlet") == 2, text
        print("done", flush=True)
        import os; os._exit(0)
    """)
    assert found.stdout == "done\n", found.stderr


def test_run_info_without_deadlocks():
    assert "* Deadlocks" not in format_run_info()
