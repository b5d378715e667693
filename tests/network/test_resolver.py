"""Looking up names: where it happens, what is returned, and what is raised."""

import socket as stdlib

import pytest

import gevent
from gevent import socket
from gevent.resolver import AbstractResolver, blocking, is_address, is_ipv6_addr, thread


@pytest.fixture(params=[thread.Resolver, blocking.Resolver])
def resolver(request):
    hub = gevent.get_hub()
    hub.resolver = request.param(hub)
    yield hub.resolver
    del hub.resolver


LOOK_UPS = [
    lambda module: module.getaddrinfo("localhost", 80),
    lambda module: module.getaddrinfo("127.0.0.1", 80, 0, socket.SOCK_STREAM),
    lambda module: module.getaddrinfo("127.0.0.1", "http"),
    lambda module: module.getaddrinfo("::1", None, type=socket.SOCK_DGRAM),
    lambda module: module.getaddrinfo(None, 0, 0, 0, 0, socket.AI_PASSIVE),
    lambda module: module.getaddrinfo(b"localhost", b"80"),
    lambda module: module.gethostbyname("localhost"),
    lambda module: module.gethostbyname("127.0.0.1"),
    lambda module: module.gethostbyname(""),
    lambda module: module.gethostbyname_ex("localhost"),
    lambda module: module.gethostbyaddr("127.0.0.1"),
    lambda module: module.getnameinfo(("127.0.0.1", 80), 0),
    lambda module: module.getnameinfo(
        ("127.0.0.1", 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    ),
    lambda module: module.getfqdn("localhost"),
]


@pytest.mark.parametrize("look_up", LOOK_UPS)
def test_the_answers_are_the_systems(resolver, look_up):
    assert look_up(socket) == look_up(stdlib)


FAILURES = [
    lambda module: module.getaddrinfo("127.0.0.1", "no-such-service"),
    lambda module: module.getaddrinfo("no-such-host.invalid", 80),
    lambda module: module.getaddrinfo("", 80),
    lambda module: module.getaddrinfo("nul\0", 80),
    lambda module: module.getaddrinfo("a" * 300, 80),
    lambda module: module.getaddrinfo(5, 80),
    lambda module: module.getaddrinfo(),
    lambda module: module.gethostbyname(1),
    lambda module: module.gethostbyaddr("no-such-host.invalid"),
    lambda module: module.getnameinfo(("no-such-host.invalid", 80), 0),
    lambda module: module.getnameinfo(("127.0.0.1", 80), 1 << 40),
]


@pytest.mark.parametrize("look_up", FAILURES)
@pytest.mark.usefixtures("printed")
def test_the_errors_are_the_systems(resolver, look_up):
    for _ in range(5):
        with pytest.raises(Exception) as expected:  # noqa: PT011
            look_up(stdlib)
        with pytest.raises(type(expected.value)) as raised:
            look_up(socket)
        codes = [getattr(error.value, "errno", None) for error in (expected, raised)]
        if stdlib.EAI_AGAIN not in codes:
            break
        # The name server did not answer one of them in time.
    assert codes[0] == codes[1]


def test_enumerations():
    family, kind, *_ = socket.getaddrinfo("127.0.0.1", 80)[0]
    assert family is socket.AddressFamily.AF_INET
    assert kind is socket.SocketKind.SOCK_STREAM


def test_others_run_during_a_look_up():
    ran = []
    gevent.spawn(ran.append, 1)
    socket.getaddrinfo("localhost", 80)
    assert ran == [1]


def test_many_look_ups_at_once():
    look_ups = [gevent.spawn(socket.gethostbyname, "localhost") for _ in range(100)]
    gevent.joinall(look_ups, timeout=20, raise_error=True)
    assert {look_up.value for look_up in look_ups} == {"127.0.0.1"}


def test_an_address_needs_no_thread():
    ran = []
    gevent.spawn(ran.append, 1)
    assert socket.gethostbyname("127.0.0.1") == "127.0.0.1"
    assert socket.getaddrinfo("::1", 80, socket.AF_INET6)
    assert ran == []


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("fe80::1", True),
        ("localhost", False),
        ("1.2.3", True),
        ("0x7f000001", True),
        ("1.2.3.400", False),
        ("host1", False),
        ("::g", False),
        ("", False),
        ("127.0.0.1\0", False),
        (None, False),
        (b"127.0.0.1", True),
        ("fe80::1%lo", True),
        ("1.2.3.4 x", False),
    ],
)
def test_is_address(host, expected):
    assert is_address(host) is expected


class Fixed(AbstractResolver):
    """Knows one host, and counts how often it was asked."""

    def __init__(self):
        self.asked = []

    def _gethostbyname_ex(self, hostname_bytes, family):
        self.asked.append(hostname_bytes)
        if hostname_bytes != b"known.example":
            raise socket.gaierror(socket.EAI_NONAME)
        return "known.example", [], ["192.0.2.1"]

    def _getaddrinfo(self, host_bytes, port, family, socktype, proto, flags):
        self.asked.append(host_bytes)
        return stdlib.getaddrinfo("192.0.2.1", port, family, socktype, proto, flags)

    def _gethostbyaddr(self, ip_address_bytes):
        self.asked.append(ip_address_bytes)
        return "known.example", [], [ip_address_bytes.decode()]

    def _getnameinfo(self, address_bytes, port, sockaddr, flags):
        self.asked.append(address_bytes)
        return "known.example", str(port)

    gethostbyname = AbstractResolver.fixup_gaierror(AbstractResolver.gethostbyname)


def test_a_resolver_of_ones_own():
    resolver = Fixed()
    assert resolver.gethostbyname("known.example") == "192.0.2.1"
    assert resolver.getaddrinfo("known.example", 80)[0][-1] == ("192.0.2.1", 80)
    assert resolver.gethostbyaddr("known.example")[0] == "known.example"
    assert resolver.getnameinfo(("192.0.2.1", 80), 0) == ("known.example", "80")
    with pytest.raises(socket.gaierror, match="Name or service not known"):
        resolver.gethostbyname("b\xfccher.example")
    assert resolver.asked == [
        b"known.example",
        b"known.example",
        b"known.example",
        b"192.0.2.1",
        b"192.0.2.1",
        b"xn--bcher-kva.example",
    ]
    resolver.close()


def test_what_a_resolver_need_not_be_asked():
    resolver = Fixed()
    numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    assert resolver.gethostbyname("127.0.0.1") == "127.0.0.1"
    assert resolver.gethostbyname("") == stdlib.gethostbyname("")
    assert resolver.getaddrinfo("::1", 80) == stdlib.getaddrinfo("::1", 80)
    assert resolver.getaddrinfo(None, 80) == stdlib.getaddrinfo(None, 80)
    assert resolver.getnameinfo(("192.0.2.1", 80), numeric) == ("192.0.2.1", "80")
    for look_up in (
        lambda: resolver.getaddrinfo("name", 80, flags=socket.AI_NUMERICHOST),
        lambda: resolver.getnameinfo(("name", 80), 0),
        lambda: resolver.gethostbyname("nul\0"),
    ):
        with pytest.raises(socket.gaierror) as caught:
            look_up()
        assert caught.value.errno == socket.EAI_NONAME
    with pytest.raises(TypeError):
        resolver.gethostbyname(5)
    with pytest.raises(TypeError):
        resolver.getnameinfo("name", 0)
    assert resolver.asked == []


def test_is_ipv6_addr():
    assert is_ipv6_addr("::1")
    assert is_ipv6_addr(b"fe80::1%eth0")
    assert not is_ipv6_addr("127.0.0.1")
    assert not is_ipv6_addr(None)


def test_the_setting(run_python):
    done = run_python(
        "import gevent; print(type(gevent.get_hub().resolver).__module__)",
        GEVENT_RESOLVER="block",
    )
    assert done.stdout == "gevent.resolver.blocking\n", done.stderr
    done = run_python("import gevent; print(gevent.get_hub().resolver)")
    assert "gevent.resolver.thread.Resolver at 0x" in done.stdout, done.stderr
    assert "pool=<ThreadPool" in done.stdout


def test_what_is_not_found_is_not_reported(run_python):
    done = run_python(
        """
        import gevent
        from gevent import socket
        jobs = [gevent.spawn(socket.getaddrinfo, host, "no such service")
                for host in ("127.0.0.1", "localhost")]
        gevent.joinall(jobs)
        print(*(type(job.exception).__name__ for job in jobs))
        print(*(error.__name__ for error in gevent.get_hub().NOT_ERROR))
        """
    )
    assert done.stdout == "gaierror gaierror\nGreenletExit SystemExit gaierror herror\n"
    assert done.stderr == ""
