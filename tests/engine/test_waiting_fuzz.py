"""Random programs over all that can be waited for, with fixed seeds; `make fuzz` runs others."""

import subprocess
import sys

import pytest
from paths import SUPPORT

FUZZER = SUPPORT / "waiting_fuzzer.py"
COUNT = 45


@pytest.mark.parametrize("first", range(0, 4 * COUNT, COUNT))
@pytest.mark.parametrize("world", ["engine", "patched"])
def test_random_programs_lose_nothing(world, first, own_environment):
    patched = ["-m", "gevent.monkey"] if world == "patched" else []
    done = subprocess.run(
        [sys.executable, *patched, FUZZER, "--first", str(first), "--count", str(COUNT)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        env=own_environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{COUNT} programs from seed {first}: all held\n"
