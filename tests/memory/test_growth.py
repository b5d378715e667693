"""Nothing accumulates: objects, memory and descriptors stay the same however long it runs."""

import json
import textwrap

import pytest

PRELUDE = """
    import gc, os, sys, threading
    import gevent
    from gevent.hub import Waiter, get_hub

    hub = get_hub()
    loop = hub.loop
    hub.exception_stream = None
    TIMES = {times}

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def descriptors():
        return len(os.listdir("/proc/self/fd"))

    def state():
        gc.collect()
        return sys.getallocatedblocks(), resident(), descriptors(), loop.activecnt

    def measure(work):
        work(TIMES // 10)
        before = state()
        # Caches and pools fill up in some rounds, up to their bounds; what leaks grows in each.
        for _ in range(20):
            work(TIMES)
            after = state()
            blocks, memory, files, active = (late - early for late, early in zip(after, before))
            assert (files, active) == (0, 0)
            if blocks < min(TIMES // 10, 500) and memory < max(TIMES * 4, 1 << 19):
                return print("flat")
            before = after
        print("grows:", blocks, "objects,", memory, "bytes")
"""

WORKS = {
    "yields of two": (
        1_000_000,
        """
        def turn(times):
            for _ in range(times // 2):
                gevent.sleep(0)

        def work(times):
            gevent.joinall([gevent.spawn(turn, times) for _ in range(2)])
        """,
    ),
    "yields alone": (
        1_000_000,
        """
        def work(times):
            for _ in range(times):
                gevent.sleep(0)
        """,
    ),
    "spawns": (
        100_000,
        """
        def work(times):
            for _ in range(times):
                gevent.spawn(int).join()
        """,
    ),
    "spawns at once": (
        20_000,
        """
        def work(times):
            for _ in range(5):
                gevent.joinall([gevent.spawn(gevent.sleep, 0) for _ in range(times // 5)])
        """,
    ),
    "raw spawns": (
        50_000,
        """
        def work(times):
            for _ in range(times):
                gevent.spawn_raw(int)
                gevent.sleep(0)
        """,
    ),
    "subclasses": (
        20_000,
        """
        class Own(gevent.Greenlet):
            def __init__(self, *args):
                super().__init__(*args)
                self.own = [self]

            def _run(self):
                gevent.sleep(0)
                return self

        def work(times):
            for _ in range(times // 100):
                gevent.joinall([Own.spawn() for _ in range(100)])
        """,
    ),
    "failures": (
        20_000,
        """
        def fail():
            gevent.sleep(0)
            raise ValueError

        def work(times):
            for _ in range(times):
                gevent.spawn(fail).join()
        """,
    ),
    "kills": (
        20_000,
        """
        def work(times):
            for _ in range(times // 100):
                greenlets = [gevent.spawn(gevent.sleep, 60) for _ in range(50)]
                gevent.sleep(0)
                greenlets += [gevent.spawn(gevent.sleep, 60) for _ in range(50)]
                gevent.killall(greenlets)
        """,
    ),
    "kills with errors": (
        10_000,
        """
        def work(times):
            for _ in range(times):
                one = gevent.spawn(Waiter().get)
                gevent.sleep(0)
                one.kill(ValueError)
        """,
    ),
    "cancelled timeouts": (
        200_000,
        """
        def work(times):
            for _ in range(times):
                with gevent.Timeout(60):
                    pass
        """,
    ),
    "timeouts that come": (
        10_000,
        """
        def work(times):
            for _ in range(times):
                with gevent.Timeout(0, False):
                    gevent.sleep(60)
        """,
    ),
    "limits of waits": (
        20_000,
        """
        stuck = gevent.spawn(Waiter().get)

        def work(times):
            for _ in range(times):
                stuck.join(timeout=0)
        """,
    ),
    "limits not reached": (
        50_000,
        """
        def work(times):
            for _ in range(times):
                gevent.spawn(int).get(timeout=60)
        """,
    ),
    "sleeps": (
        20_000,
        """
        def work(times):
            for _ in range(times // 100):
                gevent.joinall([gevent.spawn(gevent.sleep, 1e-6 * n) for n in range(100)])
        """,
    ),
    "later ones cancelled": (
        20_000,
        """
        def work(times):
            for _ in range(times):
                gevent.spawn_later(60, int).kill()
        """,
    ),
    "waiters": (
        50_000,
        """
        def work(times):
            for _ in range(times):
                waiter = Waiter()
                loop.run_callback(waiter.switch, waiter)
                waiter.get()
        """,
    ),
    "waiters with errors": (
        20_000,
        """
        def work(times):
            for _ in range(times):
                waiter = Waiter()
                loop.run_callback(waiter.throw, ValueError)
                try:
                    waiter.get()
                except ValueError:
                    pass
        """,
    ),
    "watchers": (
        20_000,
        """
        read, write = os.pipe()

        def work(times):
            for _ in range(times):
                for watcher in (loop.timer(60), loop.io(read, 1), loop.idle(), loop.async_()):
                    watcher.start(int)
                    watcher.stop()
                hub.wait(loop.timer(0))
        """,
    ),
    "callbacks": (
        100_000,
        """
        def work(times):
            for _ in range(times // 100):
                for _ in range(50):
                    loop.run_callback(int)
                    loop.run_callback(int).stop()
                gevent.sleep(0)
        """,
    ),
    "callbacks of another thread": (
        50_000,
        """
        def work(times):
            got = []
            thread = threading.Thread(
                target=lambda: [loop.run_callback_threadsafe(got.append, n) for n in range(times)]
            )
            thread.start()
            while len(got) < times:
                gevent.sleep(0.0005)
            thread.join()
        """,
    ),
    "links": (
        20_000,
        """
        def work(times):
            for _ in range(times):
                one = gevent.spawn(int)
                one.link(id)
                one.rawlink(id)
                one.link_exception(id)
                one.unlink(id)
                one.join()
            gevent.sleep(0)
        """,
    ),
    "several at once": (
        10_000,
        """
        def work(times):
            for _ in range(times):
                gevent.wait([gevent.spawn(int), gevent.spawn(gevent.sleep, 0)], count=1)
                gevent.sleep(0)
        """,
    ),
    "direct switches": (
        50_000,
        """
        from greenlet import greenlet

        def work(times):
            for _ in range(times):
                main = gevent.getcurrent()
                loop.run_callback(main.switch, 1)
                hub.switch()
        """,
    ),
    "errors in the hub": (
        10_000,
        """
        def work(times):
            for _ in range(times):
                loop.run_callback(lambda: 1 / 0)
                gevent.sleep(0)
        """,
    ),
    "system errors": (
        5_000,
        """
        def work(times):
            for _ in range(times):
                gevent.spawn(sys.exit)
                try:
                    gevent.sleep(60)
                except SystemExit:
                    pass
        """,
    ),
    "blocking for ever": (
        5_000,
        """
        def work(times):
            for _ in range(times):
                try:
                    Waiter().get()
                except gevent.hub.LoopExit:
                    pass
        """,
    ),
    "hubs of threads": (
        2_000,
        """
        def run():
            gevent.spawn(gevent.sleep, 0).join()

        def work(times):
            for _ in range(times):
                thread = threading.Thread(target=run)
                thread.start()
                thread.join()
        """,
    ),
    "hubs of threads, destroyed": (
        2_000,
        """
        def run():
            gevent.spawn(gevent.sleep, 0).join()
            get_hub().destroy(destroy_loop=True)

        def work(times):
            for _ in range(times):
                thread = threading.Thread(target=run)
                thread.start()
                thread.join()
        """,
    ),
    "hubs one after the other": (
        2_000,
        """
        def work(times):
            own = hub
            for _ in range(times):
                gevent.hub.set_hub(None)
                gevent.spawn(gevent.sleep, 0).join()
                get_hub().destroy(destroy_loop=True)
            gevent.hub.set_hub(own)
        """,
    ),
    "loops": (
        5_000,
        """
        def work(times):
            for _ in range(times):
                other = type(loop)(default=False)
                other.timer(0).start(int)
                other.run()
                other.run_callback(int)
                if times % 2:
                    other.destroy()
        """,
    ),
}


@pytest.mark.parametrize("name", WORKS)
def test_flat(run_python, name):
    times, work = WORKS[name]
    parts = (PRELUDE.format(times=times), work, "measure(work)")
    done = run_python("\n".join(map(textwrap.dedent, parts)), timeout=250)
    assert (done.stdout, done.stderr) == ("flat\n", "")


def test_references_to_what_is_passed_around(run_python):
    done = run_python(
        textwrap.dedent(PRELUDE.format(times=1))
        + textwrap.dedent(
            """
            def function(*args, **kwargs):
                gevent.sleep(0)
                return args

            value, error = object(), ValueError("shared")
            things = (value, function, error, hub, loop, gevent.getcurrent())

            def use():
                for _ in range(500):
                    gevent.spawn(function, value, key=value).get()
                    gevent.spawn_later(0, function, value).get()
                    gevent.spawn_raw(function, value, key=value)
                    loop.run_callback(function, value)
                    one = gevent.spawn(function)
                    one.link(function)
                    one.kill(error)
                    waiter = Waiter()
                    loop.run_callback(waiter.switch, value)
                    waiter.get()
                    with gevent.Timeout(0, error) as timeout:
                        try:
                            gevent.sleep(1)
                        except ValueError:
                            pass
                    gevent.with_timeout(0, gevent.sleep, 1, timeout_value=value)
                gevent.sleep(0.01)
                error.__traceback__ = None
                gc.collect()

            use()
            use()
            before = [sys.getrefcount(thing) for thing in things]
            use()
            after = [sys.getrefcount(thing) for thing in things]
            print([late - early for early, late in zip(before, after)])
            """
        )
    )
    assert done.stderr == ""
    # One each time would be 500.
    differences = json.loads(done.stdout)
    assert all(abs(difference) < 10 for difference in differences), differences
