"""Servers and clients that are dropped in every way leave nothing behind.

`make soak` opens 200,000 connections; SOAK_CONNECTIONS says how many the test does.
"""

import json
import os

from paths import TESTS

PROGRAM = TESTS / "programs" / "soak.py"
CONNECTIONS = int(os.environ.get("SOAK_CONNECTIONS", "10000"))


def test_nothing_is_left_of_connections(run_python, capsys) -> None:
    done = run_python(
        """
        import runpy, sys

        del sys.argv[0]
        runpy.run_path(sys.argv[0], run_name="__main__")
        """,
        str(PROGRAM),
        str(CONNECTIONS),
        timeout=60 + CONNECTIONS / 100,
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    with capsys.disabled():
        print(f"\n{done.stdout.strip()}")

    left = found["left"]
    exact = {name: left[name] for name in ("descriptors", "greenlets", "sockets", "watchers")}
    assert exact == dict.fromkeys(exact, 0)
    # Caches vary by a few hundred objects and a few pages, whatever the number of connections.
    assert left["blocks"] < 1000
    assert left["resident"] < 4 << 20
    # It was as lively as it was meant to be.
    ways = ("echoed", "handler killed", "handler timed out", "client timed out")
    assert all(found["counts"].get(way) for way in ways), found["counts"]
