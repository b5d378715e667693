"""concurrent.futures and logging in a patched process, with greenlets and native threads.

usage: executors.py FUNCTION [ARGUMENT]
"""

from gevent import monkey

monkey.patch_all()

import concurrent.futures
import json
import logging
import logging.handlers
import os
import queue
import sys
import threading
import time

import gevent
from gevent.pool import Pool
from gevent.threadpool import ThreadPool, ThreadPoolExecutor

native_ident = monkey.get_original("_thread", "get_ident")


def thread_pool_executor():
    """The standard library's executor: its threads are greenlets of this thread."""
    with concurrent.futures.ThreadPoolExecutor(50) as executor:
        everyone = threading.Barrier(50)

        def meet(number):
            everyone.wait(30)
            return number, native_ident()

        met = list(executor.map(meet, range(100)))
        first = executor.submit(time.sleep, 0.01)
        last = executor.submit(time.sleep, 30)
        done, waiting = concurrent.futures.wait(
            [first, last], return_when=concurrent.futures.FIRST_COMPLETED, timeout=10
        )
        failed = executor.submit(lambda: 1 / 0)
        ended = []
        failed.add_done_callback(lambda future: ended.append(type(future.exception()).__name__))
        blocker = executor.submit(gevent.sleep, 0)
        gathered = [f.result() for f in concurrent.futures.as_completed([blocker], timeout=10)]
        try:
            last.result(timeout=0.05)
        except TimeoutError:
            ended.append("TimeoutError")
        executor.shutdown(wait=False, cancel_futures=True)
        print(
            json.dumps(
                {
                    "met": [number for number, _ in met] == list(range(100)),
                    "threads": len({ident for _, ident in met} | {native_ident()}),
                    "done": [done == {first}, waiting == {last}],
                    "ended": ended,
                    "gathered": gathered,
                }
            ),
            flush=True,
        )
        os._exit(0)  # `last` still sleeps, and the interpreter would wait for it


def native_executor():
    """gevent's executor: native threads, while greenlets go on."""
    ticks = []

    def tick():
        while True:
            ticks.append(None)
            gevent.sleep(0.005)

    ticker = gevent.spawn(tick)
    with ThreadPoolExecutor(4) as executor:
        futures = [executor.submit(native_work, number) for number in range(20)]
        results = [future.result(timeout=30) for future in futures]
    ticker.kill()
    return {
        "results": [number for number, _ in results] == list(range(20)),
        "elsewhere": native_ident() not in {ident for _, ident in results},
        "ticked": len(ticks) > 1,
    }


def native_work(number):
    monkey.get_original("time", "sleep")(0.02)
    return number, native_ident()


def square(number):
    gevent.sleep(0.001)
    return number * number, os.getpid()


def fail(number):
    raise ValueError(number)


def process_pool_executor(method):
    """Its processes are patched as well; its own threads are greenlets here."""
    import multiprocessing

    context = multiprocessing.get_context(method)
    ticks = []

    def tick():
        while True:
            ticks.append(None)
            gevent.sleep(0.005)

    ticker = gevent.spawn(tick)
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as executor:
        squares = list(executor.map(square, range(100), chunksize=5))
        many = Pool(20).map(lambda n: executor.submit(square, n).result()[0], range(40))
        failed = executor.submit(fail, 7).exception()
    ticker.kill()
    return {
        "squares": [number for number, _ in squares] == [n * n for n in range(100)],
        "many": many == [n * n for n in range(40)],
        "elsewhere": os.getpid() not in {pid for _, pid in squares},
        "failed": repr(failed),
        "ticked": len(ticks) > 1,
    }


def log_from_everywhere(path):
    """Greenlets, patched threads and native threads log at once through every kind of handler."""
    records = queue.SimpleQueue()
    listener = logging.handlers.QueueListener(records, logging.FileHandler(path + ".queue"))
    listener.start()
    log = logging.getLogger("everyone")
    log.setLevel(logging.INFO)
    log.propagate = False
    plain = logging.FileHandler(path)
    plain.setFormatter(logging.Formatter("%(message)s"))

    class Yielding(logging.Handler):
        """Switches to others while it holds its lock, where it can."""

        seen = 0

        def emit(self, record):
            gevent.sleep(0)
            self.seen += 1

    yielding = Yielding()
    for handler in (plain, yielding, logging.handlers.QueueHandler(records)):
        log.addHandler(handler)

    def work(who):
        for turn in range(50):
            log.info("%s %d", who, turn)
            if turn % 10 == 0:
                gevent.sleep(0)

    greenlets = [gevent.spawn(work, f"greenlet{number}") for number in range(20)]
    threads = [threading.Thread(target=work, args=(f"thread{n}",)) for n in range(10)]
    for thread in threads:
        thread.start()
    native = ThreadPool(4)
    tasks = [native.spawn(work, f"native{number}") for number in range(4)]
    gevent.joinall(greenlets, raise_error=True)
    for task in tasks:
        task.get(timeout=60)
    for thread in threads:
        thread.join()
    listener.stop()
    native.kill()
    logging.shutdown()
    with open(path) as lines, open(path + ".queue") as queued:
        written = lines.read().splitlines()
        by_queue = queued.read().splitlines()
    who = {line.split()[0] for line in written}
    ordered = all(
        [int(line.split()[1]) for line in written if line.split()[0] == name] == list(range(50))
        for name in who
    )
    return {
        "lines": len(written),
        "writers": len(who),
        "ordered": ordered,
        "seen": yielding.seen,
        "queued": len(by_queue),
    }


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
