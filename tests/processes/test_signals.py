"""Interrupts, exits and signal handlers: they reach the main greenlet, and all goes on."""

import textwrap

import pytest

PRELUDE = """
    import os, signal, sys, threading, time
    import gevent
    from gevent.hub import Waiter, get_hub

    LONG = 30
    get_hub().exception_stream = None

    def interrupt():
        os.kill(os.getpid(), signal.SIGINT)

    def interrupt_soon(seconds=0.05):
        threading.Timer(seconds, interrupt).start()

    def interrupt_the_wait(seconds=0.05):
        # The greenlet starts as the main greenlet waits: no interrupt comes before that.
        return gevent.spawn(interrupt_soon, seconds)
"""


@pytest.fixture
def program(run_python):
    def run(code, status=0):
        done = run_python(textwrap.dedent(PRELUDE) + textwrap.dedent(code), timeout=60)
        assert done.stderr == ""
        assert done.returncode == status
        return done.stdout

    return run


class TestInterrupt:
    @pytest.mark.parametrize(
        "wait",
        [
            pytest.param("gevent.sleep(LONG)", id="sleep"),
            pytest.param("gevent.spawn(gevent.sleep, LONG).join()", id="join"),
            pytest.param("gevent.spawn(gevent.sleep, LONG).get()", id="get"),
            pytest.param("gevent.joinall([gevent.spawn(gevent.sleep, LONG)])", id="joinall"),
            pytest.param("gevent.wait([gevent.spawn(gevent.sleep, LONG)])", id="wait"),
            pytest.param("get_hub().join(LONG)", id="hub join"),
            pytest.param("get_hub().wait(get_hub().loop.io(os.pipe()[0], 1))", id="io"),
            pytest.param("get_hub().wait(get_hub().loop.timer(LONG))", id="timer"),
            pytest.param("get_hub().switch()", id="switch"),
            pytest.param(
                "gevent.spawn(gevent.sleep, LONG).kill() or gevent.sleep(LONG)", id="kill"
            ),
        ],
    )
    def test_ends_the_main_greenlets_wait(self, program, wait):
        out = program(
            f"""
            keep = gevent.spawn(gevent.sleep, LONG)
            start = time.monotonic()
            interrupt_the_wait()
            try:
                {wait}
            except KeyboardInterrupt:
                print("interrupted", time.monotonic() - start < LONG / 2)
            print(gevent.spawn(lambda: "goes on").get())
            """
        )
        assert out == "interrupted True\ngoes on\n"

    def test_while_others_are_busy(self, program):
        out = program(
            """
            def spin():
                while True:
                    gevent.sleep(0)

            busy = [gevent.spawn(spin) for _ in range(3)]
            interrupt_the_wait()
            try:
                gevent.sleep(LONG)
            except KeyboardInterrupt:
                print("interrupted")
            """
        )
        assert out == "interrupted\n"

    def test_while_the_main_greenlet_yields(self, program):
        out = program(
            """
            interrupt_the_wait()
            try:
                while True:
                    gevent.sleep(0)
            except KeyboardInterrupt:
                print("interrupted")
            """
        )
        assert out == "interrupted\n"

    def test_while_a_greenlet_computes(self, program):
        """It is raised in what runs, and goes to the main greenlet when it leaves that."""
        out = program(
            """
            def compute():
                interrupt_soon()
                while True:
                    pass

            greenlet = gevent.spawn(compute)
            try:
                gevent.sleep(LONG)
            except KeyboardInterrupt:
                print("interrupted")
            gevent.sleep(0)
            print(greenlet.ready(), type(greenlet.exception).__name__)
            """
        )
        assert out == "interrupted\nTrue KeyboardInterrupt\n"

    @pytest.mark.parametrize(
        "start",
        [
            "get_hub().loop.run_callback(compute)",
            "timer = get_hub().loop.timer(0); timer.start(compute)",
            "gevent.spawn(int).rawlink(compute)",
            "gevent.spawn(int).link(compute)",
            "gevent.spawn_raw(compute)",
        ],
    )
    def test_while_a_callback_computes(self, program, start):
        out = program(
            f"""
            def compute(*args):
                interrupt_soon()
                until = time.monotonic() + LONG
                while time.monotonic() < until:
                    pass

            {start}
            try:
                gevent.sleep(LONG)
            except KeyboardInterrupt:
                print("interrupted")
            print(gevent.spawn(lambda: "goes on").get())
            """
        )
        assert out == "interrupted\ngoes on\n"

    def test_one_after_the_other(self, program):
        out = program(
            """
            for number in range(5):
                interrupt_the_wait(0.02)
                try:
                    gevent.sleep(LONG)
                except KeyboardInterrupt:
                    print(number)
            print(gevent.spawn(lambda: "goes on").get())
            """
        )
        assert out == "0\n1\n2\n3\n4\ngoes on\n"

    def test_in_a_loop_of_ones_own(self, program):
        out = program(
            """
            class Handler:
                def handle_error(self, context, kind, value, traceback):
                    print(kind.__name__)
                    loop.break_()

            loop = type(get_hub().loop)(default=False)
            loop.error_handler = Handler()
            timer = loop.timer(LONG)
            timer.start(print)
            loop.run_callback(interrupt_soon)
            loop.run()
            """
        )
        assert out == "KeyboardInterrupt\n"

    def test_leaves_other_threads_alone(self, program):
        out = program(
            """
            interrupted = threading.Event()

            def work():
                while not interrupted.is_set():
                    gevent.sleep(0.01)
                print("thread ends")

            thread = threading.Thread(target=work)
            thread.start()
            interrupt_the_wait()
            try:
                gevent.sleep(LONG)
            except KeyboardInterrupt:
                print("interrupted")
            interrupted.set()
            thread.join()
            """
        )
        assert out == "interrupted\nthread ends\n"

    def test_hub_can_be_destroyed_after_it(self, program):
        out = program(
            """
            gevent.spawn(gevent.sleep, LONG)
            interrupt_the_wait()
            start = time.monotonic()
            try:
                gevent.sleep(LONG)
            except KeyboardInterrupt:
                get_hub().destroy(destroy_loop=True)
            print(time.monotonic() - start < LONG / 2, gevent.spawn(lambda: "goes on").get())
            """
        )
        assert out == "True goes on\n"

    def test_unhandled_ends_the_program(self, run_python):
        done = run_python(
            """
            import os, signal, threading
            import gevent

            gevent.spawn(threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start)
            try:
                gevent.sleep(30)
            finally:
                print("cleaned up")
            """
        )
        assert done.stdout == "cleaned up\n"
        assert done.returncode == -2
        assert "KeyboardInterrupt" in done.stderr


class TestExit:
    @pytest.mark.parametrize(
        "start",
        [
            "gevent.spawn(sys.exit, 3)",
            "gevent.spawn_later(0.001, sys.exit, 3)",
            "gevent.spawn_raw(sys.exit, 3)",
            "get_hub().loop.run_callback(sys.exit, 3)",
            "timer = get_hub().loop.timer(0.001); timer.start(sys.exit, 3)",
            "gevent.spawn(int).link(lambda _: sys.exit(3))",
            "gevent.spawn(int).rawlink(lambda _: sys.exit(3))",
            "threading.Thread(target=get_hub().loop.run_callback_threadsafe, args=(sys.exit, 3))"
            ".start()",
        ],
    )
    def test_ends_the_program(self, program, start):
        out = program(
            f"""
            {start}
            try:
                gevent.sleep(LONG)
            except SystemExit as error:
                print("exit", error.code)
                raise
            """,
            status=3,
        )
        assert out == "exit 3\n"

    def test_in_a_thread_ends_the_threads_main_greenlet(self, program):
        out = program(
            """
            def work():
                get_hub().exception_stream = None
                gevent.spawn(sys.exit, 3)
                try:
                    gevent.sleep(LONG)
                except SystemExit:
                    print("thread")

            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
            print("main goes on")
            """
        )
        assert out == "thread\nmain goes on\n"


class TestHandlers:
    def test_run_while_all_wait(self, program):
        out = program(
            """
            got = []
            signal.signal(signal.SIGALRM, lambda *_: got.append(len(got)))
            signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
            start = time.monotonic()
            while len(got) < 3 and time.monotonic() - start < LONG:
                gevent.sleep(0.5)
            signal.setitimer(signal.ITIMER_REAL, 0)
            print(got[:3])
            """
        )
        assert out == "[0, 1, 2]\n"

    def test_do_not_cut_sleeps_short(self, program):
        out = program(
            """
            signal.signal(signal.SIGALRM, lambda *_: None)
            signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
            start = time.monotonic()
            gevent.sleep(0.2)
            signal.setitimer(signal.ITIMER_REAL, 0)
            print(time.monotonic() - start >= 0.2)
            """
        )
        assert out == "True\n"

    def test_errors_reach_the_main_greenlet_each_time(self, program):
        out = program(
            """
            def fail(*_):
                raise ZeroDivisionError

            signal.signal(signal.SIGALRM, fail)
            for number in range(5):
                try:
                    signal.setitimer(signal.ITIMER_REAL, 0.02)
                    gevent.sleep(LONG)
                except ZeroDivisionError:
                    print(number)
            """
        )
        assert out == "0\n1\n2\n3\n4\n"

    def test_a_storm_loses_nobody(self, program):
        out = program(
            """
            signal.signal(signal.SIGALRM, lambda *_: None)
            signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)

            def work(number):
                for turn in range(100):
                    gevent.sleep(0.0005 * ((turn + number) % 3))
                return number

            greenlets = [gevent.spawn(work, number) for number in range(20)]
            gevent.joinall(greenlets)
            signal.setitimer(signal.ITIMER_REAL, 0)
            print([greenlet.value for greenlet in greenlets] == list(range(20)))
            """
        )
        assert out == "True\n"

    @pytest.mark.parametrize(
        "wait",
        [
            pytest.param("gevent.sleep(0.01)", id="sleep"),
            pytest.param("worker.join()", id="join"),
            pytest.param("gevent.spawn(gevent.sleep, 0.01).get()", id="get"),
            pytest.param("queue.get(timeout=LONG)", id="queue"),
            pytest.param("lock.acquire()", id="lock"),
            pytest.param(
                "gevent.get_hub().threadpool.apply(time.sleep, (0.01,))", id="thread pool"
            ),
            pytest.param("gevent.subprocess.call(['true'])", id="child"),
            pytest.param("gevent.socket.gethostbyname('localhost')", id="look-up"),
        ],
    )
    @pytest.mark.parametrize("sender", ["timer", "thread"])
    def test_may_wait_while_everything_waits(self, program, wait, sender):
        out = program(
            f"""
            import gevent.lock, gevent.queue, gevent.socket, gevent.subprocess
            begin, over = gevent.event.Event(), gevent.event.Event()
            queue, lock = gevent.queue.Queue(), gevent.lock.RLock()

            def work():
                with lock:
                    begin.wait()
                    gevent.sleep(0.01)
                    queue.put(1)

            def handler(*_):
                begin.set()
                try:
                    {wait}
                    print("waited", gevent.getcurrent() is not get_hub())
                finally:
                    over.set()

            worker = gevent.spawn(work)
            gevent.sleep(0)
            signal.signal(signal.SIGALRM, handler)
            if {sender!r} == "timer":
                signal.setitimer(signal.ITIMER_REAL, 0.02)
            else:
                thread = threading.Timer(0.02, os.kill, [os.getpid(), signal.SIGALRM])
                thread.start()
            print(over.wait(LONG))
            """
        )
        assert out == "waited True\nTrue\n"

    def test_errors_after_a_wait_reach_the_main_greenlet(self, program):
        out = program(
            """
            def handler(*_):
                gevent.sleep(0.01)
                raise ValueError("from the handler")

            signal.signal(signal.SIGALRM, handler)
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.02)
                gevent.sleep(LONG)
            except ValueError as error:
                print(error)
            gevent.sleep(0.01)
            print("on")
            """
        )
        assert out == "from the handler\non\n"

    def test_get_a_frame(self, program):
        out = program(
            """
            names = set()
            signal.signal(signal.SIGALRM, lambda number, frame: names.add(frame.f_code.co_name))
            signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
            # A signal that comes while this module or the hub runs gets a frame of theirs.
            while "_run_signal_handlers" not in names:
                gevent.sleep(0.1)
            signal.setitimer(signal.ITIMER_REAL, 0)
            print("frames")
            """
        )
        assert out == "frames\n"

    def test_that_spawn(self, program):
        out = program(
            """
            done = []
            signal.signal(signal.SIGALRM, lambda *_: gevent.spawn(done.append, "spawned"))
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            start = time.monotonic()
            while not done and time.monotonic() - start < LONG:
                gevent.sleep(0.1)
            print(done)
            """
        )
        assert out == "['spawned']\n"

    def test_gevent_ones_may_wait(self, program):
        out = program(
            """
            done = []

            def handler(word):
                gevent.sleep(0.001)
                done.append(word)

            watching = gevent.signal_handler(signal.SIGALRM, handler, "waited")
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            start = time.monotonic()
            while not done and time.monotonic() - start < LONG:
                gevent.sleep(0.05)
            watching.cancel()
            print(done)
            """
        )
        assert out == "['waited']\n"


class TestUninterrupted:
    """Signals that do not end the main thread's system call."""

    def test_one_that_another_thread_got(self, program):
        printed = program(
            """
            def to_myself():
                time.sleep(0.05)
                signal.pthread_kill(threading.get_ident(), signal.SIGINT)
                time.sleep(LONG)

            gevent.spawn(threading.Thread(target=to_myself, daemon=True).start)
            try:
                gevent.sleep(LONG)
            except KeyboardInterrupt:
                print("interrupted", flush=True)
                os._exit(0)
            """
        )
        assert printed == "interrupted\n"

    def test_an_accepting_server_survives(self, program):
        printed = program(
            """
            from gevent import socket
            from gevent.server import StreamServer

            server = StreamServer(("127.0.0.1", 0), lambda sock, address: None)
            server.start()

            armed = False

            def connect_and_interrupt():
                global armed
                import _socket
                while True:
                    if armed:
                        # Once for each time: it cannot come while the program does something else.
                        armed = False
                        sock = _socket.socket()
                        sock.connect(server.address)
                        interrupt()
                        sock.close()
                    time.sleep(0.001)

            threading.Thread(target=connect_and_interrupt, daemon=True).start()
            interrupts = 0
            while interrupts < 200:
                try:
                    armed = True
                    gevent.sleep(LONG)
                except KeyboardInterrupt:
                    interrupts += 1
            print(server.started and server._watcher is not None and server._watcher.active)
            sys.stdout.flush()
            os._exit(0)
            """
        )
        assert printed == "True\n"


class TestNoDeadlock:
    """A program that a signal may still wake waits for it, and for ever if it has no handler."""

    @pytest.mark.parametrize(
        ("make", "wait", "wake"),
        [
            ("gevent.event.Event()", "it.wait()", "it.set()"),
            ("gevent.event.AsyncResult()", "it.get()", "it.set(1)"),
            ("gevent.queue.Queue()", "it.get()", "it.put(1)"),
            ("gevent.queue.Channel()", "it.get()", "gevent.spawn(it.put, 1)"),
            ("gevent.lock.Semaphore(0)", "it.acquire()", "it.release()"),
            ("gevent.spawn(get_hub().switch)", "it.join()", "it.kill(block=False)"),
        ],
    )
    @pytest.mark.parametrize("how", ["signal.signal", "gevent.signal_handler"])
    def test_while_a_handler_is_set(self, program, make, wait, wake, how):
        out = program(
            f"""
            import gevent.event, gevent.lock, gevent.queue
            it = {make}
            gevent.sleep(0)
            kept = {how}(signal.SIGUSR1, lambda *_: {wake})
            thread = threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGUSR1])
            thread.start()
            {wait}
            print("woken")
            """
        )
        assert out == "woken\n"

    @pytest.mark.parametrize("how", ["signal.signal", "gevent.signal_handler"])
    def test_waiting_for_the_end_of_everything_ends(self, program, how):
        out = program(
            f"""
            kept = {how}(signal.SIGUSR1, print)
            gevent.spawn(gevent.sleep, 0.01)
            gevent.wait()
            print(get_hub().join())
            """
        )
        assert out == "True\n"

    def test_without_a_handler_it_is_one(self, program):
        out = program(
            """
            import gevent.event
            try:
                gevent.event.Event().wait()
            except gevent.exceptions.LoopExit:
                print("LoopExit")
            """
        )
        assert out == "LoopExit\n"
