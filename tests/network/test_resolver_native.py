"""The default resolver, which looks names up without a thread where the system does no more."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dns_server import DNSServer, Reply
from paths import SUPPORT

import gevent
from gevent.resolver.cares import channel
from gevent.resolver.thread import Resolver

PROGRAM = SUPPORT / "beside_the_c_library.py"


def in_namespaces(*command):
    unshare = shutil.which("unshare")
    if unshare is None or os.geteuid() != 0:
        pytest.skip("only root may mount files over those of /etc")
    alone = [unshare, "--mount", "--net"]
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system allows no namespaces")
    return subprocess.run([*alone, *command], capture_output=True, text=True, timeout=250)


@pytest.mark.parametrize(
    ("hosts", "threads"), [("files dns", 0), ("files dns [!UNAVAIL=return]", 1), ("dns files", 1)]
)
def test_the_same_as_the_c_library(tmp_path, hosts, threads):
    done = in_namespaces(sys.executable, PROGRAM, tmp_path, hosts)
    assert done.stderr == ""
    *differences, taken, summary = done.stdout.splitlines()
    assert differences == []
    assert summary == "differences: 0 asked: True"
    assert (taken != "threads: 0") == bool(threads)


@pytest.fixture
def made(tmp_path):
    """Make channels whose files have these texts."""
    channels = []

    def make(**texts):
        paths = {}
        for name in ("resolv_conf", "hosts", "nsswitch_conf", "gai_conf"):
            paths[name] = str(tmp_path / name)
            Path(paths[name]).write_text(texts.get(name, ""))
        channels.append(channel(gevent.get_hub().loop, **paths))
        return channels[-1]

    yield make
    for each in channels:
        each.destroy()


@pytest.mark.parametrize(
    ("texts", "complete"),
    [
        ({}, True),
        ({"nsswitch_conf": "hosts: files dns"}, True),
        ({"nsswitch_conf": "hosts: files mdns4_minimal [NOTFOUND=return] dns"}, False),
        ({"nsswitch_conf": "hosts: files myhostname dns"}, False),
        ({"resolv_conf": "nameserver 10.0.0.1\noptions rotate timeout:2 ndots:5 trust-ad"}, True),
        ({"resolv_conf": "sortlist 10.0.0.0"}, False),
        ({"resolv_conf": "options inet6"}, False),
        ({"gai_conf": "# precedence ::ffff:0:0/96 100\n\n"}, True),
        ({"gai_conf": "precedence ::ffff:0:0/96 100\n"}, False),
    ],
)
def test_what_configuration_is_known_whole(made, texts, complete):
    assert made(**texts).is_complete() is complete


def test_a_change_of_the_configuration_is_noticed(made, tmp_path):
    names = made()
    assert names.is_complete()
    (tmp_path / "nsswitch_conf").write_text("hosts: files ldap dns\n")
    assert not names.is_complete()


@pytest.mark.parametrize(
    ("args", "answers"),
    [
        (("host.test",), True),
        (("under_score.test",), True),
        (("host.test.",), True),
        ((b"host.test",), False),
        (("h\u00f6st.test",), False),
        (("a..b",), False),
        (("a" * 64,), False),
        (("a b",), False),
        (("host.test", 1), False),
        (("host.test", 0, 0x8000), False),
    ],
)
def test_which_arguments_are_plain(args, answers, monkeypatch):
    resolver = Resolver(gevent.get_hub())
    native = resolver._native_lookups()
    monkeypatch.setattr(type(native.cares), "is_complete", lambda self: True)
    assert native.answers(*args) is answers
    monkeypatch.setenv("HOSTALIASES", "/nowhere")
    assert not native.answers(*args)
    resolver.close()


def test_the_setting_switches_it_off(output_of):
    code = """
        import os
        from gevent import socket, get_hub
        socket.gethostbyname("localhost")
        print(len(os.listdir("/proc/self/task")) > 1, get_hub().resolver._native)
    """
    assert output_of(code, GEVENT_NATIVE_LOOKUPS="no") == "True None\n"


def test_many_at_once_and_cancelled(made):
    # More than the pool has threads.
    resolver = Resolver(gevent.get_hub())
    native = resolver._native_lookups()
    with DNSServer({}, Reply({"A": ["10.1.1.1"]}), gather=200) as server:
        native.cares = native.cares_class(
            gevent.get_hub().loop,
            servers=["127.0.0.1"],
            udp_port=server.port,
            tcp_port=server.port,
            nsswitch_conf="/nowhere",
            gai_conf="/nowhere",
        )
        found = [
            gevent.spawn(resolver.gethostbyname, f"name{number}.test") for number in range(200)
        ]
        gevent.joinall(found, timeout=60, raise_error=True)
        assert {greenlet.value for greenlet in found} == {"10.1.1.1"}
        with pytest.raises(gevent.Timeout), gevent.Timeout(0.05):
            resolver.getaddrinfo("waits.test", 80)
    resolver.close()
    resolver.close()
