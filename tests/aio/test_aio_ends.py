"""gevent.aio: the ends of loops: idle, killed, with their thread, the interpreter, or in a fork."""

import asyncio
import gc

import pytest
from aio_support import give, in_thread

import gevent
from gevent import aio

in_any_thread = pytest.mark.parametrize(
    "call", ["work()", "threading.Thread(target=work).start()"], ids=["main thread", "other thread"]
)


@in_any_thread
def test_an_idle_shared_loop_lets_the_hub_end(run_python, call):
    done = run_python(f"""
        import asyncio, gevent, threading
        from gevent import aio

        def work():
            aio.run(asyncio.sleep(0))
            aio.loop().call_later(60, print)
            print(gevent.wait(timeout=20))
            task = aio.loop().create_task(asyncio.sleep(0.01))
            print(gevent.wait(timeout=20), task.done())
            print(aio.run(asyncio.sleep(0.001, "again")))

        {call}
    """)
    assert done.stderr == ""
    assert done.stdout.split() == ["True", "True", "True", "again"]


@in_any_thread
def test_an_iteration_that_pauses_lets_the_hub_end(run_python, call):
    done = run_python(f"""
        import gevent, threading
        from gevent import aio

        async def numbers():
            yield 1
            yield 2

        def work():
            items = aio.iterate(numbers())
            print(next(items), gevent.wait(timeout=20), next(items))

        {call}
    """)
    assert done.stderr == ""
    assert done.stdout.split() == ["1", "True", "2"]


def test_the_end_of_the_interpreter_cancels_and_cleans_up(run_python):
    done = run_python("""
        import asyncio, gevent
        from gevent import aio

        async def background():
            began.append(True)
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0.001)
                print("task")

        async def numbers():
            try:
                yield 1
                yield 2
            finally:
                await asyncio.sleep(0.001)
                print("generator")

        async def main():
            tasks.append(asyncio.create_task(background()))
            await anext(generator)

        tasks, generator, began = [], numbers(), []
        aio.run(main())
        gevent.spawn(aio.run, background())
        while len(began) < 2:
            gevent.sleep(0.001)
        print("end")
    """)
    assert done.stderr == ""
    assert sorted(done.stdout.split()) == ["end", "generator", "task", "task"]
    assert done.stdout.split()[0] == "end"


def test_the_end_of_a_thread_cancels_and_cleans_up():
    async def background():
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.001)
            ended.append("task")

    async def numbers():
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0.001)
            ended.append("generator")

    async def main():
        generator = numbers()
        kept.extend((asyncio.create_task(background()), generator))
        await anext(generator)

    def thread():
        aio.run(main())
        return aio.loop()

    ended, kept = [], []
    loop = in_thread(thread)
    assert sorted(ended) == ["generator", "task"]
    assert loop.is_closed()


def test_destroying_a_hub_ends_its_loop():
    def thread():
        loop = aio.loop()
        aio.run(give(1))
        gevent.get_hub().destroy()
        result = loop.is_closed(), aio.run(give(2)), aio.loop() is loop
        gevent.get_hub().destroy()
        return result

    assert in_thread(thread) == (True, 2, False)


def test_sys_exit_in_a_coroutine_ends_the_program(run_python):
    call = "import sys, asyncio, gevent; from gevent import aio\nasync def f(): sys.exit(3)\n"
    assert run_python(call + "aio.run(f())").returncode == 3
    in_greenlet = call + "gevent.spawn(aio.run, f()); gevent.sleep(10)"
    assert run_python(in_greenlet).returncode == 3
    in_background = call + "aio.loop().create_task(f()); gevent.sleep(10)"
    assert run_python(in_background).returncode == 3


def test_a_killed_shared_loop_is_replaced(run_python):
    done = run_python("""
        import asyncio, gevent
        from gevent import aio

        async def background():
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0.001)
                print("cleaned up")

        def wait():
            try:
                aio.run(background())
            except asyncio.CancelledError:
                print("cancelled")

        waiting = gevent.spawn(wait)
        loop = aio.loop()
        while not loop.is_running():
            gevent.sleep(0.001)
        # As a program does that ends all greenlets that the collector knows.
        gevent.kill(loop._greenlet)
        waiting.join()
        print(aio.run(asyncio.sleep(0.001, "works")), aio.loop() is loop, loop.is_closed())
    """)
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["cleaned up", "cancelled", "works False True"]


def test_a_background_error_does_not_end_the_shared_loop(caplog):
    async def fail():
        raise ValueError("x")

    async def main():
        task = asyncio.create_task(fail())
        await asyncio.sleep(0.001)
        return task.done()

    assert aio.run(main())
    gc.collect()
    assert "never retrieved" in caplog.text
    assert aio.run(give(1)) == 1


def test_a_gevent_timeout_in_a_coroutine_does_not_end_the_shared_loop(capsys):
    async def misuse():
        timeout = gevent.Timeout.start_new(0.001)
        await asyncio.sleep(0.5)
        return timeout

    aio.run(misuse())
    assert "Timeout" in capsys.readouterr().err
    assert aio.run(give(1)) == 1


def test_the_child_of_a_fork_gets_a_shared_loop_of_its_own(run_python):
    done = run_python("""
        import asyncio, gevent, os, sys
        from gevent import aio

        async def background():
            try:
                await over.wait()
            finally:
                print("background", os.getpid() == parent)

        parent, over = os.getpid(), asyncio.Event()
        task = aio.loop().create_task(background())
        waiting = gevent.spawn(aio.run, task)
        aio.run(asyncio.sleep(0.001))
        loop = aio.loop()
        sys.stdout.flush()
        child = gevent.fork()
        if not child:
            print("child", aio.loop() is not loop, aio.run(asyncio.sleep(0.001, "works")))
            try:
                waiting.get()
            except asyncio.CancelledError:
                print("left")
            sys.stdout.flush()
            os._exit(0)
        assert gevent.os.waitpid(child, 0)[1] == 0
        loop.call_soon(over.set)
        waiting.get()
        print("parent", aio.loop() is loop)
    """)
    assert done.stdout.splitlines() == [
        "child True works",
        "left",
        "background True",
        "parent True",
    ]


def test_an_own_loop_goes_on_in_the_child_of_a_fork(run_python):
    done = run_python("""
        import asyncio, gevent, os, socket, sys
        from gevent import aio

        async def read(left):
            reader, writer = await asyncio.open_connection(sock=left)
            first = await reader.readline()
            writer.close()
            return first

        def run():
            loop = aio.new_event_loop()
            return loop.run_until_complete(read(left))

        left, right = socket.socketpair()
        greenlet = gevent.spawn(run)
        # Turns enough for it to wait for a line.
        for _ in range(20):
            gevent.sleep(0.001)
        child = gevent.fork()
        if not child:
            # A descriptor that the child closes stays registered in the parent.
            other = aio.new_event_loop()
            other.run_until_complete(asyncio.sleep(0.001))
            other.close()
            right.send(b"child\\n")
            print(greenlet.get(timeout=10), flush=True)
            os._exit(0)
        # This blocks the thread: the loop of the parent would read what is meant for the child's.
        assert os.waitpid(child, 0)[1] == 0
        right.send(b"parent\\n")
        print(greenlet.get(timeout=10))
    """)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [r"b'child\n'", r"b'parent\n'"]


def test_a_process_that_a_coroutine_forks_runs_a_loop_of_its_own(run_python):
    # As with asyncio's loops: what multiprocessing calls in the child finds no running loop.
    done = run_python("""
        import asyncio, multiprocessing, os
        from gevent import aio

        async def hello():
            await asyncio.sleep(0.001)
            return "hello"

        def work():
            with asyncio.Runner(loop_factory=aio.EventLoop) as runner:
                print(runner.run(hello()), flush=True)

        async def main():
            process = multiprocessing.get_context("fork").Process(target=work)
            process.start()
            await asyncio.to_thread(process.join)
            return process.exitcode

        with asyncio.Runner(loop_factory=aio.EventLoop) as runner:
            print(runner.run(main()))
    """)
    assert done.stderr == ""
    assert done.stdout.split() == ["hello", "0"]
