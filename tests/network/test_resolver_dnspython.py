"""The resolver over dnspython, with a name server on loopback."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

import gevent
from gevent import socket
from gevent.event import Event
from gevent.server import DatagramServer, StreamServer

pytest.importorskip("dns")
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from gevent.resolver.dnspython import Resolver

ZONE = {
    ("host.test.", "A"): ["host.test. 60 IN A 10.1.2.3", "host.test. 60 IN A 10.1.2.4"],
    ("host.test.", "AAAA"): ["host.test. 60 IN AAAA 2001:db8::1"],
    ("four.test.", "A"): ["four.test. 60 IN A 10.4.4.4"],
    ("alias.test.", "A"): [
        "alias.test. 60 IN CNAME host.test.",
        "host.test. 60 IN A 10.1.2.3",
    ],
    ("long.test.", "A"): ["long.test. 60 IN A 10.5.5.5"],
    ("forged.test.", "A"): ["forged.test. 60 IN A 10.6.6.6"],
    ("slow.test.", "A"): ["slow.test. 60 IN A 10.7.7.7"],
    ("3.2.1.10.in-addr.arpa.", "PTR"): ["3.2.1.10.in-addr.arpa. 60 IN PTR host.test."],
}
NAMES = {name for name, _ in ZONE} | {"empty.test."}


class NameServer:
    """Answers from the zone, over datagrams and connections at the same port."""

    def __init__(self):
        self.asked = []
        self.slow = Event()
        self.connections = StreamServer(("127.0.0.1", 0), self.on_connection)
        self.datagrams = self.bound_alike()
        self.port = self.datagrams.server_port
        self.connections.start()
        self.datagrams.start()

    def bound_alike(self):
        """A server of datagrams at the port of the one of connections."""
        for _ in range(100):
            self.connections.init_socket()
            address = ("127.0.0.1", self.connections.server_port)
            datagrams = DatagramServer(address, self.on_datagram)
            try:
                datagrams.init_socket()
                return datagrams
            except OSError:
                # Someone has that port.
                self.connections.close()
                self.connections = StreamServer(("127.0.0.1", 0), self.on_connection)
        raise AssertionError("no port is free")

    def stop(self):
        self.datagrams.stop()
        self.connections.stop()

    def answer(self, octets, kind):
        query = dns.message.from_wire(octets)
        response = dns.message.make_response(query)
        name = query.question[0].name.to_text().lower()
        record = dns.rdatatype.to_text(query.question[0].rdtype)
        self.asked.append((name, record, kind))
        if name == "silent.test.":
            return
        if name == "slow.test.":
            self.slow.wait(10)
        if name == "forged.test.":
            yield b"garbage"
            other = dns.message.make_query("forged.test.", "A")
            yield dns.message.make_response(other).to_wire()
        if name == "fail.test.":
            response.set_rcode(dns.rcode.SERVFAIL)
        elif name not in NAMES:
            response.set_rcode(dns.rcode.NXDOMAIN)
        if name == "long.test." and kind == "datagram":
            response.flags |= dns.flags.TC
        else:
            for line in ZONE.get((name, record), []):
                owner, ttl, *rest = line.split(None, 4)
                response.answer.append(dns.rrset.from_text(owner, int(ttl), *rest))
        yield response.to_wire()

    def on_datagram(self, octets, address):
        for response in self.answer(octets, "datagram"):
            self.datagrams.sendto(response, address)

    def on_connection(self, sock, address):
        with sock.makefile("rb") as stream:
            octets = stream.read(int.from_bytes(stream.read(2), "big"))
        for response in self.answer(octets, "connection"):
            sock.sendall(len(response).to_bytes(2, "big") + response)


def configure(monkeypatch, nameservers, timeout):
    settings = SimpleNamespace(resolver_nameservers=nameservers, resolver_timeout=timeout)
    monkeypatch.setattr("gevent.resolver.dnspython.config", settings)


@pytest.fixture
def server():
    server = NameServer()
    yield server
    server.stop()


@pytest.fixture
def resolver(server, monkeypatch):
    configure(monkeypatch, ["127.0.0.1"], None)
    hub = gevent.get_hub()
    hub.resolver = Resolver(hub)
    mine = hub.resolver.resolver
    mine.port = server.port
    mine.nameservers = ["127.0.0.1"]
    mine.search = []
    mine.lifetime = 10
    yield hub.resolver
    del hub.resolver


@pytest.fixture
def hosts(resolver, tmp_path):
    resolver._hosts.fname = tmp_path / "hosts"
    return resolver._hosts.fname


def test_settings(monkeypatch):
    configure(monkeypatch, ["127.0.0.9"], 3.0)
    resolver = Resolver().resolver
    assert resolver.nameservers == ["127.0.0.9"]
    assert resolver.lifetime == 3.0


def test_addresses(resolver):
    assert socket.gethostbyname("host.test") == "10.1.2.3"
    assert socket.gethostbyname_ex("host.test") == ("host.test", [], ["10.1.2.3", "10.1.2.4"])
    assert socket.gethostbyname_ex("alias.test") == ("host.test", ["alias.test"], ["10.1.2.3"])


def test_getaddrinfo(resolver):
    found = socket.getaddrinfo("host.test", "http", type=socket.SOCK_STREAM)
    assert [info[4] for info in found] == [
        ("10.1.2.3", 80),
        ("10.1.2.4", 80),
        ("2001:db8::1", 80, 0, 0),
    ]
    found = socket.getaddrinfo("host.test", 80, socket.AF_INET6, socket.SOCK_DGRAM)
    address = ("2001:db8::1", 80, 0, 0)
    assert found == [(socket.AF_INET6, socket.SOCK_DGRAM, socket.IPPROTO_UDP, "", address)]


def test_canonical_name(resolver):
    (info,) = socket.getaddrinfo(
        "alias.test", 80, socket.AF_INET, socket.SOCK_STREAM, 0, socket.AI_CANONNAME
    )
    assert info[3] == "host.test"


def test_names(resolver):
    assert socket.gethostbyaddr("10.1.2.3") == ("host.test", [], ["10.1.2.3"])
    assert socket.getnameinfo(("10.1.2.3", 80), 0) == ("host.test", "http")
    assert socket.getnameinfo(("10.9.9.9", 80), socket.NI_NUMERICSERV) == ("10.9.9.9", "80")


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("missing.test", socket.EAI_NONAME),
        ("empty.test", socket.EAI_NODATA),
        ("fail.test", socket.EAI_AGAIN),
        (b"\xff.test", socket.EAI_NONAME),
        (b"a..test", socket.EAI_NONAME),
        (b"a" * 64 + b".test", socket.EAI_NONAME),
        (b"a." * 200, socket.EAI_NONAME),
    ],
)
def test_failures(resolver, host, code):
    for look_up in socket.gethostbyname, lambda host: socket.getaddrinfo(host, 80):
        with pytest.raises(socket.gaierror) as raised:
            look_up(host)
        assert raised.value.errno == code


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("host.test", 80, socket.AF_UNIX), socket.EAI_FAMILY),
        (("host.test", "no-such-service"), socket.EAI_SERVICE),
        (("host.test", 80, 0, 77), socket.EAI_SOCKTYPE),
        (("four.test", 80, socket.AF_INET6), socket.EAI_NODATA),
    ],
)
def test_failures_of_getaddrinfo(resolver, arguments, code):
    with pytest.raises(socket.gaierror) as raised:
        socket.getaddrinfo(*arguments)
    assert raised.value.errno == code


def test_unknown_addresses(resolver):
    with pytest.raises(socket.herror, match="Unknown host"):
        socket.gethostbyaddr("10.9.9.9")
    with pytest.raises(socket.gaierror):
        socket.getnameinfo(("10.9.9.9", 80), socket.NI_NAMEREQD)


def test_no_answer_in_time(resolver):
    resolver.resolver.lifetime = 0.05
    with pytest.raises(socket.gaierror) as raised:
        socket.gethostbyname("silent.test")
    assert raised.value.errno == socket.EAI_AGAIN


def test_truncated_answers_come_over_a_connection(resolver, server):
    assert socket.gethostbyname("long.test") == "10.5.5.5"
    assert [kind for _, _, kind in server.asked] == ["datagram", "connection"]


def test_what_is_no_response_is_ignored(resolver):
    assert socket.gethostbyname("forged.test") == "10.6.6.6"


def test_answers_are_kept(resolver, server):
    for _ in range(3):
        assert socket.gethostbyname("host.test") == "10.1.2.3"
    assert len(server.asked) == 1


def test_others_run_meanwhile(resolver, server):
    job = gevent.spawn(socket.gethostbyname, "slow.test")
    assert socket.gethostbyname("host.test") == "10.1.2.3"
    assert not job.ready()
    server.slow.set()
    assert job.get(timeout=10) == "10.7.7.7"


def test_a_killed_look_up(resolver):
    job = gevent.spawn(socket.gethostbyname, "silent.test")
    gevent.sleep(0.01)
    job.kill()
    assert isinstance(job.value, gevent.GreenletExit)


def test_the_file_of_hosts(resolver, server, hosts):
    hosts.write_text("10.8.8.8 Name.test other # not-this\n::8 name.test\nnonsense name.test\n")
    assert socket.gethostbyname_ex("OTHER") == ("Name.test", ["other"], ["10.8.8.8"])
    found = socket.getaddrinfo("name.test", 1, type=socket.SOCK_STREAM)
    assert [info[4][0] for info in found] == ["10.8.8.8", "::8"]
    assert socket.gethostbyaddr("10.8.8.8") == ("Name.test", ["other"], ["10.8.8.8"])
    assert not server.asked
    hosts.write_text("10.8.8.9 other\n")
    assert socket.gethostbyname("other") == "10.8.8.9"


def test_without_a_file_of_hosts(resolver, hosts):
    assert socket.gethostbyname("four.test") == "10.4.4.4"


def test_it_is_chosen_by_name():
    code = "import gevent; print(type(gevent.get_hub().resolver).__module__)"
    env = {"GEVENT_RESOLVER": "dnspython", "GEVENT_RESOLVER_NAMESERVERS": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout == "gevent.resolver.dnspython\n"


def test_without_the_package():
    code = (
        "import sys; sys.modules['dns'] = None\n"
        "try: import gevent.resolver.dnspython\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "gevent-rs[dnspython]" in done.stdout
