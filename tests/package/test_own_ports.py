"""The ports that tests give to servers are given to nobody else, whatever runs beside them."""

import socket

import pytest
from paths import SUPPORT
from ports import free_port, never_given

ASK = """
import sys
sys.path.insert(0, sys.argv[1])
from ports import free_port, never_given
print(free_port([int(port) for port in sys.argv[2:]]))
"""


@pytest.mark.skipif(not never_given(), reason="the kernel may choose any port on this machine")
def test_the_kernel_gives_them_to_nobody():
    given = {free_port() for _ in range(20)}
    assert len(given) == 20
    others = [socket.create_server(("127.0.0.1", 0)) for _ in range(300)]
    assert given.isdisjoint(other.getsockname()[1] for other in others)
    for other in others:
        other.close()


def test_no_other_process_is_given_one(run_python):
    ours = free_port()
    asked = run_python(ASK, str(SUPPORT), str(ours))
    assert "no port is free" in asked.stderr
    spare = {str(port) for port in range(20_000, 20_050)} - {str(ours)}
    assert run_python(ASK, str(SUPPORT), str(ours), *spare).stdout.strip() in spare


def test_a_port_that_somebody_has_is_not_given():
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(AssertionError):
        free_port([other.getsockname()[1]])
