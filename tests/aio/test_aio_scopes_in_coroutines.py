"""Cancel scopes and task groups of gevent that are entered in a coroutine."""

# The block of a group or a scope, as a whole, is what raises.
# ruff: noqa: PT012

import asyncio
import sys
import threading
import time

import pytest
from conditions import until

import gevent
from gevent import CancelScope, TaskGroup, aio, fail_after, move_on_after

#: Longer than any test may take.
FOR_EVER = 60


def run_in_own_loop(coroutine):
    with asyncio.Runner(loop_factory=aio.EventLoop) as runner:
        return runner.run(coroutine)


@pytest.fixture(params=[aio.run, run_in_own_loop], ids=["shared", "own"])
def run(request):
    """Runs a coroutine, and checks that nothing is left of the cancellations in it."""

    async def checked(coroutine):
        result = await coroutine
        assert asyncio.current_task().cancelling() == 0
        # A cancellation that came late would come here.
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        return result

    return lambda coroutine: request.param(checked(coroutine))


def test_a_deadline_cancels_what_the_coroutine_awaits(run):
    async def main():
        with move_on_after(0.001) as scope:
            await asyncio.sleep(FOR_EVER)
            pytest.fail("not cancelled")
        return scope.cancelled_caught

    assert run(main())


def test_a_deadline_that_is_an_error(run):
    async def main():
        with pytest.raises(TimeoutError, match=r"within 0\.001 s") as caught, fail_after(0.001):
            await asyncio.sleep(FOR_EVER)
        return caught.value.__cause__

    cause = run(main())
    assert isinstance(cause, asyncio.CancelledError)
    assert "cancelled by <CancelScope" in str(cause)


def test_each_task_has_its_own_scopes(run):
    async def wait(seconds, limit):
        with move_on_after(FOR_EVER), move_on_after(limit) as scope:
            await asyncio.sleep(seconds)
        await asyncio.sleep(0)
        return scope.cancelled_caught

    async def main():
        waits = [(0.001, FOR_EVER), (FOR_EVER, 0.001), (0, FOR_EVER), (FOR_EVER, 0)]
        return await asyncio.gather(*(wait(*each) for each in waits * 5))

    assert run(main()) == [False, True, False, True] * 5


def test_nested_scopes(run):
    async def main():
        with move_on_after(0.001) as outer, move_on_after(FOR_EVER) as inner:
            await asyncio.sleep(FOR_EVER)
        assert (outer.cancelled_caught, inner.cancelled_caught) == (True, False)
        with move_on_after(FOR_EVER) as outer:
            with move_on_after(0.001) as inner:
                await asyncio.sleep(FOR_EVER)
            await asyncio.sleep(0)
        assert (outer.cancelled_caught, inner.cancelled_caught) == (False, True)

    run(main())


def test_both_deadlines_pass_at_once(run):
    async def main():
        deadline = time.monotonic() + 0.001
        with CancelScope(deadline) as outer:
            with CancelScope(deadline):
                await asyncio.sleep(FOR_EVER)
            await asyncio.sleep(FOR_EVER)
        return outer.cancelled_caught

    assert run(main())


def test_scopes_and_timeouts_of_asyncio(run):
    async def main():
        with move_on_after(0.001) as scope:
            async with asyncio.timeout(FOR_EVER):
                await asyncio.sleep(FOR_EVER)
        assert scope.cancelled_caught
        with move_on_after(FOR_EVER) as scope, pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await asyncio.sleep(FOR_EVER)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                with move_on_after(FOR_EVER) as scope:
                    await asyncio.sleep(FOR_EVER)
        assert not scope.cancelled_caught
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                with move_on_after(0.001):
                    await asyncio.sleep(FOR_EVER)
                await asyncio.sleep(FOR_EVER)

    run(main())


def test_a_scope_around_a_group_of_asyncio(run):
    cleaned_up = []

    async def child():
        try:
            await asyncio.sleep(FOR_EVER)
        finally:
            await asyncio.sleep(0.001)
            cleaned_up.append(1)

    async def main():
        with move_on_after(0.01) as scope:
            async with asyncio.TaskGroup() as group:
                group.create_task(child())
                await asyncio.sleep(0)
                group.create_task(aio.to_greenlet(gevent.sleep, FOR_EVER))
        return scope.cancelled_caught

    assert run(main())
    assert cleaned_up == [1]


def test_a_cancellation_of_the_task_passes_through(run):
    scopes = []

    async def wait():
        with CancelScope() as scope:
            scopes.append(scope)
            await asyncio.sleep(FOR_EVER)
        pytest.fail("the cancellation is lost")

    async def main(by_scope_too):
        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        if by_scope_too:
            scopes[-1].cancel()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main(False))
    run(main(True))


def test_a_swallowed_cancellation_does_not_come_again(run):
    async def main():
        with move_on_after(0.001) as scope:
            with pytest.raises(asyncio.CancelledError):
                await asyncio.sleep(FOR_EVER)
            await asyncio.sleep(0.001)
        assert scope.cancel_called
        assert not scope.cancelled_caught

    run(main())


def test_a_block_that_ends_before_it_awaits(run):
    async def main():
        with CancelScope() as scope:
            scope.cancel()
        await asyncio.sleep(0.001)
        assert not scope.cancelled_caught
        with move_on_after(0.001):
            time.sleep(0.002)
        await asyncio.sleep(0.001)

    run(main())


def test_a_shield(run):
    order = []

    async def main():
        with CancelScope() as scope:
            with CancelScope(shield=True):
                scope.cancel()
                await asyncio.sleep(0.001)
                order.append("shielded")
            order.append("never")
        return scope.cancelled_caught

    assert run(main())
    assert order == ["shielded"]


def test_a_shield_is_for_its_own_task(run):
    async def shielded(begun, end):
        with CancelScope(shield=True):
            begun.set()
            await end.wait()

    async def main():
        begun, end = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(shielded(begun, end))
        with CancelScope() as scope:
            await begun.wait()
            scope.cancel()
            await asyncio.sleep(FOR_EVER)
        end.set()
        await task
        return scope.cancelled_caught

    assert run(main())


def test_a_call_that_blocks_the_greenlet(run):
    async def main():
        with move_on_after(0.001) as scope:
            with pytest.raises(gevent.Cancelled) as caught:
                gevent.sleep(FOR_EVER)
            raise caught.value
        assert scope.cancelled_caught
        with TaskGroup() as group:
            child = group.spawn(lambda: 5)
        assert child.value == 5

    run(main())


def test_cancelled_by_another_thread(run):
    async def main():
        with CancelScope() as scope:
            thread = threading.Timer(0.001, scope.cancel)
            thread.start()
            await asyncio.sleep(FOR_EVER)
        thread.join()
        return scope.cancelled_caught

    assert run(main())


def test_a_scope_around_the_loop(run):
    scope = CancelScope()
    ended = []

    async def main():
        with move_on_after(FOR_EVER):
            gevent.spawn(scope.cancel)
            try:
                await asyncio.sleep(FOR_EVER)
            finally:
                ended.append(1)

    with scope:
        run(main())
    assert scope.cancelled_caught
    assert ended == [1]


def test_a_failing_child_of_a_group_cancels_the_coroutine(run):
    ended = []

    def child():
        try:
            gevent.sleep(FOR_EVER)
        finally:
            ended.append("child")

    def fail():
        raise ZeroDivisionError

    async def main():
        with pytest.raises(ExceptionGroup) as caught, TaskGroup() as group:
            group.spawn(child)
            await asyncio.sleep(0.001)
            group.spawn(fail)
            await asyncio.sleep(FOR_EVER)
            pytest.fail("not cancelled")
        return [type(error) for error in caught.value.exceptions]

    assert run(main()) == [ZeroDivisionError]
    assert ended == ["child"]


def test_a_cancellation_of_the_task_ends_its_group(run):
    begun, ended = [], []

    def child():
        begun.append(1)
        try:
            gevent.sleep(FOR_EVER)
        finally:
            ended.append("child")

    async def host():
        with TaskGroup() as group:
            group.spawn(child)
            await asyncio.sleep(FOR_EVER)

    async def main():
        task = asyncio.create_task(host())
        while not begun:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())
    assert ended == ["child"]


@pytest.mark.parametrize("by_task", [False, True])
def test_errors_that_a_cancellation_hides_are_reported(run, printed, by_task):
    begun = []

    def child():
        begun.append(1)
        try:
            gevent.sleep(FOR_EVER)
        finally:
            raise KeyError("hidden")

    async def host(scope):
        with scope, TaskGroup() as group:
            group.spawn(child)
            await asyncio.sleep(FOR_EVER)

    async def main():
        scope = CancelScope()
        task = asyncio.create_task(host(scope))
        while not begun:
            await asyncio.sleep(0.001)
        (task if by_task else scope).cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert run(main()) == by_task
    assert "KeyError: 'hidden'" in printed.getvalue()


def test_leaving_a_scope_in_another_task(run):
    async def main():
        scope = CancelScope()

        async def enter():
            scope.__enter__()
            await left.wait()
            scope.__exit__(None, None, None)

        async def leave():
            with pytest.raises(
                RuntimeError, match=r"is left by <Task .* but was entered by <Task "
            ):
                scope.__exit__(None, None, None)

        left = asyncio.Event()
        task = asyncio.create_task(enter())
        await asyncio.sleep(0)
        await asyncio.create_task(leave())
        left.set()
        await task

    run(main())


def test_leaving_scopes_in_the_wrong_order(run):
    async def main():
        outer, inner = CancelScope(), CancelScope()
        outer.__enter__()
        inner.__enter__()
        with pytest.raises(RuntimeError, match="is left before"):
            outer.__exit__(None, None, None)

    run(main())


def test_other_tasks_of_the_shared_loop_go_on():
    """The exception of a scope in a coroutine is not raised in the greenlet of the loop."""

    async def other():
        await until_cancelled.wait()
        return "done"

    async def main():
        with move_on_after(0.001):
            await asyncio.sleep(FOR_EVER)
        until_cancelled.set()

    until_cancelled = asyncio.Event()
    greenlet = aio.spawn(other())
    gevent.sleep(0)
    aio.run(main())
    assert greenlet.get() == "done"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="CPython 3.12 brought eager tasks")
def test_eager_tasks():
    """They take their first step in the greenlet that makes them, and the others in the loop's."""

    async def wait(seconds, limit):
        with move_on_after(limit) as scope:
            await asyncio.sleep(seconds)
        return scope.cancelled_caught

    async def block():
        with CancelScope() as scope:
            gevent.spawn(scope.cancel)
            # The loop tries to cancel the task meanwhile.
            until(lambda: scope.cancel_called)
            gevent.sleep(0.02)
            await asyncio.sleep(FOR_EVER)
        return scope.cancelled_caught

    async def gather():
        tasks = [asyncio.create_task(wait(*each)) for each in [(0, FOR_EVER), (FOR_EVER, 0.001)]]
        return await asyncio.gather(*tasks)

    loop = aio.loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    try:
        assert aio.run(gather()) == [False, True]
        assert aio.run(wait(FOR_EVER, 0.001))
        assert aio.run(block())
    finally:
        loop.set_task_factory(None)


def test_asyncio_in_a_patched_process(output_of):
    code = """
        from gevent import monkey; monkey.patch_all()
        import asyncio, gevent
        async def wait(seconds, limit):
            with gevent.move_on_after(limit) as scope:
                await asyncio.sleep(seconds)
            return scope.cancelled_caught
        async def main():
            return await asyncio.gather(wait(60, 0.001), wait(0, 60))
        print(asyncio.run(main()))
        """
    assert output_of(code) == "[True, False]\n"
