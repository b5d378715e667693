"""gevent.aio: greenlets that call coroutines, and how either side ends the other."""

import asyncio
import contextvars
import gc
import sys
import traceback

import pytest
from conditions import until

import gevent
from gevent import aio
from gevent.exceptions import BlockingSwitchOutError

variable = contextvars.ContextVar("variable", default="unset")


async def give(value, after=0.001):
    await asyncio.sleep(after)
    return value


async def fail(error, after=0.001):
    await asyncio.sleep(after)
    raise error


class Endless:
    """A coroutine that ends when it is cancelled, and takes a while to clean up."""

    def __init__(self):
        self.began = False
        self.cleaned_up = False

    async def __call__(self):
        try:
            self.began = True
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            self.cleaned_up = True


def test_run_returns_the_result():
    assert aio.run(give(3)) == 3


def test_a_second_interrupt_does_not_wait_for_the_coroutine():
    steps = []
    release = asyncio.Event()

    async def goes_on():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            steps.append("cancelled")
            await release.wait()
            steps.append("over")

    def call():
        try:
            aio.run(goes_on())
        except KeyboardInterrupt:
            return "interrupted"

    greenlet = gevent.spawn(call)
    gevent.sleep(0)
    greenlet.kill(KeyboardInterrupt, block=False)
    until(lambda: steps)
    assert not greenlet.dead
    greenlet.kill(KeyboardInterrupt, block=False)
    assert greenlet.get(timeout=20) == "interrupted"
    assert steps == ["cancelled"]
    aio.loop().call_soon(release.set)
    until(lambda: steps[-1] == "over")


def test_run_raises_the_error_with_both_sides_in_its_traceback():
    def caller():
        aio.run(fail(ValueError("x")))

    with pytest.raises(ValueError, match="x") as caught:
        caller()
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert names.index("caller") < names.index("fail")


def test_greenlets_share_the_loop_and_wait_at_the_same_time():
    async def which():
        arrived.append(1)
        while len(arrived) < 20:
            await asyncio.sleep(0)
        return asyncio.get_running_loop()

    arrived = []
    greenlets = [gevent.spawn(aio.run, which()) for _ in range(20)]
    gevent.joinall(greenlets)
    assert {greenlet.value for greenlet in greenlets} == {aio.loop()}


def test_other_greenlets_run_while_the_loop_is_busy():
    async def spin():
        while not progress:
            await asyncio.sleep(0)

    progress = []
    gevent.spawn(progress.append, 1)
    aio.run(spin())


def test_run_takes_futures_and_other_awaitables():
    class Awaitable:
        def __await__(self):
            return give(5).__await__()

    future = aio.loop().create_future()
    gevent.spawn_later(0.001, future.set_result, 4)
    assert aio.run(future) == 4
    assert aio.run(future) == 4
    assert aio.run(Awaitable()) == 5


def test_two_greenlets_wait_for_one_future():
    future = aio.loop().create_future()
    greenlets = [gevent.spawn(aio.run, future) for _ in range(2)]
    gevent.sleep(0)
    future.set_result(1)
    assert [greenlet.get() for greenlet in greenlets] == [1, 1]


@pytest.mark.parametrize("what", [give, 3, None, (number for number in ())])
def test_run_and_spawn_refuse_what_cannot_be_awaited(what):
    for function in aio.run, aio.spawn:
        with pytest.raises(TypeError, match="awaitable was expected"):
            function(what)


def test_the_refusal_names_the_call_that_was_forgotten():
    with pytest.raises(TypeError, match=r"call it: give\(\)"):
        aio.run(give)


def test_run_in_a_coroutine_of_the_loop_says_await_it(recwarn):
    async def nested():
        aio.run(give(1))

    with pytest.raises(RuntimeError, match="await it"):
        aio.run(nested())
    gc.collect()
    assert not recwarn.list


def test_run_in_the_hub_is_refused(recwarn):
    caught = []

    def callback():
        with pytest.raises(BlockingSwitchOutError) as info:
            aio.run(give(1))
        caught.append(info)

    gevent.get_hub().loop.run_callback(callback)
    gevent.sleep(0.001)
    assert caught
    gc.collect()
    assert not recwarn.list


def test_run_of_a_cancelled_task_raises_the_cancellation():
    async def cancelled():
        asyncio.current_task().cancel()
        await asyncio.sleep(0)

    with pytest.raises(asyncio.CancelledError):
        aio.run(cancelled())


@pytest.mark.parametrize("block", [True, False])
def test_a_kill_cancels_the_task_and_waits_for_its_clean_up(block):
    coroutine = Endless()
    greenlet = gevent.spawn(aio.run, coroutine())
    until(lambda: coroutine.began)
    greenlet.kill(block=block)
    assert coroutine.cleaned_up is block
    greenlet.join()
    assert coroutine.cleaned_up
    assert isinstance(greenlet.value, gevent.GreenletExit)


def test_a_timeout_cancels_the_task_and_is_raised_after_its_clean_up():
    coroutine = Endless()
    with pytest.raises(gevent.Timeout) as caught, gevent.Timeout(0.3) as timeout:
        aio.run(coroutine())
    assert caught.value is timeout
    assert coroutine.cleaned_up


def test_a_timeout_wins_over_a_coroutine_that_returns_when_cancelled():
    async def stubborn():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "done"

    with pytest.raises(gevent.Timeout), gevent.Timeout(0.002):
        aio.run(stubborn())


def test_each_kill_cancels_again():
    class Stop(Exception):
        pass

    async def stubborn():
        for _ in range(2):
            try:
                began.append(1)
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancellations.append(1)
        return "done"

    began, cancellations = [], []
    greenlet = gevent.spawn(aio.run, stubborn())
    until(lambda: began)
    greenlet.kill(block=False)
    until(lambda: len(began) == 2)
    assert cancellations == [1]
    greenlet.kill(Stop, block=False)
    greenlet.join()
    assert isinstance(greenlet.exception, Stop)
    assert cancellations == [1, 1]


def test_spawn_gives_a_greenlet():
    greenlet = aio.spawn(give(7))
    assert isinstance(greenlet, gevent.Greenlet)
    assert greenlet.get() == 7


def test_spawn_passes_an_error_on():
    greenlet = aio.spawn(fail(KeyError("x")))
    with pytest.raises(KeyError):
        greenlet.get()


def test_a_spawned_coroutine_is_cancelled_by_a_kill():
    coroutine = Endless()
    greenlet = aio.spawn(coroutine())
    until(lambda: coroutine.began)
    greenlet.kill()
    assert coroutine.cleaned_up


def test_a_kill_before_the_beginning_cancels_too(recwarn):
    coroutine = Endless()
    greenlet = aio.spawn(coroutine())
    greenlet.kill()
    gevent.sleep(0.001)
    assert not coroutine.began
    assert not asyncio.all_tasks(aio.loop())
    gc.collect()
    assert not recwarn.list


def test_a_task_gets_a_copy_of_the_callers_context():
    async def read_and_write():
        found.append(variable.get())
        variable.set("task")

    found = []
    token = variable.set("caller")
    try:
        aio.run(read_and_write())
        aio.spawn(read_and_write()).join()
        assert variable.get() == "caller"
    finally:
        variable.reset(token)
    assert found == ["caller", "caller"]


def test_an_error_leaves_no_reference_cycle():
    class Marked(Exception):
        pass

    async def fail_marked():
        await asyncio.sleep(0)
        raise Marked

    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            with pytest.raises(Marked):
                aio.run(fail_marked())
        assert sum(isinstance(each, Marked) for each in gc.get_objects()) == 0
    finally:
        gc.enable()


def test_a_task_factory_of_the_shared_loop():
    def factory(loop, coroutine, **kwargs):
        made.append(loop)
        return asyncio.Task(coroutine, loop=loop, **kwargs)

    made = []
    loop = aio.loop()
    loop.set_task_factory(factory)
    try:
        assert aio.run(give(1)) == 1
    finally:
        loop.set_task_factory(None)
    assert made == [loop]


@pytest.mark.skipif(
    not hasattr(asyncio, "eager_task_factory"), reason="tasks are eager since Python 3.12"
)
def test_eager_tasks_of_the_shared_loop():
    async def main(blocks):
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        if blocks:
            gevent.sleep(0.001)
            assert asyncio.get_running_loop() is loop
            assert asyncio.current_task() is task
        await asyncio.sleep(0.001)
        return loop is asyncio.get_running_loop() and task is asyncio.current_task()

    async def nothing():
        return "done"

    loop = aio.loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    try:
        greenlets = [gevent.spawn(aio.run, main(number % 2)) for number in range(4)]
        assert [greenlet.get() for greenlet in greenlets] == [True] * 4
        assert aio.run(nothing()) == "done"
        assert asyncio._get_running_loop() is None
    finally:
        loop.set_task_factory(None)


@pytest.mark.skipif(
    sys.version_info < (3, 14), reason="a task is eager by itself since Python 3.14"
)
def test_a_task_of_the_shared_loop_that_is_eager_by_itself():
    async def main():
        begun.append(asyncio.get_running_loop())
        await asyncio.sleep(0.001)
        return asyncio.get_running_loop()

    begun = []
    task = aio.loop().create_task(main(), eager_start=True)
    assert begun == [aio.loop()]
    assert aio.run(task) is aio.loop()
