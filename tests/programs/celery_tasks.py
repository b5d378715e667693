"""Tasks of a Celery worker with its gevent pool, whose broker and backend is redis.

usage: celery --app celery_tasks worker --pool gevent     with REDIS_URL in the environment
"""

import asyncio
import os
import time

from celery import Celery

import gevent

app = Celery("tasks", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])
app.conf.broker_connection_retry_on_startup = True
inside = most = 0

#: The arguments of the worker.
CONCURRENCY = 50


@app.task
def wait_with_others(number):
    """Wait until as many as the worker takes are in here; say how many there were at most."""
    global inside, most
    inside += 1
    most = max(most, inside)
    end = time.monotonic() + 20
    while most < CONCURRENCY and time.monotonic() < end:
        time.sleep(0.01)
    inside -= 1
    return number, most, type(gevent.getcurrent()).__module__


@app.task
def run_a_loop(number):
    """Run a loop of asyncio beside those of other tasks."""

    async def main():
        await asyncio.to_thread(time.sleep, 0.05)
        await asyncio.sleep(0.05)
        return number

    return asyncio.run(main())


@app.task
def fail():
    raise ValueError("on purpose")


@app.task(time_limit=0.3)
def take_too_long():
    time.sleep(30)


@app.task(bind=True, max_retries=2, default_retry_delay=0)
def try_again(self):
    if self.request.retries < 2:
        raise self.retry()
    return self.request.retries


@app.task
def collect(results):
    return results
