"""Counts what an operation leaves behind, with a collection at each allocation."""

from collections.abc import Callable

MEASURE = """
import gc, sys
import gevent

def operate():
    {operation}

def repeat(times):
    for _ in range(times):
        try:
            operate()
        except (Exception, gevent.Timeout):
            pass
    gevent.sleep(0.001)
    gc.collect()
    gc.collect()
    return len(gc.get_objects()), sys.getallocatedblocks()

gc.freeze()
gc.set_threshold(1)
repeat({warm_up})
rounds = [repeat(5)]
# Caches grow to a bound in one round or another; what leaks grows in each.
for _ in range({rounds}):
    rounds.append(repeat({size}))
    if all(now - then < {size} // 2 for then, now in zip(*rounds[-2:])):
        break
gc.set_threshold(0)
print(rounds)
for counts in zip(*rounds):
    print(min(now - then for then, now in zip(counts, counts[1:])))
"""


def assert_nothing_stays(
    run_python: Callable,
    preparation: str,
    operation: str,
    size: int = 30,
    rounds: int = 40,
    warm_up: int = 20,
) -> None:
    """Check that what `operation`, which may raise, leaves does not grow with their number.

    `preparation` is code that runs before. After `warm_up` operations that fill caches there are
    at most `rounds` rounds of `size` operations each, until one leaves nothing.
    """
    measure = MEASURE.format(operation=operation, size=size, rounds=rounds, warm_up=warm_up)
    done = run_python(preparation + measure, timeout=90)
    assert done.returncode == 0, done.stderr
    objects, blocks = map(int, done.stdout.split()[-2:])
    # An operation that leaves something leaves it as often as there are operations in a round.
    assert objects < size // 2, done.stdout
    assert blocks < size - size // 6, done.stdout
