"""A patched program that sends tasks to a Celery worker and collects their results.

usage: celery_client.py FUNCTION      with REDIS_URL in the environment
"""

from gevent import monkey

monkey.patch_all()

import gc
import json
import sys

import celery
from celery_tasks import (
    app,
    collect,
    fail,
    run_a_loop,
    take_too_long,
    try_again,
    wait_with_others,
)


def use_worker():
    """Send all kinds of tasks at once, then grow the pool of the worker."""
    waiting = [wait_with_others.delay(number) for number in range(60)]
    failing, hanging, retried = fail.delay(), take_too_long.delay(), try_again.delay()
    looping = [run_a_loop.delay(number) for number in range(20)]
    results = [each.get(timeout=30) for each in waiting]
    seen = {
        "numbers": [number for number, _, _ in results] == list(range(60)),
        "most": max(most for _, most, _ in results),
        "greenlets": sorted({module for _, _, module in results}),
        "failed": repr(failing.get(timeout=30, propagate=False)),
        "loops": [each.get(timeout=30) for each in looping] == list(range(20)),
        "retried": retried.get(timeout=30),
    }
    try:
        hanging.get(timeout=10)
    except celery.exceptions.TimeLimitExceeded:
        seen["limited"] = True
    chord = celery.chord(wait_with_others.s(number) for number in range(5))
    seen["chord"] = len(chord(collect.s()).get(timeout=30))
    app.control.pool_grow(5, reply=True)
    (stats,) = app.control.inspect().stats().values()
    seen["pool"] = stats["pool"]["max-concurrency"]
    revoked = wait_with_others.apply_async((1,), countdown=60)
    revoked.revoke()
    app.control.shutdown()
    return seen


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]]()))
    gc.collect()  # results are in cycles, and cannot be dropped when the interpreter is nearly gone
