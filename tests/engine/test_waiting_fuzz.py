"""Random programs over all that can be waited for; `make fuzz` runs more of them."""

import subprocess
import sys

import pytest
from paths import SUPPORT

COUNT = 45


@pytest.fixture
def printed_by(own_environment):
    """Run a program of `tests/support` to its good end, and return what it prints."""

    def run(*command):
        done = subprocess.run(
            [sys.executable, *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            env=own_environment,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.mark.parametrize("first", range(0, 4 * COUNT, COUNT))
@pytest.mark.parametrize("world", ["engine", "patched"])
def test_random_programs_lose_nothing(world, first, printed_by):
    patched = ["-m", "gevent.monkey"] if world == "patched" else []
    options = ("--first", str(first), "--count", str(COUNT))
    printed = printed_by(*patched, SUPPORT / "waiting_fuzzer.py", *options)
    assert printed == f"{COUNT} programs from seed {first}: all held\n"


@pytest.mark.parametrize("error", ["Interrupt", "Alarm"])
def test_interrupted_programs_lose_nothing(error, printed_by):
    printed = printed_by(SUPPORT / "interrupt_fuzzer.py", "--error", error, "--count", "15")
    assert printed.endswith(f" of them interrupted by {error}: all held\n")
