"""multiprocessing.Pool beside gevent's Pool, in a process that is not patched.

With everything patched, the pool's own threads block one another in reads of pipes, as in gevent.

usage: process_pool.py FUNCTION METHOD
"""

import json
import multiprocessing
import os
import sys

import gevent
from gevent.pool import Pool
from gevent.threadpool import ThreadPool


def work(number):
    gevent.sleep(0.001)
    return number * number, os.getpid()


def fail(number):
    raise ValueError(number)


def both(method):
    """Greenlets share a pool of processes, and count on while it works."""
    ticks = []

    def tick():
        while True:
            ticks.append(None)
            gevent.sleep(0.002)

    ticker = gevent.spawn(tick)
    with multiprocessing.get_context(method).Pool(2) as processes:
        threads = ThreadPool(10)

        def ask(number):
            return threads.apply(processes.apply, (work, (number,)))[0] == number * number

        mapped = threads.apply(processes.map, (work, range(50), 3))
        unordered = sorted(value for value, _ in processes.imap_unordered(work, range(50)))
        asked = Pool(20).map(ask, range(40))
        try:
            processes.apply(fail, (7,))
        except ValueError as error:
            failed = repr(error)
        processes.close()
        threads.apply(processes.join)
        threads.kill()
    ticker.kill()
    return {
        "mapped": [value for value, _ in mapped] == [n * n for n in range(50)],
        "unordered": unordered == [n * n for n in range(50)],
        "asked": sum(asked),
        "failed": failed,
        "elsewhere": os.getpid() not in {pid for _, pid in mapped},
        "ticked": len(ticks) > 1,
    }


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
