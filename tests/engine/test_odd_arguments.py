"""Everything public of the engine, called with what makes no sense: only exceptions come of it."""

import subprocess
import sys

import pytest
from paths import TESTS

from gevent import _core

PROGRAM = TESTS / "programs" / "odd_arguments.py"


@pytest.mark.parametrize("seed", range(8))
def test_nothing_but_exceptions(seed):
    done = subprocess.run(
        [sys.executable, PROGRAM, str(seed), "2"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=150,
        check=False,
    )
    assert "PANIC" not in done.stdout
    assert "panicked" not in done.stderr
    assert done.stdout.endswith("end 20\n"), done.stderr[-2000:]
    assert done.returncode == 0


def test_what_is_no_greenlet_has_no_number():
    assert _core.numbers_of([[], None, object()]) == {}
