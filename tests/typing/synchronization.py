"""Queues, results, events, locks and timeouts."""

from __future__ import annotations

from contextlib import suppress
from typing import assert_type

import gevent
from gevent.event import AsyncResult, Event
from gevent.lock import BoundedSemaphore, RLock, Semaphore
from gevent.queue import Channel, Empty, JoinableQueue, LifoQueue, PriorityQueue, Queue, SimpleQueue


def queues() -> None:
    queue: Queue[int] = Queue(maxsize=10)
    queue.put(1)
    queue.put(2, timeout=0.5)
    assert_type(queue.get(), int)
    assert_type(queue.get(block=False), int)
    assert_type(queue.peek_nowait(), int)
    assert_type(queue.qsize(), int)
    assert_type(list(queue), list[int])
    queue.put("x")  # E: an item is a number
    queue.put_nowait(None)  # E: an item is a number
    queue.get(timeout="1")  # E: seconds are a number
    text: str = queue.get()  # E: an item is a number
    print(text)
    queue.push(3)  # E: it is called put()

    ordered = PriorityQueue(items=[(1, "a"), (2, "b")])
    assert_type(ordered.get(), tuple[int, str])
    ordered.put((1, 2))  # E: the second is text
    stack: LifoQueue[str] = LifoQueue()
    stack.put(b"")  # E: an item is text
    simple: SimpleQueue[bytes] = SimpleQueue()
    assert_type(simple.get(), bytes)
    tasks: JoinableQueue[str] = JoinableQueue()
    tasks.put("task")
    tasks.task_done()
    assert_type(tasks.join(timeout=1), bool)
    Queue(maxsize="10")  # E: a size is a number
    channel: Channel[float] = Channel()
    channel.put(0.5)
    channel.put("half")  # E: an item is a number
    with suppress(Empty):
        stack.get_nowait()


def consume(queue: Queue[bytes]) -> None:
    print(queue.get().decode())


def hand_over() -> None:
    consume(Queue())
    numbers: Queue[int] = Queue()
    consume(numbers)  # E: its items are no bytes
    gevent.spawn(consume, numbers)  # E: its items are no bytes


def results() -> None:
    result: AsyncResult[int] = AsyncResult()
    result.set(1)
    assert_type(result.get(), int)
    assert_type(result.wait(timeout=1), int | None)
    assert_type(result.value, int | None)
    result.set("one")  # E: the result is a number
    result.set()  # E: None is no number
    result.set_exception(ValueError("no"))
    result.set_exception("no")  # E: text is no exception
    result.get(timeout=[])  # E: seconds are a number
    done: AsyncResult[None] = AsyncResult()
    done.set()
    job = gevent.spawn(int, "1")
    job.link(result)
    result.rawlink(lambda same: print(same.get()))
    result.rawlink(1)  # E: a number cannot be called


def events(event: Event) -> None:
    assert_type(event.wait(timeout=0.5), bool)
    event.wait("0.5")  # E: seconds are a number
    event.set(True)  # E: it takes nothing
    ready = gevent.wait([event, AsyncResult[int]()], count=1)
    print(len(ready))


def locks() -> None:
    semaphore = Semaphore(2)
    with semaphore:
        pass
    assert_type(semaphore.acquire(blocking=False), bool)
    assert_type(semaphore.wait(timeout=1), int)
    Semaphore("2")  # E: a value is a number
    BoundedSemaphore(1).release(1)  # E: it takes nothing
    with RLock() as held:
        assert_type(held, bool)
    RLock().acquire(timeout="1")  # E: seconds are a number


def slow(n: int) -> str:
    return str(n)


def timeouts() -> str:
    assert_type(gevent.with_timeout(1, slow, 2), str)
    assert_type(gevent.with_timeout(1, slow, 2, timeout_value=None), str | None)
    gevent.with_timeout(1, slow, "2")  # E: the argument is a number
    gevent.with_timeout("1", slow, 2)  # E: seconds are a number
    gevent.Timeout(1, exception=5)  # E: what is raised is an exception
    timeout = gevent.Timeout.start_new(1, TimeoutError)
    timeout.stop()  # E: it is called close()
    with gevent.Timeout(5) as limit:
        assert_type(limit.seconds, float | None)
        return slow(1)
