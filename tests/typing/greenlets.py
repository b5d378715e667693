"""Spawning, waiting for what was spawned, and classes of greenlets."""

from __future__ import annotations

from typing import Any, assert_type

from greenlet import greenlet as RawGreenlet

import gevent


def fetch(url: str, tries: int = 1) -> bytes:
    return url.encode() * tries


def spawning() -> None:
    job = gevent.spawn(fetch, "http://localhost/", tries=2)
    assert_type(job, gevent.Greenlet[..., bytes])
    assert_type(job.get(), bytes)
    assert_type(job.get(timeout=0.5), bytes)
    assert_type(job.value, bytes | None)
    assert_type(job.exception, BaseException | None)
    assert_type(job.ready(), bool)
    gevent.spawn(fetch, 1)  # E: a URL is text
    gevent.spawn(fetch, "http://localhost/", retries=2)  # E: there is no such parameter
    gevent.spawn(fetch)  # E: no URL
    gevent.spawn("fetch")  # E: text cannot be called
    job.get(timeout="1")  # E: seconds are a number
    job.value = b""  # E: a result cannot be set
    job.result()  # E: it is called get()

    later = gevent.spawn_later(0.5, fetch, "http://localhost/")
    assert_type(later, gevent.Greenlet[..., bytes])
    gevent.spawn_later("soon", fetch, "http://localhost/")  # E: seconds are a number
    gevent.spawn_later(0.5, fetch, b"http://localhost/")  # E: a URL is text
    assert_type(gevent.spawn_raw(fetch, "http://localhost/"), RawGreenlet)
    gevent.spawn_raw(fetch, None)  # E: a URL is text

    assert_type(gevent.Greenlet.spawn(fetch, "http://localhost/"), gevent.Greenlet[..., bytes])
    gevent.Greenlet.spawn(fetch, 1)  # E: a URL is text
    unborn = gevent.Greenlet(fetch, "http://localhost/", tries=3)
    unborn.start()
    assert_type(unborn.get(), bytes)
    gevent.Greenlet(fetch, tries="3")  # E: no URL, and a number of tries that is text


def waiting(jobs: list[gevent.Greenlet[..., bytes]], other: gevent.Greenlet[..., str]) -> None:
    over = gevent.joinall(jobs, timeout=1, raise_error=True)
    assert_type(over, list[gevent.Greenlet[..., bytes]])
    assert_type(gevent.wait(jobs), list[gevent.Greenlet[..., bytes]])
    assert_type(gevent.wait(timeout=0.1), bool)
    with gevent.iwait(jobs) as ready:
        for job in ready:
            assert_type(job.get(), bytes)
    jobs.append(other)  # E: its result is text
    gevent.joinall(other)  # E: one greenlet is not many
    gevent.joinall([fetch])  # E: a function cannot be waited for
    gevent.wait([1, 2])  # E: numbers cannot be waited for
    gevent.killall(jobs, block=False)
    gevent.killall(jobs, exception="stop")  # E: what is raised is an exception
    other.kill(ValueError("enough"), timeout=1)
    other.kill(timeout="1")  # E: seconds are a number
    gevent.sleep(0.1)
    gevent.sleep("0.1")  # E: seconds are a number


def report(job: gevent.Greenlet[..., bytes]) -> None:
    print(job.value)


def report_text(text: str) -> None:
    print(text)


def linking(job: gevent.Greenlet[..., bytes]) -> None:
    job.link(report)
    job.rawlink(report)
    job.link_exception(lambda failed: print(failed.exception))
    job.link(report_text)  # E: it gets the greenlet, not its result
    job.rawlink(report())  # E: it is called here, without an argument


class Worker(gevent.Greenlet[[], int]):
    """A greenlet with arguments and a body of its own."""

    def __init__(self, name: str, size: int = 1) -> None:
        super().__init__()
        self.title = name
        self.size = size

    def _run(self) -> int:
        return self.size


class Plain(gevent.Greenlet):
    """One of no stated result."""

    def _run(self) -> str:
        return "done"


def classes() -> None:
    worker = Worker.spawn("first", size=2)
    assert_type(worker, Worker)
    assert_type(worker.get(), int)
    Worker.spawn(1)  # E: a name is text
    Worker.spawn_later(0.1, "second", size="2")  # E: a size is a number
    Worker("third", 3).start_later(None)  # E: seconds are a number
    result: Any = Plain.spawn().get()
    print(result, worker.heigth)  # E: there is no such attribute


def current() -> None:
    assert_type(gevent.getcurrent(), RawGreenlet)
    hub = gevent.get_hub()
    assert_type(hub.threadpool.apply(fetch, ("http://localhost/",)), bytes)
    hub.loop.timer(0.1).start(print, "over")
    hub.loop.timer("0.1")  # E: seconds are a number
    hub.loop.io(0, "r")  # E: events are a number


def groups() -> bytes:
    with gevent.TaskGroup() as group:
        child = group.spawn(fetch, "http://localhost/")
        assert_type(child.get(), bytes)
        group.spawn(fetch, 1)  # E: a URL is text
        group.cancel(1)  # E: it takes nothing
    with gevent.move_on_after(0.5) as scope:
        gevent.sleep(1)
    assert_type(scope.cancelled_caught, bool)
    gevent.move_on_after("0.5")  # E: seconds are a number
    with gevent.fail_after(1):
        return child.get()
