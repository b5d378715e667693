"""Several hubs in several native threads, and what may be used across them."""

import gc
import sys
import threading
import time
import weakref

import greenlet
import pytest
from descriptors import open_descriptors
from native_threads import in_thread

import gevent
from gevent.exceptions import InvalidThreadUseError, LoopExit
from gevent.hub import Waiter, get_hub, set_hub

LONG = 20


class Worker:
    """A native thread in which a greenlet waits, and which then does something else."""

    def __init__(self, wait=lambda: gevent.sleep(LONG), then=lambda: None):
        self.started = threading.Event()
        self.result = None
        self.wait = wait
        self.then = then
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        assert self.started.wait(LONG)
        # The greenlet is begun and its hub polls.
        while not (self.hub.loop is None or self.hub.loop.polling):
            time.sleep(0.0005)

    def run(self):
        self.hub = get_hub()
        self.greenlet = gevent.spawn(self.wait)
        self.started.set()
        self.greenlet.join()
        self.result = self.greenlet.value
        self.then()

    def join(self):
        self.thread.join(LONG)
        assert not self.thread.is_alive()


class TestIndependence:
    def test_each_thread_has_its_own_hub(self):
        hubs = [get_hub(), *(in_thread(get_hub) for _ in range(3))]
        assert len(set(map(id, hubs))) == 4
        assert len({hub.thread_ident for hub in hubs}) >= 2

    def test_many_threads_at_work(self):
        results = []

        def run():
            greenlets = [
                gevent.spawn(lambda n=n: (gevent.sleep(0.0005 * (n % 4)), n)[1]) for n in range(50)
            ]
            gevent.joinall(greenlets)
            results.append(sum(one.value for one in greenlets))

        threads = [threading.Thread(target=run) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG)
        assert results == [sum(range(50))] * 10

    def test_a_blocked_thread_blocks_no_other(self):
        go = threading.Event()
        thread = threading.Thread(target=go.wait, args=(LONG,))
        thread.start()
        assert in_thread(lambda: gevent.spawn(lambda: "ran").get()) == "ran"
        go.set()
        thread.join()

    def test_settings_of_a_hub_are_its_own(self):
        before = gevent.getswitchinterval()
        in_thread(gevent.setswitchinterval, 0.5)
        assert gevent.getswitchinterval() == before


class TestAcrossThreads:
    def test_callbacks_arrive_in_order(self):
        got = []
        loop = get_hub().loop

        def send():
            for number in range(2000):
                loop.run_callback_threadsafe(got.append, number)

        thread = threading.Thread(target=send)
        thread.start()
        until = time.monotonic() + LONG
        while len(got) < 2000 and time.monotonic() < until:
            gevent.sleep(0.0005)
        thread.join()
        assert got == list(range(2000))

    def test_callback_wakes_a_polling_hub(self):
        ran_in = []
        worker = Worker()
        worker.hub.loop.run_callback_threadsafe(lambda: ran_in.append(threading.get_ident()))
        worker.hub.loop.run_callback_threadsafe(worker.greenlet.kill, None, False)
        worker.join()
        assert ran_in == [worker.thread.ident]

    def test_join_and_get(self):
        worker = Worker(lambda: (gevent.sleep(0.005), "result")[1])
        assert worker.greenlet.get(timeout=LONG) == "result"
        worker.join()

    def test_join_with_a_limit(self):
        worker = Worker()
        worker.greenlet.join(timeout=0.001)
        assert not worker.greenlet.ready()
        worker.greenlet.kill(timeout=LONG)
        assert worker.greenlet.ready()
        worker.join()
        assert isinstance(worker.result, gevent.GreenletExit)

    def test_links_run_in_the_hub_of_the_greenlet(self):
        where = []
        # The first to join goes on first, and must not end the thread then.
        worker = Worker(then=lambda: gevent.sleep(0))
        worker.greenlet.rawlink(lambda _: where.append(threading.get_ident()))
        worker.greenlet.kill(timeout=LONG)
        worker.join()
        assert where == [worker.thread.ident]

    def test_timeout_is_cancelled(self):
        timeouts = []

        def run():
            timeouts.append(gevent.Timeout.start_new(1))
            gevent.sleep(1.1)
            return "not interrupted"

        worker = Worker(run)
        timeouts[0].cancel()
        worker.join()
        assert worker.result == "not interrupted"


class TestWrongThread:
    def test_switch_and_throw(self):
        worker = Worker()
        for wrong in (worker.greenlet.switch, worker.greenlet.throw, worker.hub.throw):
            with pytest.raises(greenlet.error):
                wrong()
        worker.greenlet.kill(timeout=LONG)
        worker.join()

    def test_waiting_in_its_hub(self):
        worker = Worker()
        for wrong in (
            worker.hub.switch,
            Waiter(worker.hub).get,
            lambda: worker.hub.wait(worker.hub.loop.timer(0)),
        ):
            with pytest.raises(InvalidThreadUseError):
                wrong()
        worker.greenlet.kill(timeout=LONG)
        worker.join()

    def test_running_its_loop(self):
        worker = Worker()
        with pytest.raises(InvalidThreadUseError):
            worker.hub.loop.run()
        worker.greenlet.kill(timeout=LONG)
        worker.join()

    def test_raw_greenlet_is_not_killed(self):
        raw = []

        def run():
            raw.append(gevent.spawn_raw(gevent.sleep, LONG))
            gevent.sleep(LONG)

        worker = Worker(run)
        get_hub().exception_stream = None
        try:
            gevent.kill(raw[0])
            gevent.sleep(0.001)
        finally:
            del get_hub().exception_stream
        assert not raw[0].dead
        worker.greenlet.kill(timeout=LONG)
        worker.join()


class TestEnd:
    @pytest.mark.parametrize(
        "use",
        [
            pytest.param(get_hub, id="hub not run"),
            pytest.param(lambda: gevent.sleep(0.0001), id="slept"),
            pytest.param(lambda: gevent.spawn(gevent.sleep).join(), id="joined"),
            pytest.param(lambda: (gevent.spawn(gevent.sleep, 9), gevent.sleep(0)), id="left"),
            pytest.param(lambda: gevent.spawn(int) and None, id="not begun"),
            pytest.param(lambda: gevent.wait([gevent.spawn(int)]) and None, id="waited"),
            pytest.param(lambda: gevent.Timeout.start_new(9) and None, id="timeout left"),
            pytest.param(lambda: get_hub().loop.io(0, 1).start(int), id="watcher left"),
            pytest.param(lambda: get_hub().destroy(destroy_loop=True), id="destroyed"),
            pytest.param(lambda: set_hub(None), id="unset"),
        ],
    )
    def test_closes_the_loop(self, use):
        in_thread(use)
        before = len(open_descriptors())
        for _ in range(10):
            in_thread(use)
        assert len(open_descriptors()) <= before

    def test_frees_the_hub(self):
        def run():
            gevent.spawn(gevent.sleep, 0.0001).join()
            return weakref.ref(get_hub())

        ref = in_thread(run)
        gc.collect()
        assert ref() is None

    def test_what_outlives_the_thread_can_be_asked(self):
        left = []

        def run():
            left.append(gevent.spawn(gevent.sleep, LONG))
            left.append(get_hub())
            left.append(gevent.spawn(int))
            gevent.sleep(0.0005)

        in_thread(run)
        suspended, hub, ended = left
        assert repr(suspended).startswith("<Greenlet")
        assert "destroyed" in repr(hub)
        assert ended.get() == 0
        # Nobody can resume it any more, so it was ended with its thread.
        assert isinstance(suspended.value, gevent.GreenletExit)
        suspended.join(timeout=0.001)
        suspended.kill(timeout=0.001)
        with pytest.raises(greenlet.error):
            suspended.switch()
        hub.destroy()
        del suspended, hub, ended
        left.clear()
        gc.collect()
        gevent.sleep(0.001)

    def test_hub_that_was_replaced_is_not_touched(self):
        def run():
            own = get_hub()
            set_hub(None)
            assert get_hub() is not own
            get_hub().destroy(destroy_loop=True)
            set_hub(own)
            return gevent.spawn(lambda: "works").get()

        assert in_thread(run) == "works"

    def test_hub_is_ended_where_it_reports_an_error(self):
        """The thread's main greenlet got a system error, with which the thread ends."""

        def run():
            get_hub().exception_stream = None
            gevent.spawn(sys.exit, 3)
            gevent.sleep(LONG)

        before = len(open_descriptors())
        with pytest.raises(SystemExit):
            in_thread(run)
        assert len(open_descriptors()) <= before

    def test_loop_exit_in_a_thread(self):
        with pytest.raises(LoopExit):
            in_thread(lambda: Waiter().get())


class TestInterpreterExit:
    @pytest.mark.parametrize(
        "busy", ["gevent.sleep(60)", "gevent.sleep(0)", "gevent.spawn(int).join()"]
    )
    def test_with_daemon_threads_at_work(self, run_python, busy):
        done = run_python(
            f"""
            import threading
            import gevent

            def work():
                gevent.spawn(gevent.sleep, 60)
                while True:
                    {busy}

            for _ in range(3):
                threading.Thread(target=work, daemon=True).start()
            gevent.sleep(0.05)
            print("end")
            """
        )
        assert done.stdout == "end\n"
        assert done.returncode == 0
        assert done.stderr == ""

    def test_thread_that_is_joined_at_exit(self, run_python):
        done = run_python(
            """
            import threading
            import gevent

            def work():
                gevent.sleep(0.05)
                print("thread", gevent.spawn(lambda: 5).get())

            threading.Thread(target=work).start()
            gevent.sleep(0.001)
            """
        )
        assert (done.stdout, done.stderr, done.returncode) == ("thread 5\n", "", 0)


def test_greenlets_are_switched_while_threads_take_the_interpreter():
    """The threads' switch interval cuts into greenlet switches at any place."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:

        def run():
            def turn():
                total = 0
                for number in range(200):
                    gevent.sleep(0 if number % 7 else 0.0001)
                    total += number
                return total

            greenlets = [gevent.spawn(turn) for _ in range(10)]
            gevent.joinall(greenlets)
            return {one.value for one in greenlets}

        got = []
        threads = [threading.Thread(target=lambda: got.append(run())) for _ in range(4)]
        for thread in threads:
            thread.start()
        got.append(run())
        for thread in threads:
            thread.join(LONG)
        assert got == [{sum(range(200))}] * 5
    finally:
        sys.setswitchinterval(before)
