"""gevent.aio with the cancel scopes and task groups of gevent, and with those of asyncio."""

import asyncio

import pytest
from conditions import until

import gevent
from gevent import aio


class Endless:
    """A coroutine function, or one for greenlets, that cleans up when it is ended."""

    def __init__(self):
        self.began = self.cleaned_up = False

    async def coroutine(self):
        try:
            self.began = True
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.005)
            self.cleaned_up = True

    def greenlet(self):
        try:
            self.began = True
            gevent.sleep(60)
        finally:
            gevent.sleep(0.005)
            self.cleaned_up = True


async def fail():
    await asyncio.sleep(0.002)
    raise ValueError("x")


def test_a_scope_ends_a_coroutine_and_waits_for_its_clean_up():
    work = Endless()
    with gevent.move_on_after(0.3) as scope:
        aio.run(work.coroutine())
    assert scope.cancelled_caught
    assert work.cleaned_up


def test_a_deadline_that_is_an_error():
    work = Endless()
    with pytest.raises(TimeoutError), gevent.fail_after(0.3):
        aio.run(work.coroutine())
    assert work.cleaned_up


def test_a_scope_that_another_greenlet_cancels():
    work = Endless()
    with gevent.CancelScope() as scope:
        gevent.spawn(lambda: (until(lambda: work.began), scope.cancel()))
        aio.run(work.coroutine())
    assert work.cleaned_up


def test_the_inner_scope_is_left_alone():
    work = Endless()
    with gevent.move_on_after(0.3) as outer:
        with gevent.move_on_after(60) as inner:
            aio.run(work.coroutine())
        raise AssertionError
    assert (outer.cancelled_caught, inner.cancelled_caught) == (True, False)
    assert work.cleaned_up


def test_a_shield_puts_off_the_end():
    async def give():
        await asyncio.sleep(0.01)
        return "given"

    found = []
    with gevent.move_on_after(0.002) as scope:
        with gevent.CancelScope(shield=True):
            found.append(aio.run(give()))
        gevent.sleep(60)
    assert scope.cancelled_caught
    assert found == ["given"]


def test_a_group_of_greenlets_that_run_coroutines():
    def use_group():
        with gevent.TaskGroup() as group:
            group.spawn(aio.run, work.coroutine())
            group.spawn(aio.run, fail())

    work = Endless()
    with pytest.raises(ExceptionGroup) as caught:
        use_group()
    assert isinstance(caught.value.exceptions[0], ValueError)
    assert work.cleaned_up


def test_a_group_in_a_greenlet_that_a_coroutine_awaits():
    def use_group():
        with gevent.TaskGroup() as group:
            group.spawn(works[0].greenlet)
            group.spawn(aio.run, works[1].coroutine())

    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await aio.to_greenlet(use_group)

    works = Endless(), Endless()
    aio.run(main())
    assert [work.began for work in works] == [True, True]
    assert [work.cleaned_up for work in works] == [True, True]


def test_a_group_of_asyncio_holds_greenlets():
    async def use_group():
        async with asyncio.TaskGroup() as group:
            group.create_task(aio.to_greenlet(work.greenlet))
            group.create_task(fail())

    work = Endless()
    with pytest.raises(ExceptionGroup) as caught:
        aio.run(use_group())
    assert isinstance(caught.value.exceptions[0], ValueError)
    assert work.cleaned_up


def test_a_greenlet_that_its_group_ends_is_a_cancellation():
    async def main():
        greenlet = None

        def use_group():
            nonlocal greenlet
            with gevent.TaskGroup() as group:
                greenlet = group.spawn(gevent.sleep, 60)
                gevent.sleep(0.002)
                group.cancel()

        task = asyncio.create_task(aio.to_greenlet(use_group))
        while greenlet is None:
            await asyncio.sleep(0.001)
        with pytest.raises(asyncio.CancelledError):
            await greenlet
        await task

    aio.run(main())
