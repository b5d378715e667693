"""Names of gevent 0.13: look-ups in packed form, by gevent.core and gevent.dns."""

import importlib
import socket
import warnings

import pytest
from dns_server import DNSServer, Reply

import gevent
from gevent import core
from gevent.event import AsyncResult

pytestmark = pytest.mark.filterwarnings("ignore:.*is of gevent 0.13:DeprecationWarning")

V4, V6 = bytes([10, 1, 2, 3]), socket.inet_pton(socket.AF_INET6, "2001:db8::1")
WRONG = ("short", "cut", "pointer loop", "bad address", "wrong id", "silence", "hang up")
ZONE = {
    "host.test": {"A": ["10.1.2.3"], "AAAA": ["2001:db8::1"]},
    "two.test": {"A": ["10.1.2.3", "10.1.2.4"]},
    "alias.test": {"CNAME": ["host.test"]},
    "host.lan.test": {"A": ["10.9.9.9"]},
    "circle.test": {"CNAME": ["circle.test"]},
    "six.test": {"AAAA": ["2001:db8::1"]},
    "long.test": Reply({"A": ["10.1.2.3"]}, truncated=True),
    "later.test": Reply({"A": ["10.1.2.3"]}, silent_first=1),
    "forged.test": Reply({"A": ["10.1.2.3"]}, fault="forged first"),
    "slow.test": Reply({"A": ["10.1.2.3"]}, delay=30),
    "3.2.1.10.in-addr.arpa": {"PTR": ["host.test"]},
    "1." + "0." * 23 + "8.b.d.0.1.0.0.2.ip6.arpa": {"PTR": ["host.test"]},
    **{f"rcode{code}.test": Reply(rcode=code) for code in (1, 2, 4, 5, 9)},
    **{
        f"{fault.replace(' ', '-')}.test": Reply({"A": ["10.1.2.3"]}, fault=fault)
        for fault in WRONG
    },
}


@pytest.fixture
def setting(monkeypatch):
    """Set one of gevent's settings for the test: `setting(name, value)`."""
    return lambda name, value: monkeypatch.setitem(
        vars(gevent.config.settings[name]), "value", value
    )


@pytest.fixture(autouse=True)
def server(setting):
    with DNSServer(ZONE) as server:
        setting("resolver_nameservers", ["127.0.0.1"])
        setting("ares_udp_port", server.port)
        setting("ares_tcp_port", server.port)
        # Tests in which no answer comes set a shorter one.
        setting("resolver_timeout", 20)
        yield server


def ask(function, *args):
    """Return the arguments of the callback, which has to be called in the hub."""
    answer = AsyncResult()

    def callback(*given):
        answer.set((gevent.getcurrent() is gevent.get_hub(), *given))

    function(*args, callback)
    in_hub, *given = answer.get(timeout=60)
    assert in_hub
    return tuple(given)


def test_addresses_and_names():
    flags = core.DNS_QUERY_NO_SEARCH
    for name in "host.test", "HOST.test", "host.test.", "alias.test":
        assert ask(core.dns_resolve_ipv4, name, 0) == (0, core.DNS_IPv4_A, 60, [V4])
        assert ask(core.dns_resolve_ipv6, name, flags) == (0, core.DNS_IPv6_AAAA, 60, [V6])
    assert len(ask(core.dns_resolve_ipv4, "two.test", 0)[3]) == 2
    assert ask(core.dns_resolve_reverse, V4, 0) == (0, core.DNS_PTR, 60, ["host.test"])
    assert ask(core.dns_resolve_reverse_ipv6, V6, 0) == (0, core.DNS_PTR, 60, ["host.test"])


def test_what_the_hosts_file_says_needs_no_server(server):
    loopback = bytes([127, 0, 0, 1])
    result, _, ttl, found = ask(core.dns_resolve_ipv4, "localhost", core.DNS_QUERY_NO_SEARCH)
    assert (result, found) == (0, [loopback])
    assert ttl > 0
    assert ask(core.dns_resolve_reverse, loopback, 0)[3] == ["localhost"]
    assert not server.asked


@pytest.mark.parametrize("name", ["long", "later", "forged"])
def test_answers_that_come_in_the_end(server, setting, name):
    if name == "later":
        setting("resolver_timeout", 2)
    assert ask(core.dns_resolve_ipv4, f"{name}.test", 0)[3] == [V4]
    assert ("tcp" in {transport for *_, transport in server.asked}) == (name == "long")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("no.test", "NOTEXIST"),
        ("six.test", "NOTEXIST"),
        ("circle.test", "NOTEXIST"),
        ("a..test", "NOTEXIST"),
        ("x" * 64, "NOTEXIST"),
        (".".join(["x" * 60] * 5), "NOTEXIST"),
        ("rcode1.test", "FORMAT"),
        ("rcode2.test", "SERVERFAILED"),
        ("rcode4.test", "NOTIMPL"),
        ("rcode5.test", "REFUSED"),
        ("rcode9.test", "UNKNOWN"),
        ("silence.test", "TIMEOUT"),
        ("wrong-id.test", "TIMEOUT"),
        ("short.test", "TIMEOUT"),
        ("cut.test", "SERVERFAILED"),
        ("pointer-loop.test", "SERVERFAILED"),
        ("bad-address.test", "SERVERFAILED"),
    ],
)
def test_failures(setting, name, code):
    if code == "TIMEOUT":
        setting("resolver_timeout", 0.2)
    expected = (getattr(core, f"DNS_ERR_{code}"), core.DNS_IPv4_A, 0, [])
    assert ask(core.dns_resolve_ipv4, name, core.DNS_QUERY_NO_SEARCH) == expected


def test_an_address_without_a_name():
    expected = (core.DNS_ERR_NOTEXIST, core.DNS_PTR, 0, [])
    assert ask(core.dns_resolve_reverse, bytes([10, 0, 0, 1]), 0) == expected


def test_the_search_list(monkeypatch):
    dns_client = importlib.import_module("gevent.compat.dns_client")
    settings = dns_client._settings()
    settings.search, settings.ndots = ["nothing.test", "lan.test."], 1
    monkeypatch.setattr(dns_client, "_settings", lambda: settings)
    assert ask(core.dns_resolve_ipv4, "host", 0)[3] == [bytes([10, 9, 9, 9])]
    assert ask(core.dns_resolve_ipv4, "host.test", 0)[3] == [V4], "complete names come first"
    unknown = (core.DNS_ERR_NOTEXIST, core.DNS_IPv4_A, 0, [])
    assert ask(core.dns_resolve_ipv4, "host", core.DNS_QUERY_NO_SEARCH) == unknown
    assert ask(core.dns_resolve_ipv4, "host.", 0) == unknown


def test_shutdown_ends_what_is_under_way():
    core.dns_init()
    answer = AsyncResult()
    core.dns_resolve_ipv4("slow.test", 0, lambda *given: answer.set(given))
    gevent.sleep(0)
    core.dns_shutdown()
    assert answer.get(timeout=10) == (core.DNS_ERR_SHUTDOWN, core.DNS_IPv4_A, 0, [])


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: core.dns_resolve_reverse("10.1.2.3", 0, print), TypeError, "address of 4 bytes"),
        (lambda: core.dns_resolve_reverse(None, 0, print), TypeError, "address of 4 bytes"),
        (lambda: core.dns_resolve_reverse_ipv6(V4, 0, print), OSError, "address of 16 bytes"),
        (lambda: core.dns_resolve_reverse(b"", 0, print), OSError, "address of 4 bytes"),
        (lambda: core.dns_resolve_ipv4(b"host.test", 0, print), TypeError, "name must be str"),
        (lambda: core.dns_resolve_ipv4("host.test", 0, None), TypeError, "must be callable"),
        (lambda: core.dns_resolve_ipv4("host.test", 0, print, 5), TypeError, "positional"),
    ],
)
def test_what_cannot_be_asked(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_texts():
    assert core.dns_err_to_string(core.DNS_ERR_NOTEXIST) == "no such name or address"
    assert core.dns_err_to_string(1234) == "[unknown error code 1234]"


def test_the_module_that_waits():
    with warnings.catch_warnings(action="ignore"):
        dns = importlib.import_module("gevent.dns")
    assert dns.resolve_ipv4("host.test") == (60, [V4])
    assert dns.resolve_ipv6("host.test") == (60, [V6])
    assert dns.resolve_reverse(V4) == (60, ["host.test"])
    assert dns.resolve_reverse_ipv6(V6) == (60, ["host.test"])
    with pytest.raises(dns.DNSError, match="no such name or address") as failure:
        dns.resolve_ipv4("no.test")
    assert failure.value.errno == core.DNS_ERR_NOTEXIST
    assert isinstance(failure.value, socket.gaierror)
    with pytest.raises(dns.DNSError, match="could not interpret"):
        dns.resolve_reverse(b"")
