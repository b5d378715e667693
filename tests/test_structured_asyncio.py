"""Scopes and groups beside gevent.aio: a coroutine ends with the block that waits for it."""

import asyncio

import pytest

import gevent
from gevent import aio

FOR_EVER = 30


@pytest.fixture(autouse=True)
def end_loop():
    yield
    aio.loop().close()


class Coroutine:
    """Waits, and notes how that ended."""

    def __init__(self):
        self.ended = None

    async def wait(self):
        try:
            await asyncio.sleep(FOR_EVER)
        except BaseException as error:
            self.ended = type(error)
            await asyncio.sleep(0)
            raise


def test_a_deadline_cancels_the_coroutine():
    coroutine = Coroutine()
    with gevent.move_on_after(0.005) as scope:
        aio.run(coroutine.wait())
    assert scope.cancelled_caught
    gevent.sleep(0.005)
    assert coroutine.ended is asyncio.CancelledError


def test_fail_after():
    with pytest.raises(TimeoutError), gevent.fail_after(0.005):
        aio.run(Coroutine().wait())


def test_a_group_cancels_the_coroutines_of_its_children():
    coroutines = [Coroutine(), Coroutine()]
    with pytest.raises(ExceptionGroup) as caught:
        run_beside_a_failure(coroutines)
    assert [type(error) for error in caught.value.exceptions] == [ZeroDivisionError]
    gevent.sleep(0.005)
    assert [coroutine.ended for coroutine in coroutines] == [asyncio.CancelledError] * 2


def run_beside_a_failure(coroutines):
    with gevent.TaskGroup() as group:
        for coroutine in coroutines:
            group.spawn(aio.run, coroutine.wait())
        gevent.sleep(0.005)
        raise ZeroDivisionError


def test_a_shield_around_a_coroutine():
    ended = []

    async def finish():
        await asyncio.sleep(0.01)
        return "finished"

    def victim():
        with gevent.CancelScope(shield=True):
            ended.append(aio.run(finish()))

    greenlet = gevent.spawn(victim)
    gevent.sleep(0.002)
    greenlet.kill()
    assert ended == ["finished"]


def test_a_task_group_of_asyncio_holds_greenlets():
    ended = []

    def patient():
        try:
            gevent.sleep(FOR_EVER)
        except gevent.GreenletExit:
            ended.append("killed")
            raise

    async def main():
        async with asyncio.TaskGroup() as group:
            group.create_task(wrapped(patient))
            await asyncio.sleep(0.005)
            raise ZeroDivisionError

    async def wrapped(function):
        await aio.to_greenlet(function)

    with pytest.raises(ExceptionGroup):
        aio.run(main())
    gevent.sleep(0.005)
    assert ended == ["killed"]
