"""Measure one operation in this process and print the result.

    python worker.py {gevent,stdlib,asyncio,uvloop} OPERATION ITERATIONS [ROUNDS]

prints a line of JSON: what was measured, and the seconds per iteration, the median of the rounds
after a warm-up. Without ROUNDS the operation runs once and cold, as the memory ones have to.
"""

import gc
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable


def _gevent_side(name: str) -> tuple[str, Callable[[int], float]]:
    # Engines are imported where they are asked for: none is measured beside another.
    import operations

    return operations.implementation(), getattr(operations, name)


def _stdlib_side(name: str) -> tuple[str, Callable[[int], float]]:
    import stdlib_operations

    return stdlib_operations.implementation(), getattr(stdlib_operations, name)


def _asyncio_side(engine: str, name: str) -> tuple[str, Callable[[int], float]]:
    import asyncio

    import asyncio_operations

    function = getattr(asyncio_operations, name)
    if engine == "asyncio":
        run, label = asyncio.run, f"asyncio of CPython {platform.python_version()}"
    else:
        import uvloop

        run, label = uvloop.run, f"uvloop {uvloop.__version__}"
    return label, lambda n: run(function(n))


def measure(function: Callable[[int], float], iterations: int, rounds: int) -> float:
    """Return the median of `rounds` calls after a warm-up."""
    function(max(iterations // 10, min(iterations, 100)))
    results = []
    for _ in range(rounds):
        gc.collect()
        results.append(function(iterations))
    return statistics.median(results)


def main() -> None:
    engine, name, iterations, *rounds = sys.argv[1:]
    sides = {"gevent": _gevent_side, "stdlib": _stdlib_side}
    label, function = sides[engine](name) if engine in sides else _asyncio_side(engine, name)
    if rounds:
        value = measure(function, int(iterations), int(rounds[0]))
    else:
        value = function(int(iterations))
    print(json.dumps({"implementation": label, "value": value}), flush=True)
    # A hundred thousand parked greenlets need not be taken apart one by one.
    os._exit(0)


if __name__ == "__main__":
    main()
