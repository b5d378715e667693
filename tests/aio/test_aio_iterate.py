"""gevent.aio.iterate: asynchronous iterators for greenlets."""

import asyncio
import contextvars
import gc

import pytest
from conditions import until

import gevent
from gevent import aio
from gevent.exceptions import ConcurrentObjectUseError

variable = contextvars.ContextVar("variable", default="unset")


class Numbers:
    """An asynchronous generator that notes how far it came, and how it ended."""

    def __init__(self, count=3, last=None):
        self.count = count
        self.last = last
        self.asked = 0
        self.ended = None

    async def __aiter__(self):
        try:
            for number in range(self.count):
                self.asked += 1
                await asyncio.sleep(0.001)
                yield number
            if self.last is not None:
                raise self.last
            self.ended = "itself"
        except BaseException as error:
            self.ended = type(error)
            raise
        finally:
            await asyncio.sleep(0.001)


def test_all_items():
    numbers = Numbers()
    assert list(aio.iterate(numbers)) == [0, 1, 2]
    assert numbers.ended == "itself"


def test_nothing_is_asked_for_ahead():
    numbers = Numbers()
    items = aio.iterate(numbers)
    gevent.sleep(0.005)
    assert numbers.asked == 0
    assert next(items) == 0
    gevent.sleep(0.005)
    assert numbers.asked == 1
    items.close()


def test_the_end_is_final():
    items = aio.iterate(Numbers(1))
    assert next(items) == 0
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(items)


def test_an_iterator_that_is_no_generator():
    class Iterator:
        left = 3

        def __aiter__(self):
            return self

        async def __anext__(self):
            if not self.left:
                raise StopAsyncIteration
            self.left -= 1
            return self.left

    assert list(aio.iterate(Iterator())) == [2, 1, 0]


def test_an_error_comes_after_the_items_and_ends_it():
    items = aio.iterate(Numbers(2, KeyError("x")))
    assert [next(items), next(items)] == [0, 1]
    with pytest.raises(KeyError):
        next(items)
    with pytest.raises(StopIteration):
        next(items)


def test_a_block_that_is_left_waits_for_the_clean_up():
    numbers = Numbers()
    with aio.iterate(numbers) as items:
        assert next(items) == 0
    assert numbers.ended is GeneratorExit
    with pytest.raises(StopIteration):
        next(items)
    items.close()


def test_a_block_that_was_not_begun():
    numbers = Numbers()
    with aio.iterate(numbers):
        pass
    assert numbers.asked == 0


def test_what_is_forgotten_is_cleaned_up():
    numbers = Numbers()
    for _ in aio.iterate(numbers):
        break
    until(lambda: numbers.ended is GeneratorExit)


def test_a_kill_in_a_step_waits_for_the_clean_up():
    class Stuck(Numbers):
        async def __aiter__(self):
            try:
                self.asked += 1
                await asyncio.sleep(60)
                yield
            finally:
                await asyncio.sleep(0.005)
                self.ended = True

    numbers = Stuck()
    greenlet = gevent.spawn(list, aio.iterate(numbers))
    until(lambda: numbers.asked)
    greenlet.kill()
    assert numbers.ended
    numbers = Stuck()
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.3):
        list(aio.iterate(numbers))
    assert numbers.ended


def cancel_all():
    for task in asyncio.all_tasks(aio.loop()):
        task.cancel()


def test_a_task_that_was_cancelled_before_its_first_step():
    numbers = Numbers()
    items = aio.iterate(numbers)
    cancel_all()
    with gevent.Timeout(20), pytest.raises(asyncio.CancelledError):
        next(items)
    assert list(items) == []
    assert numbers.asked == 0


def test_a_task_that_was_cancelled_between_two_steps():
    numbers = Numbers()
    items = aio.iterate(numbers)
    assert next(items) == 0
    cancel_all()
    until(lambda: numbers.ended is GeneratorExit)
    with gevent.Timeout(20), pytest.raises(asyncio.CancelledError):
        next(items)
    assert list(items) == []


def test_all_steps_are_one_task_in_a_copy_of_the_context():
    async def tasks():
        async with asyncio.timeout(60):
            for _ in range(3):
                found.append(variable.get())
                variable.set("generator")
                yield asyncio.current_task()

    found = []
    token = variable.set("caller")
    try:
        assert len(set(aio.iterate(tasks()))) == 1
        assert variable.get() == "caller"
    finally:
        variable.reset(token)
    assert found == ["caller", "generator", "generator"]


def test_two_greenlets_at_one_iterator():
    items = aio.iterate(Numbers())
    first = gevent.spawn(next, items)
    gevent.sleep(0)
    with pytest.raises(ConcurrentObjectUseError):
        next(items)
    assert first.get() == 0
    assert list(items) == [1, 2]


def test_an_iterator_in_a_coroutine_of_the_loop_is_refused():
    async def main():
        items = aio.iterate(Numbers())
        with pytest.raises(RuntimeError, match="await"):
            next(items)

    aio.run(main())


@pytest.mark.parametrize("what", [[1], None, Numbers])
def test_what_is_not_asynchronous_is_refused(what):
    if what is Numbers:
        what = aio.loop().create_future()
    with pytest.raises(TypeError, match="asynchronous iterable"):
        aio.iterate(what)


def test_nothing_is_left():
    for _ in range(3):
        for _ in aio.iterate(Numbers()):
            break
        list(aio.iterate(Numbers()))
    gc.collect()
    until(lambda: not asyncio.all_tasks(aio.loop()))
