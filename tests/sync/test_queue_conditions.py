"""The mutex and the conditions of a queue, which programs written for the standard library use."""

import pytest

import gevent
from gevent.queue import LifoQueue, PriorityQueue, Queue

KINDS = [Queue, LifoQueue, PriorityQueue]


def wait_for(condition, holds):
    with condition:
        while not holds():
            assert condition.wait(20)
    return True


@pytest.mark.parametrize("kind", KINDS)
def test_they_are_the_same_each_time(kind):
    queue = kind(3)
    assert queue.mutex is queue.mutex
    assert queue.not_empty is queue.not_empty
    with queue.not_full, pytest.raises(AssertionError):
        assert queue.mutex.acquire(False)
    with queue.mutex:
        queue.queue.clear()
    assert queue.qsize() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_queue_does_wakes_those_who_wait_at_them(kind):
    queue = kind(1)
    filled = gevent.spawn(wait_for, queue.not_empty, lambda: queue.qsize() == 1)
    gevent.sleep(0)
    queue.put(1)
    assert filled.get(timeout=20)
    emptied = gevent.spawn(wait_for, queue.not_full, lambda: queue.qsize() == 0)
    gevent.sleep(0)
    assert queue.get() == 1
    assert emptied.get(timeout=20)
    done = gevent.spawn(wait_for, queue.all_tasks_done, lambda: queue.unfinished_tasks == 0)
    gevent.sleep(0)
    queue.task_done()
    assert done.get(timeout=20)


@pytest.mark.parametrize("kind", KINDS)
def test_notifying_them_wakes_those_who_wait_in_the_queue(kind):
    queue = kind(1)
    queue.put(1)
    putter = gevent.spawn(queue.put, 2)
    gevent.sleep(0)
    with queue.mutex:
        queue.queue.clear()
        queue.not_full.notify()
    putter.get(timeout=20)
    assert queue.get_nowait() == 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_queue_is_emptied_under_its_mutex(kind):
    queue = kind()
    for item in range(3):
        queue.put(item)
    joiner = gevent.spawn(queue.join)
    gevent.sleep(0)
    with queue.mutex:
        queue.queue.clear()
        queue.unfinished_tasks = 0
        queue.all_tasks_done.notify_all()
    joiner.get(timeout=20)
    with queue.mutex:
        queue.unfinished_tasks += 1
    assert queue.unfinished_tasks == 1
    queue.task_done()
    queue.join()


def test_a_queue_goes_on_as_before_once_they_exist():
    queue = Queue(2)
    assert queue.not_empty
    getter = gevent.spawn(lambda: [queue.get(timeout=20) for _ in range(50)])
    for item in range(50):
        queue.put(item, timeout=20)
    assert getter.get(timeout=20) == list(range(50))
