"""The mass DNS resolver, started as a person starts it, with a name server on loopback."""

import re
import subprocess
import sys

import pytest
from dns_server import DNSServer, Reply
from paths import EXAMPLES

EXAMPLE = EXAMPLES / "mass_dns.py"


@pytest.fixture(scope="module")
def server():
    zone = {
        "two.test": {"A": ["10.1.1.1"], "AAAA": ["2001:db8::1"]},
        "missing.test": Reply(rcode=3),
        "9.1.1.10.in-addr.arpa": {"PTR": ["nine.test"]},
    }
    with DNSServer(zone, Reply({"A": ["10.2.2.2"]}, delay=0.02)) as running:
        yield running


def run(server, *argv, names=""):
    return subprocess.run(
        [sys.executable, EXAMPLE, "--server", f"127.0.0.1:{server.port}", *argv],
        input=names,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_names_of_every_kind(server):
    done = run(server, "two.test", "missing.test", "10.1.1.9", "a..b", "127.0.0.1", "bücher.test")
    assert done.returncode == 0, done.stderr
    answers = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    assert set(answers.pop("two.test").split()) == {"10.1.1.1", "2001:db8::1"}
    assert answers.pop("127.0.0.1").startswith("localhost")
    assert re.fullmatch(r"\(.*label empty.*\)", answers.pop("a..b"))
    assert answers == {
        "missing.test": "([Errno -2] Name or service not known)",
        "10.1.1.9": "nine.test",
        "bücher.test": "10.2.2.2",
    }
    assert done.stderr.startswith("4 found, 2 not, in ")


def test_a_thousand_names_from_standard_input(server):
    names = [f"name{number}.test" for number in range(1000)]
    done = run(server, names="\n".join(names))
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == sorted(f"{name}: 10.2.2.2" for name in names)
    found, seconds = re.match(r"(\d+) found, 0 not, in ([\d.]+) s", done.stderr).groups()
    assert found == "1000"
    # One after another they would take twenty.
    assert float(seconds) < 10


def test_one_at_a_time(server):
    done = run(server, "--at-once", "1", *(f"n{number}.test" for number in range(10)))
    assert done.stdout.splitlines() == [f"n{number}.test: 10.2.2.2" for number in range(10)]
    seconds = re.search(r"in ([\d.]+) s", done.stderr).group(1)
    assert float(seconds) >= 0.19


def test_the_servers_address(server):
    for wrong in ("nonsense", "127.0.0.1:port", "[::1"):
        done = run(server, "--server", wrong, "two.test")
        assert done.returncode == 2
        assert "argument --server" in done.stderr
