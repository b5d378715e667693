"""Groups, pools, native threads and executors."""

from __future__ import annotations

from typing import assert_type

import gevent
from gevent.event import AsyncResult
from gevent.pool import Group, Pool
from gevent.threadpool import ThreadPool, ThreadPoolExecutor


def measure(text: str) -> int:
    return len(text)


def repeat(text: str, times: int) -> str:
    return text * times


def of_greenlets() -> None:
    pool = Pool(10)
    assert_type(pool.spawn(measure, "text"), gevent.Greenlet[..., int])
    assert_type(pool.map(measure, ["a", "b"]), list[int])
    assert_type(pool.apply(measure, ("a",)), int)
    assert_type(pool.apply_async(measure, ("a",)), gevent.Greenlet[..., int])
    assert_type(pool.map_async(measure, ["a"]).get(), list[int])
    assert_type(pool.free_count(), int)
    for size in pool.imap_unordered(measure, ["a", "b"], maxsize=2):
        assert_type(size, int)
    for text in pool.imap(repeat, ["a", "b"], [1, 2]):
        assert_type(text, str)
    pool.spawn(measure, 1)  # E: it measures text
    pool.spawn(measure)  # E: without a text
    pool.map(measure, [1, 2])  # E: it measures text
    pool.map(measure)  # E: over nothing
    pool.imap(measure, [b"a"])  # E: it measures text
    pool.imap(repeat, ["a"], ["b"])  # E: times are a number
    pool.apply_async(measure, ("a",), callback=measure)  # E: the callback gets a number
    pool.join(timeout="1")  # E: seconds are a number
    Pool("10")  # E: a size is a number
    group = Group()
    group.add(gevent.spawn(measure, "text"))
    group.add(measure)  # E: a function is no greenlet
    assert_type(group.join(timeout=1), bool)
    sizes: list[str] = group.map(measure, ["a"])  # E: sizes are numbers
    print(sizes)


def of_threads() -> None:
    threads = ThreadPool(4)
    assert_type(threads.spawn(measure, "text"), AsyncResult[int])
    assert_type(threads.apply(repeat, ("a", 2)), str)
    assert_type(threads.map(measure, ["a"]), list[int])
    threads.spawn(measure, 1)  # E: it measures text
    ThreadPool("4")  # E: a size is a number
    with ThreadPoolExecutor(4) as executor:
        future = executor.submit(measure, "text")
        assert_type(future.result(timeout=1), int)
        executor.submit(repeat, "text")  # E: times are missing
        future.result(timeout="1")  # E: seconds are a number
