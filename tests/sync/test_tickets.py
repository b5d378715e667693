"""A notified waiter that leaves takes out nobody else, though its object was emptied since."""

import gevent
from gevent.event import AsyncResult
from gevent.queue import JoinableQueue


def test_a_waiter_of_a_result_leaves_a_later_link_alone():
    result, called = AsyncResult(), []
    waiter = gevent.spawn(result.get)
    gevent.sleep(0)
    result.set("value")
    # The waiter is ready and has not run; the result has nobody else to notify.
    result.rawlink(called.append)
    gevent.sleep(0)
    gevent.sleep(0)
    assert waiter.get() == "value"
    assert called == [result]


def test_a_joiner_of_a_greenlet_leaves_a_later_link_alone():
    called = []
    worker = gevent.spawn(lambda: None)
    joiner = gevent.spawn(worker.join)
    gevent.spawn(lambda: worker.rawlink(called.append))
    gevent.joinall([worker, joiner])
    gevent.sleep(0)
    assert called == [worker]


def test_a_joiner_of_a_queue_leaves_a_later_one_alone():
    queue = JoinableQueue()
    queue.put("item")
    first = gevent.spawn(queue.join)
    gevent.sleep(0)
    queue.get()
    queue.task_done()
    queue.put("another")
    second = gevent.spawn(queue.join)
    gevent.sleep(0)
    assert first.dead
    assert not second.dead
    queue.get()
    queue.task_done()
    second.get(timeout=20)
