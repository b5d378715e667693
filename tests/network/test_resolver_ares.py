"""The resolver ares: what it finds, in the order and the shape in which the C library gives it."""

import ctypes
import struct
from _socket import getaddrinfo as libc_getaddrinfo
from _socket import gethostbyaddr as libc_gethostbyaddr
from _socket import gethostbyname_ex as libc_gethostbyname_ex

import pytest
from dns_server import DNSServer, Reply

from gevent import socket
from gevent.resolver import cares, thread
from gevent.resolver.ares import Resolver

ZONE = {
    "host.test": {"A": ["10.1.2.3", "10.1.2.4"], "AAAA": ["2001:db8::1"]},
    "four.test": {"A": ["10.4.4.4"]},
    "six.test": {"AAAA": ["2001:db8::6"]},
    "many.test": {"A": [f"10.9.{i}.{j}" for i in range(3) for j in range(10)]},
    "empty.test": {},
    "alias.test": {"CNAME": ["mid.test"]},
    "mid.test": {"CNAME": ["host.test"]},
    "dangling.test": {"CNAME": ["nowhere.test"]},
    "long.test": Reply({"A": [f"10.8.0.{i}" for i in range(200)]}, truncated=True),
    "xn--bcher-kva.test": {"A": ["10.5.5.5"]},
    "under_score.test": {"A": ["10.6.6.6"]},
    "servfail.test": Reply(rcode=2),
    "3.2.1.10.in-addr.arpa": {"PTR": ["host.test"]},
    "4.2.1.10.in-addr.arpa": {"PTR": ["host.test", "other.test"]},
    "6.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa": {
        "PTR": ["six.test"]
    },
    "x.first.test": {"A": ["10.7.0.1"]},
    "x.second.test": {"A": ["10.7.0.2"]},
    "y.second.test": {"A": ["10.7.0.3"]},
    "a.b": {"A": ["10.7.0.4"]},
    "a.b.first.test": {"A": ["10.7.0.5"]},
}


@pytest.fixture(scope="module")
def server():
    with DNSServer(ZONE) as running:
        yield running


@pytest.fixture
def files(tmp_path):
    """A resolv.conf with nothing in it, and a file of hosts."""
    conf, hosts = tmp_path / "resolv.conf", tmp_path / "hosts"
    conf.write_text("nameserver 127.0.0.1\n")
    hosts.write_text("127.0.0.1 localhost\n")
    return conf, hosts


@pytest.fixture
def make(server, files, monkeypatch):
    """Make resolvers that ask the server: `make(port=..., **what Resolver takes)`."""
    for variable in ("LOCALDOMAIN", "RES_OPTIONS"):
        monkeypatch.delenv(variable, raising=False)
    made = []

    def build(port=None, **kwargs):
        port = server.port if port is None else port
        settings = {
            "udp_port": port,
            "tcp_port": port,
            "timeout": 5,
            "resolv_conf": str(files[0]),
            "hosts": str(files[1]),
        }
        made.append(Resolver(use_environ=False, **{**settings, **kwargs}))
        return made[-1]

    yield build
    for resolver in made:
        resolver.close()


@pytest.fixture
def resolver(make):
    return make()


def outcome(function, *args):
    """Return the result of a function, or its error."""
    try:
        return function(*args)
    except (OSError, UnicodeError) as error:
        return type(error), *error.args


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("four.test", ("four.test", [], ["10.4.4.4"])),
        (b"four.test", ("four.test", [], ["10.4.4.4"])),
        (bytearray(b"four.test"), ("four.test", [], ["10.4.4.4"])),
        ("four.test.", ("four.test", [], ["10.4.4.4"])),
        ("FOUR.test", ("FOUR.test", [], ["10.4.4.4"])),
        ("alias.test", ("host.test", ["alias.test", "mid.test"], ["10.1.2.3", "10.1.2.4"])),
        ("bücher.test", ("xn--bcher-kva.test", [], ["10.5.5.5"])),
        ("under_score.test", ("under_score.test", [], ["10.6.6.6"])),
        ("long.test", ("long.test", [], [f"10.8.0.{i}" for i in range(200)])),
        ("many.test", ("many.test", [], ZONE["many.test"]["A"])),
        ("10.0.0.1", ("10.0.0.1", [], ["10.0.0.1"])),
        ("10.1", ("10.1", [], ["10.0.0.1"])),
        ("localhost", ("localhost", [], ["127.0.0.1"])),
        ("any.localhost", ("any.localhost", [], ["127.0.0.1"])),
        ("missing.test", (socket.gaierror, -2, "Name or service not known")),
        ("any.onion", (socket.gaierror, -2, "Name or service not known")),
        ("six.test", (socket.herror, 4, "No address associated with name")),
        ("empty.test", (socket.herror, 4, "No address associated with name")),
        ("::1", (socket.gaierror, -9, "Address family for hostname not supported")),
        ("", (socket.gaierror, -2, "Name or service not known")),
        ("nul\0.test", (socket.gaierror, -2, "Name or service not known")),
    ],
)
def test_gethostbyname_ex(resolver, name, expected):
    assert outcome(resolver.gethostbyname_ex, name) == expected
    if isinstance(expected[0], str):
        assert resolver.gethostbyname(name) == expected[2][0]


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("four.test", 80, 0, 1), [(2, 1, 6, "", ("10.4.4.4", 80))]),
        (("four.test", "http", 0, 1), [(2, 1, 6, "", ("10.4.4.4", 80))]),
        (("four.test", b"80", 0, 2), [(2, 2, 17, "", ("10.4.4.4", 80))]),
        (("four.test", None, 0, 0, 17), [(2, 2, 17, "", ("10.4.4.4", 0))]),
        (("six.test", 80, 0, 1), [(10, 1, 6, "", ("2001:db8::6", 80, 0, 0))]),
        (("six.test", 80, 10, 1), [(10, 1, 6, "", ("2001:db8::6", 80, 0, 0))]),
        (("alias.test", 1, 10, 1, 0, 2), [(10, 1, 6, "host.test", ("2001:db8::1", 1, 0, 0))]),
        (("10.0.0.1", 80, 0, 1), [(2, 1, 6, "", ("10.0.0.1", 80))]),
        (("fe80::1%lo", 80, 0, 1), [(10, 1, 6, "", ("fe80::1", 80, 0, 1))]),
        # AI_V4MAPPED, and with AI_ALL.
        (("four.test", 1, 10, 1, 0, 8), [(10, 1, 6, "", ("::ffff:10.4.4.4", 1, 0, 0))]),
        (("six.test", 1, 10, 1, 0, 8), [(10, 1, 6, "", ("2001:db8::6", 1, 0, 0))]),
        (("four.test", 80, 10), (socket.gaierror, -2, "Name or service not known")),
        (("six.test", 80, 2), (socket.gaierror, -2, "Name or service not known")),
        (("missing.test", 80), (socket.gaierror, -2, "Name or service not known")),
        (("four.test", 80, 255), (socket.gaierror, -6, "ai_family not supported")),
        (("four.test", 80, -1), (socket.gaierror, -6, "ai_family not supported")),
        (("four.test", 80, 0, 99), (socket.gaierror, -7, "ai_socktype not supported")),
        (("four.test", "no such service"), (socket.gaierror, -8, None)),
        (("four.test", 65536), (socket.gaierror, -8, None)),
        (("four.test", -1), (socket.gaierror, -8, None)),
        # AI_NUMERICHOST, AI_NUMERICSERV, and a flag that there is not.
        (("four.test", 80, 0, 0, 0, 4), (socket.gaierror, -2, "Name or service not known")),
        (("four.test", "http", 0, 0, 0, 1024), (socket.gaierror, -2, None)),
        (("four.test", 80, 0, 0, 0, 1 << 20), (socket.gaierror, -1, None)),
        (("", 80), (socket.gaierror, -2, "Name or service not known")),
    ],
)
def test_getaddrinfo(resolver, args, expected):
    found = outcome(resolver.getaddrinfo, *args)
    if isinstance(expected, tuple) and expected[2] is None:
        found, expected = found[:2], expected[:2]
    assert found == expected


def test_mapped_addresses_stand_beside_own_ones(resolver):
    found = resolver.getaddrinfo("host.test", 1, 10, 1, 0, socket.AI_V4MAPPED | socket.AI_ALL)
    addresses = {address[0] for *_, address in found}
    assert addresses == {"::ffff:10.1.2.3", "::ffff:10.1.2.4", "2001:db8::1"}


def test_names_of_no_family(resolver):
    with pytest.raises(socket.herror, match="ARES_ENOTIMP"):
        resolver.gethostbyname("four.test", 99)
    assert resolver.gethostbyname("host.test", socket.AF_INET6) == "2001:db8::1"
    assert resolver.gethostbyname("six.test", 0) == "2001:db8::6"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("10.1.2.3", ("host.test", [], ["10.1.2.3"])),
        (b"10.1.2.3", ("host.test", [], ["10.1.2.3"])),
        ("10.1.2.4", ("host.test", ["other.test"], ["10.1.2.4"])),
        ("2001:db8::6", ("six.test", [], ["2001:db8::6"])),
        ("six.test", ("six.test", [], ["2001:db8::6"])),
        ("127.0.0.1", ("localhost", [], ["127.0.0.1"])),
        ("10.1.2.9", (socket.herror, 1, "Unknown host")),
        ("<broadcast>", (socket.herror, 1, "Unknown host")),
        ("missing.test", (socket.gaierror, -2, "Name or service not known")),
        ("", (OSError, "wildcard resolved to multiple address")),
    ],
)
def test_gethostbyaddr(resolver, host, expected):
    assert outcome(resolver.gethostbyaddr, host) == expected


@pytest.mark.parametrize(
    ("sockaddr", "flags", "expected"),
    [
        (("10.1.2.3", 80), 0, ("host.test", "http")),
        (("10.1.2.3", 80), socket.NI_NUMERICHOST, ("10.1.2.3", "http")),
        (("10.1.2.3", 80), socket.NI_NUMERICSERV, ("host.test", "80")),
        (("10.1.2.3", 53), socket.NI_DGRAM, ("host.test", "domain")),
        (("2001:db8::6", 80, 0, 0), 0, ("six.test", "http")),
        (("fe80::1%lo", 80, 0, 1), 0, ("fe80::1%lo", "http")),
        (("10.1.2.9", 80), 0, ("10.1.2.9", "http")),
        (("10.1.2.9", 80), socket.NI_NAMEREQD, (socket.gaierror, -2, None)),
        (("four.test", 80), 0, (socket.gaierror, -2, None)),
        (("10.1.2.3", 65536), 0, (socket.gaierror, -8, None)),
        (("10.1.2.3", 80), 55555555, (socket.gaierror, -1, None)),
        (("10.1.2.3", 80, 0, 0), 0, (OSError, "IPv4 sockaddr must be 2 tuple", None)),
    ],
)
def test_getnameinfo(resolver, sockaddr, flags, expected):
    found = outcome(resolver.getnameinfo, sockaddr, flags)
    if expected[-1] is None:
        expected = expected[:2]
        found = found[:2]
    assert found == expected


def test_names_without_this_hosts_domain(make, monkeypatch):
    monkeypatch.setattr(cares, "gethostname", lambda: "here.test")
    resolver = make()
    assert resolver.getnameinfo(("10.1.2.3", 80), socket.NI_NOFQDN)[0] == "host"
    assert resolver.getnameinfo(("10.1.2.3", 80), 0)[0] == "host.test"
    monkeypatch.setattr(cares, "gethostname", lambda: "here")
    assert resolver.getnameinfo(("10.1.2.3", 80), socket.NI_NOFQDN)[0] == "host.test"


@pytest.mark.parametrize("wrong", [None, 5, ["four.test"]])
def test_what_is_no_name(resolver, wrong):
    for function in (resolver.gethostbyname, resolver.gethostbyaddr):
        with pytest.raises(TypeError):
            function(wrong)
    with pytest.raises(TypeError):
        resolver.getnameinfo(wrong, 0)


LONG = ".".join(["a" * 60] * 5)


@pytest.mark.parametrize("name", [LONG, b"a" * 64 + b".test", "sp ace.test", b"a..b", b"\xff.test"])
def test_what_cannot_be_a_name(resolver, server, name):
    before = len(server.asked)
    with pytest.raises(socket.herror, match="ARES_EBADNAME: Misformatted domain name"):
        resolver.gethostbyname(name)
    with pytest.raises(socket.gaierror, match="ARES_EBADNAME: Misformatted domain name"):
        resolver.getaddrinfo(name, 80)
    assert len(server.asked) == before


def test_labels_that_idna_refuses(resolver):
    for name in ("a" * 64 + ".test", "a..b", "ü" * 64 + ".test"):
        with pytest.raises(UnicodeError):
            resolver.gethostbyname(name)


class Libc:
    """The C library's resolver in this thread, made to ask a server at any port of 127.0.0.1."""

    def __init__(self, port: int) -> None:
        libc = ctypes.CDLL(None)
        find, initialise = getattr(libc, "__res_state"), getattr(libc, "__res_init")
        find.restype = ctypes.c_void_p
        initialise()
        # `struct __res_state`: after two numbers and the options, the count of servers, and they.
        state = (ctypes.c_char * 64).from_address(find())
        struct.pack_into("=iH", state, 16, 1, socket.AF_INET)
        struct.pack_into("!H4s8x", state, 22, port, socket.inet_aton("127.0.0.1"))


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "__res_state"), reason="needs the GNU libc")
def test_the_same_as_the_c_library(resolver, server):
    Libc(server.port)
    for name in ("four.test", "six.test", "host.test", "alias.test", "many.test", "long.test"):
        for args in ((80, 0, 1), (80, 0, 0), ("http",), (80, 2), (80, 10), (None, 0, 2), (1, 0, 3)):
            theirs = outcome(libc_getaddrinfo, name, *args)
            ours = outcome(resolver.getaddrinfo, name, *args)
            if theirs[:2] == (socket.gaierror, -5):  # which libc tells from -2, c-ares does not
                theirs = socket.gaierror, -2, "Name or service not known"
            assert ours == theirs, (name, args)
        for family in (0, socket.AF_INET6):
            args = (name, 80, family, 1, 0, socket.AI_CANONNAME | socket.AI_V4MAPPED)
            assert resolver.getaddrinfo(*args) == outcome(libc_getaddrinfo, *args), args
    for name in ("four.test", "host.test", "alias.test", "bücher.test", "10.1", "four.test."):
        assert resolver.gethostbyname_ex(name) == libc_gethostbyname_ex(name)
    for address in ("10.1.2.3", "2001:db8::6", "10.1.2.9"):
        theirs = outcome(libc_gethostbyaddr, address)
        assert outcome(resolver.gethostbyaddr, address) == theirs


def test_search_list(make, files, server):
    files[0].write_text("nameserver 127.0.0.1\nsearch first.test second.test\n")
    resolver = make()
    assert resolver.gethostbyname_ex("x") == ("x.first.test", [], ["10.7.0.1"])
    assert resolver.gethostbyname("y") == "10.7.0.3"
    # As it is first, as it has a dot.
    assert resolver.gethostbyname("a.b") == "10.7.0.4"
    with pytest.raises(socket.gaierror, match="Name or service not known"):
        resolver.gethostbyname("x.")
    before = len(server.asked)
    with pytest.raises(socket.gaierror):
        resolver.gethostbyname("z")
    assert server.names_asked()[before:] == ["z.first.test", "z.second.test", "z"]
    files[0].write_text("nameserver 127.0.0.1\nsearch . first.test .\n")
    before = len(server.asked)
    assert resolver.gethostbyname("x") == "10.7.0.1"
    assert server.names_asked()[before:] == ["x.first.test"]
    assert make(ndots=2).gethostbyname("a.b") == "10.7.0.5"
    with pytest.raises(socket.gaierror):
        make(flags=32).gethostbyname("x")


def test_settings_that_say_nothing(make):
    resolver = make(timeout=0, tries=-1, ndots=-1, flags=None)
    assert resolver.gethostbyname("four.test") == "10.4.4.4"


def test_environment_variables_override_the_file(make, files, monkeypatch):
    files[0].write_text("nameserver 127.0.0.1\nsearch first.test\noptions ndots:1\n")
    monkeypatch.setenv("LOCALDOMAIN", "second.test")
    monkeypatch.setenv("RES_OPTIONS", "ndots:2")
    resolver = make()
    assert resolver.gethostbyname("x") == "10.7.0.2"
    assert resolver.gethostbyname("a.b") == "10.7.0.4"


def test_options_of_the_file(make, files, server):
    files[0].write_text(
        "; a comment\nbogus line\nnameserver nonsense\noptions ndots:2 use-vc no-aaaa bogus:5\n"
        "domain second.test\nsearch first.test\n"
    )
    resolver = make(servers=["127.0.0.1"])
    assert resolver.gethostbyname("a.b") == "10.7.0.5"
    assert server.asked[-1] == ("a.b.first.test", "A", "tcp")
    with pytest.raises(socket.gaierror):
        resolver.getaddrinfo("six.test", 80)


def test_files_are_read_again_when_they_change(make, files):
    resolver = make()
    with pytest.raises(socket.gaierror):
        resolver.gethostbyname("x")
    files[0].write_text("nameserver 127.0.0.1\nsearch first.test\n")
    assert resolver.gethostbyname("x") == "10.7.0.1"
    files[1].write_text("10.3.3.3 x\n")
    assert resolver.gethostbyname("x") == "10.3.3.3"
    files[0].unlink()
    files[1].unlink()
    with pytest.raises(socket.gaierror):
        resolver.gethostbyname("x")
    # Without the file it is this host's server that is asked.
    assert resolver.gethostbyname("four.test") == "10.4.4.4"


def test_file_of_hosts(make, files, server):
    files[1].write_text(
        "10.3.0.1 first.host First alias # a comment\n"
        "10.3.0.2\tfirst.host\n"
        "fd00::1 first.host six.host\n"
        "nonsense first.host\n"
        "10.3.0.3\n"
        "#10.3.0.4 first.host\n"
        "::1 this.host\n"
        "127.0.0.1 this.host another\n"
    )
    resolver = make()
    before = len(server.asked)
    for name in ("first.host", "FIRST.HOST", "first.host."):
        found = resolver.gethostbyname_ex(name)
        addresses = ["10.3.0.1", "10.3.0.2"]
        assert found == ("first.host", ["First", "alias"], addresses)
    assert resolver.gethostbyname("ALIAS") == "10.3.0.1"
    assert resolver.gethostbyaddr("10.3.0.2") == ("first.host", [], ["10.3.0.2"])
    assert resolver.gethostbyaddr("fd00::1") == ("first.host", ["six.host"], ["fd00::1"])
    assert resolver.gethostbyname_ex("this.host") == ("this.host", ["another"], ["127.0.0.1"])
    assert resolver.gethostbyname("this.host", socket.AF_INET6) == "::1"
    found = {address[0] for *_, address in resolver.getaddrinfo("first.host", 80)}
    assert found == {"10.3.0.1", "10.3.0.2", "fd00::1"}
    assert len(server.asked) == before


def test_settings(make, server, monkeypatch):
    port = str(server.port)
    stated = {
        "GEVENTARES_SERVERS": "127.0.0.1",
        "GEVENTARES_TIMEOUT": "3.5",
        "GEVENTARES_TRIES": "1",
        "GEVENTARES_NDOTS": "2",
        "GEVENTARES_FLAGS": "1",
        "GEVENTARES_UDP_PORT": port,
        "GEVENTARES_TCP_PORT": port,
    }
    from gevent import _config

    for name, value in stated.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("gevent.resolver.ares.config", _config.Config())
    resolver = Resolver(timeout=40)
    assert resolver.params == {
        "servers": ["127.0.0.1"],
        "timeout": 40,
        "tries": 1,
        "ndots": 2,
        "flags": 1,
        "udp_port": server.port,
        "tcp_port": server.port,
    }
    assert resolver.gethostbyname("four.test") == "10.4.4.4"
    assert server.asked[-1] == ("four.test", "A", "tcp")
    resolver.close()
    monkeypatch.delenv("GEVENTARES_SERVERS")
    monkeypatch.delenv("GEVENTARES_TIMEOUT")
    monkeypatch.setenv("GEVENT_RESOLVER_NAMESERVERS", "127.0.0.2,127.0.0.3")
    monkeypatch.setenv("GEVENT_RESOLVER_TIMEOUT", "2")
    monkeypatch.setattr("gevent.resolver.ares.config", _config.Config())
    with_newer = Resolver()
    assert with_newer.params["servers"] == ["127.0.0.2", "127.0.0.3"]
    assert with_newer.params["timeout"] == 2
    with_newer.close()
    without = Resolver(use_environ=False)
    assert without.params == {}
    without.close()


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"servers": ["nonsense"]}, cares.InvalidIP),
        ({"servers": ["127.0.0.1:53"]}, cares.InvalidIP),
        ({"servers": ["fe80::1%nosuchinterface"]}, cares.InvalidIP),
        ({"servers": 5}, TypeError),
        ({"timeout": "soon"}, ValueError),
        ({"timeout": 1e300}, OverflowError),
        ({"flags": 1 << 40}, OverflowError),
        ({"udp_port": 70000}, OverflowError),
        ({"bogus": 1}, TypeError),
    ],
)
def test_settings_that_make_no_sense(settings, error):
    with pytest.raises(error):
        Resolver(use_environ=False, **settings)


def test_the_hubs_resolver(output_of, server):
    out = output_of(
        """
        import sys
        import gevent
        from gevent import socket
        print(gevent.get_hub().resolver.__class__)
        print(socket.gethostbyname("four.test"), socket.getaddrinfo("four.test", 80)[0])
        """,
        GEVENT_RESOLVER="ares",
        GEVENTARES_SERVERS="127.0.0.1",
        GEVENTARES_UDP_PORT=str(server.port),
    )
    assert out.splitlines() == [
        "<class 'gevent.resolver.ares.Resolver'>",
        "10.4.4.4 (<AddressFamily.AF_INET: 2>, <SocketKind.SOCK_STREAM: 1>, 6, '',"
        " ('10.4.4.4', 80))",
    ]


def test_older_names():
    import gevent.ares

    assert gevent.ares.channel is cares.channel is Resolver.cares_class
    with pytest.warns(DeprecationWarning, match=r"gevent\.resolver\.ares"):
        from gevent import resolver_ares
    with pytest.warns(DeprecationWarning, match=r"gevent\.resolver\.thread"):
        from gevent import resolver_thread
    assert resolver_ares.Resolver is Resolver
    assert resolver_thread.Resolver is thread.Resolver
