"""gevent.aio: coroutines that await greenlets, and how either side ends the other."""

import asyncio
import contextvars
import gc
import threading
import traceback

import pytest
from conditions import until

import gevent
from gevent import aio
from gevent.event import Event
from gevent.lock import Semaphore

variable = contextvars.ContextVar("variable", default="unset")


def give(value, after=0.001):
    gevent.sleep(after)
    return value


class Endless:
    """A function that ends when its greenlet is killed, and takes a while to clean up."""

    def __init__(self):
        self.began = self.cleaned_up = False

    def __call__(self):
        try:
            self.began = True
            gevent.sleep(60)
        finally:
            gevent.sleep(0.01)
            self.cleaned_up = True


@pytest.fixture(params=["shared", "own"])
def run(request):
    """The function that runs the coroutine of a test: in the shared loop, or in its own."""
    if request.param == "shared":
        return aio.run

    def run(coroutine):
        with asyncio.Runner(loop_factory=aio.new_event_loop) as runner:
            return runner.run(coroutine)

    return run


def test_to_greenlet_returns_the_result(run):
    async def main():
        return await aio.to_greenlet(give, 3, after=0.002)

    assert run(main()) == 3


def test_the_loop_runs_on_meanwhile(run):
    async def main():
        ticks = 0
        task = asyncio.ensure_future(aio.to_greenlet(gevent.sleep, 0.01))
        while not task.done():
            await asyncio.sleep(0)
            ticks += 1
        return ticks

    assert run(main()) > 1


def test_greenlets_are_gathered(run):
    async def main():
        return await asyncio.gather(*(aio.to_greenlet(give, number) for number in range(20)))

    assert run(main()) == list(range(20))


def test_to_greenlet_raises_the_error_with_both_sides_in_its_traceback(run, capsys):
    def fail():
        raise ValueError("x")

    async def coroutine():
        await aio.to_greenlet(fail)

    with pytest.raises(ValueError, match="x") as caught:
        run(coroutine())
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert names.index("coroutine") < names.index("fail")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("make", [lambda f: aio.to_greenlet(f), gevent.spawn])
def test_stop_iteration_comes_as_a_runtime_error(run, make, capsys):
    def stop():
        raise StopIteration

    async def main():
        with pytest.raises(RuntimeError, match="StopIteration"):
            await make(stop)

    run(main())


def test_to_greenlet_runs_in_a_copy_of_the_context(run):
    def read_and_write():
        found = variable.get()
        variable.set("greenlet")
        return found

    async def main():
        variable.set("task")
        return await aio.to_greenlet(read_and_write), variable.get()

    assert run(main()) == ("task", "task")


def test_to_greenlet_refuses_coroutine_functions(run):
    async def coroutine_function():
        pass

    async def main(function, message):
        with pytest.raises(TypeError, match=message):
            await aio.to_greenlet(function)

    run(main(coroutine_function, r"await coroutine_function\(\)"))
    run(main(None, "callable"))


def test_a_greenlet_is_awaited(run):
    async def main(greenlet):
        return await greenlet

    assert run(main(gevent.spawn(give, 5))) == 5
    done = gevent.spawn(give, 6)
    done.join()
    assert run(main(done)) == 6


def test_many_tasks_await_one_greenlet(run):
    async def wait(greenlet):
        return await greenlet

    async def main():
        greenlet = gevent.spawn(give, 7)
        return await asyncio.gather(*(wait(greenlet) for _ in range(3)))

    assert run(main()) == [7, 7, 7]


def test_the_error_of_a_greenlet_is_raised(run, capsys):
    def fail():
        raise KeyError("x")

    async def main():
        with pytest.raises(KeyError):
            await gevent.spawn(fail)

    run(main())


def test_a_killed_greenlet_gives_a_cancellation(run):
    async def main(make):
        greenlet = gevent.spawn(gevent.sleep, 60)
        greenlet.kill(block=False)
        with pytest.raises(asyncio.CancelledError, match="was killed"):
            await greenlet

    run(main(gevent.spawn))


def test_a_function_that_is_killed_gives_a_cancellation(run):
    async def main():
        with pytest.raises(asyncio.CancelledError):
            await aio.to_greenlet(lambda: gevent.getcurrent().throw())

    run(main())


@pytest.mark.parametrize("make", [aio.to_greenlet, gevent.spawn])
def test_a_cancelled_task_kills_the_greenlet_and_waits_for_its_clean_up(run, make):
    async def wait(function):
        await make(function)

    async def main():
        function = Endless()
        task = asyncio.ensure_future(wait(function))
        while not function.began:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert function.cleaned_up

    run(main())


def test_a_greenlet_that_returns_when_killed_does_not_undo_the_cancellation(run):
    def stubborn():
        try:
            gevent.sleep(60)
        except gevent.GreenletExit:
            return "done"

    async def main():
        task = asyncio.ensure_future(aio.to_greenlet(stubborn))
        await asyncio.sleep(0.002)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())


def test_asyncio_timeouts_end_greenlets(run):
    async def main():
        function = Endless()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await aio.to_greenlet(function)
        assert function.cleaned_up
        function = Endless()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(aio.to_greenlet(function), 0.3)
        assert function.cleaned_up

    run(main())


def test_a_kill_goes_through_both_sides():
    function = Endless()

    async def coroutine():
        await aio.to_greenlet(function)

    greenlet = gevent.spawn(aio.run, coroutine())
    until(lambda: function.began)
    greenlet.kill()
    assert function.cleaned_up


def test_calls_nest_in_turn():
    async def coroutine(depth):
        return 1 + await aio.to_greenlet(function, depth) if depth else 0

    def function(depth):
        return 1 + aio.run(coroutine(depth - 1))

    assert aio.run(coroutine(10)) == 20


def test_a_task_group_holds_greenlets(run):
    async def main():
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(aio.to_greenlet(give, number)) for number in range(3)]
        return [task.result() for task in tasks]

    assert run(main()) == [0, 1, 2]


def test_a_task_group_ends_its_greenlets_when_one_fails(run):
    def fail():
        gevent.sleep(0.002)
        raise ValueError("x")

    async def both(function):
        async with asyncio.TaskGroup() as group:
            group.create_task(aio.to_greenlet(function))
            group.create_task(aio.to_greenlet(fail))

    async def main():
        function = Endless()
        with pytest.raises(ExceptionGroup) as caught:
            await both(function)
        assert function.cleaned_up
        assert isinstance(caught.value.exceptions[0], ValueError)

    run(main())


def test_a_greenlet_cannot_await_itself():
    async def main():
        with pytest.raises(RuntimeError, match="its own end"):
            await gevent.getcurrent()

    def run():
        loop = aio.new_event_loop()
        loop.run_until_complete(main())
        loop.close()

    gevent.spawn(run).get()


def test_a_greenlet_of_another_thread_is_awaited(run):
    def thread():
        greenlet = gevent.spawn(lambda: semaphore.acquire() and "done")
        greenlets.append(greenlet)
        began.set()
        over.wait()

    async def main():
        gevent.spawn_later(0.005, semaphore.release)
        return await greenlets[0]

    greenlets, began, over, semaphore = [], threading.Event(), Event(), Semaphore(0)
    other = threading.Thread(target=thread)
    other.start()
    began.wait()
    try:
        assert run(main()) == "done"
    finally:
        over.set()
        other.join()


def test_a_loop_that_blocks_the_thread_is_refused():
    async def main():
        with pytest.raises(RuntimeError, match=r"gevent\.aio\.EventLoop"):
            await aio.to_greenlet(called.append, 1)

    called = []
    loop = asyncio.SelectorEventLoop()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
    gevent.sleep(0.001)
    assert called == []


def test_an_error_leaves_no_reference_cycle(run):
    class Marked(Exception):
        pass

    def fail():
        raise Marked

    async def main():
        for _ in range(3):
            with pytest.raises(Marked):
                await aio.to_greenlet(fail)
        return sum(isinstance(each, Marked) for each in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        assert run(main()) == 0
    finally:
        gc.enable()
