"""gevent.aio: the loops: their waits, threads, signals, children, executors, and wrong use."""

import asyncio
import gc
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from aio_support import give, in_thread
from conditions import until
from descriptors import open_descriptors

import gevent
from gevent import aio


def run_own(coroutine, **settings):
    with asyncio.Runner(loop_factory=aio.new_event_loop, **settings) as runner:
        return runner.run(coroutine)


def test_own_loops_run_in_greenlets_at_the_same_time():
    async def meet():
        arrived.append(1)
        while len(arrived) < 5:
            await asyncio.sleep(0.001)
        return asyncio.get_running_loop()

    arrived = []
    greenlets = [gevent.spawn(run_own, meet()) for _ in range(5)]
    gevent.joinall(greenlets)
    assert len({greenlet.value for greenlet in greenlets}) == 5


@pytest.mark.parametrize("method", ["call_soon", "call_later", "set_result", "threadsafe"])
def test_other_greenlets_wake_a_loop_that_sleeps(method):
    async def main():
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        wake = {
            "call_soon": lambda: loop.call_soon(future.set_result, 1),
            "call_later": lambda: loop.call_later(0.001, future.set_result, 1),
            "set_result": lambda: future.set_result(1),
            "threadsafe": lambda: loop.call_soon_threadsafe(future.set_result, 1),
        }
        gevent.spawn_later(0.005, wake[method])
        return await future

    assert run_own(main()) == 1
    assert aio.run(main()) == 1


def test_other_threads_wake_a_loop_that_sleeps():
    async def main():
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        timer = threading.Timer(0.005, loop.call_soon_threadsafe, (future.set_result, 1))
        timer.start()
        result = await future
        timer.join()
        return result

    assert run_own(main()) == 1
    assert aio.run(main()) == 1


def test_a_coroutine_threadsafe_in_the_shared_loop():
    loop = aio.loop()
    assert in_thread(lambda: asyncio.run_coroutine_threadsafe(give(3), loop).result(10)) == 3


def test_each_thread_has_a_shared_loop():
    assert in_thread(lambda: aio.run(give(aio.loop()))) is not aio.loop()
    assert aio.loop() is aio.loop()


@pytest.mark.parametrize("kind", [None, "SelectSelector", "PollSelector", "EpollSelector"])
def test_any_selector_will_do(kind):
    import selectors

    async def main():
        reader, writer = await asyncio.open_connection(sock=left)
        gevent.spawn_later(0.002, right.sendall, b"line\n")
        try:
            return await reader.readline()
        finally:
            writer.close()

    left, right = socket.socketpair()
    loop = aio.EventLoop(kind and getattr(selectors, kind)())
    with right:
        assert loop.run_until_complete(main()) == b"line\n"
        loop.close()


def test_a_reader_added_while_the_loop_sleeps_counts():
    import selectors

    for selector in None, selectors.SelectSelector():
        left, right = socket.socketpair()
        loop = aio.EventLoop(selector)
        greenlet = gevent.spawn(loop.run_forever)
        gevent.sleep(0.002)
        loop.add_reader(left, loop.stop)
        right.send(b"x")
        greenlet.get(timeout=10)
        loop.remove_reader(left)
        loop.close()
        left.close()
        right.close()


def test_signal_handlers_of_several_loops(run_python):
    done = run_python("""
        import asyncio, gevent, os, signal
        from gevent import aio

        async def wait(name):
            loop = asyncio.get_running_loop()
            seen = loop.create_future()
            loop.add_signal_handler(signal.SIGUSR1, seen.set_result, name)
            if name == "last":
                loop.call_later(0.01, os.kill, os.getpid(), signal.SIGUSR1)
            result = await seen
            loop.remove_signal_handler(signal.SIGUSR1)
            await asyncio.sleep(0.01)
            if name != "last":
                again = asyncio.Event()
                loop.add_signal_handler(
                    signal.SIGUSR2, lambda: print(f"USR2 {name}") or again.set()
                )
                os.kill(os.getpid(), signal.SIGUSR2)
                await again.wait()
            return result

        def own(name):
            loop = aio.new_event_loop()
            try:
                return loop.run_until_complete(wait(name))
            finally:
                loop.close()

        greenlets = [gevent.spawn(own, "first"), aio.spawn(wait("shared"))]
        gevent.sleep(0.01)
        greenlets.append(gevent.spawn(own, "last"))
        print(*sorted(greenlet.get() for greenlet in greenlets))
    """)
    assert done.stderr == ""
    assert set(done.stdout.splitlines()) == {"USR2 first", "USR2 shared", "first last shared"}


def test_an_interrupt_reaches_the_main_greenlet(run_python):
    done = run_python("""
        import asyncio, os, signal
        from gevent import aio

        async def main():
            asyncio.get_running_loop().call_later(0.005, os.kill, os.getpid(), signal.SIGINT)
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0.001)
                print("cleaned up")

        try:
            aio.run(main())
        except KeyboardInterrupt:
            print("interrupted")
    """)
    assert done.stdout.split("\n")[:2] == ["cleaned up", "interrupted"], done.stderr


PROGRAM = "import sys; sys.stdout.write(sys.stdin.read().upper()); sys.exit(3)"


async def _subprocess():
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    output, _ = await child.communicate(b"text")
    return output, child.returncode


def test_subprocesses():
    async def main():
        return await asyncio.gather(*(_subprocess() for _ in range(3)))

    assert aio.run(main()) == [(b"TEXT", 3)] * 3
    assert run_own(main()) == [(b"TEXT", 3)] * 3
    assert in_thread(lambda: aio.run(_subprocess())) == (b"TEXT", 3)


def test_a_subprocess_that_is_killed():
    async def main():
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=-1)
        child.kill()
        return await child.wait()

    assert aio.run(main()) == -signal.SIGKILL


def test_in_a_patched_process(run_python):
    done = run_python("""
        from gevent import monkey
        monkey.patch_all()
        import asyncio, sys, threading, time
        import gevent
        from gevent import aio

        blocking_sleep = monkey.get_original("time", "sleep")

        async def child():
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", "print(input()); exit(3)", stdin=-1, stdout=-1
            )
            output, _ = await process.communicate(b"text")
            return output, process.returncode

        async def main():
            loop = asyncio.get_running_loop()
            ticks = []
            for number in range(9):
                gevent.spawn_later(number / 1000, ticks.append, number)
            await loop.run_in_executor(None, blocking_sleep, 0.05)
            assert len(ticks) > 1
            await asyncio.to_thread(time.sleep, 0.001)
            await loop.getaddrinfo("127.0.0.1", 80)
            await loop.getnameinfo(("127.0.0.1", 80))
            return await child()

        print(aio.run(main()))
        with asyncio.Runner(loop_factory=aio.EventLoop) as runner:
            print(runner.run(main()))
        aio.install()
        print(asyncio.run(main()))
    """)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [r"(b'text\n', 3)"] * 3


def test_the_executor_runs_native_threads():
    async def main():
        loop = asyncio.get_running_loop()
        here = threading.get_ident()
        there = await loop.run_in_executor(None, threading.get_ident)
        ticks = []
        gevent.spawn_later(0.001, ticks.append, 1)
        await asyncio.to_thread(time.sleep, 0.02)
        return here != there and ticks

    assert aio.run(main()) == [1]
    assert run_own(main()) == [1]


def test_a_worker_of_a_thread_pool_has_a_shared_loop():
    pool = gevent.get_hub().threadpool
    found = pool.apply(lambda: (aio.run(give(1)), aio.loop()))
    assert found[0] == 1
    assert found[1] is not aio.loop()


def test_install_and_the_policy(run_python):
    done = run_python("""
        import asyncio, gevent, sys, warnings
        from gevent import aio

        warnings.simplefilter("error")

        async def main():
            gevent.spawn(print, "greenlet")
            await asyncio.sleep(0.01)
            return type(asyncio.get_running_loop()).__name__

        aio.install()
        print(asyncio.run(main()))
        loop = asyncio.new_event_loop()
        print(type(loop).__name__)
        loop.close()
        if sys.version_info >= (3, 14):
            try:
                aio.EventLoopPolicy
            except DeprecationWarning:
                print("deprecated")
        else:
            assert issubclass(aio.EventLoopPolicy, asyncio.DefaultEventLoopPolicy)
            asyncio.set_event_loop_policy(aio.EventLoopPolicy())
            loop = asyncio.new_event_loop()
            assert type(loop) is aio.EventLoop
            loop.close()
            print("deprecated")
    """)
    assert done.stderr == ""
    assert done.stdout.split() == ["greenlet", "EventLoop", "EventLoop", "deprecated"]


class TestMisuse:
    def test_another_thread_in_debug_mode(self):
        async def main():
            loop = asyncio.get_running_loop()
            loop.call_soon(print)
            gevent.spawn(loop.call_later, 0, int).get()

            def misuse():
                with pytest.raises(RuntimeError, match="call_soon_threadsafe"):
                    loop.call_soon(print)
                return "refused"

            return await aio.to_greenlet(in_thread, misuse)

        assert run_own(main(), debug=True) == "refused"

    def test_another_thread_without_debug_mode_loses_nothing(self):
        async def main():
            loop = asyncio.get_running_loop()
            future = loop.create_future()
            threading.Timer(0.005, loop.call_soon, (future.set_result, 1)).start()
            return await future

        assert run_own(main(), debug=False) == 1

    def test_closing_a_running_loop(self):
        async def main():
            with pytest.raises(RuntimeError, match="running"):
                asyncio.get_running_loop().close()

        run_own(main())

    def test_running_a_running_loop(self):
        loop = aio.new_event_loop()
        greenlet = gevent.spawn(loop.run_forever)
        gevent.sleep(0.001)
        with pytest.raises(RuntimeError, match="already running"):
            loop.run_forever()
        coroutine = give(1)
        with pytest.raises(RuntimeError, match="already running"):
            loop.run_until_complete(coroutine)
        coroutine.close()
        loop.stop()
        greenlet.join()
        loop.close()

    @pytest.mark.parametrize("name", ["run_forever", "run_until_complete", "stop", "close"])
    def test_the_shared_loop_is_not_to_be_run_or_ended(self, name, recwarn):
        args = [give(1)] if name == "run_until_complete" else []
        with pytest.raises(RuntimeError, match="shared loop"):
            getattr(aio.loop(), name)(*args)
        assert aio.run(give(1)) == 1
        del args
        gc.collect()
        assert not recwarn.list


def test_no_descriptor_is_left():
    def use():
        loop = aio.new_event_loop()
        loop.run_until_complete(give(1))
        loop.close()
        in_thread(lambda: aio.run(give(1)))

    use()
    gc.collect()
    gevent.sleep(0.01)
    before = len(open_descriptors())
    for _ in range(5):
        use()
    until(lambda: len(open_descriptors()) <= before)
