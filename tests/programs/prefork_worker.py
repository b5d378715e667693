"""A Celery worker with its prefork pool, whose parent is patched, and a client of it.

usage: python -m prefork_worker worker --pool prefork      with REDIS_URL in the environment
       prefork_worker.py use_worker
"""

from gevent import monkey

monkey.patch_all()

import gc
import json
import os
import sys
import time

from celery import Celery

from gevent.monkey import is_module_patched

app = Celery("prefork_worker", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])
app.conf.broker_connection_retry_on_startup = True


@app.task(name="add")
def add(one, other):
    time.sleep(0.01)
    return one + other, os.getpid(), is_module_patched("time")


@app.task(name="fail")
def fail():
    raise ValueError("no")


def use_worker():
    """Have it add, and fail, and shut it down."""
    waiting = [add.delay(number, number) for number in range(40)]
    failing = fail.delay()
    results = [each.get(timeout=30) for each in waiting]
    failed = repr(failing.get(timeout=30, propagate=False))
    app.control.shutdown()
    return {
        "sums": [total for total, *_ in results] == [2 * n for n in range(40)],
        "processes": len({pid for _, pid, _ in results}),
        "patched": sorted({patched for *_, patched in results}),
        "failed": failed,
    }


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        app.worker_main(sys.argv[1:])
    else:
        print(json.dumps(globals()[sys.argv[1]]()))
        # Results are in cycles, and cannot be dropped when the interpreter is nearly gone.
        gc.collect()
