"""The resolver ares and name servers that answer wrongly, late, or not at all."""

import random
import re

import pytest
from conditions import until
from dns_server import FAULTS, FORMERR, NOTIMP, REFUSED, SERVFAIL, DNSServer, Reply
from ports import free_port

from gevent import socket
from gevent.pool import Pool
from gevent.resolver.ares import Resolver

BAD, SILENT = "ARES_EBADRESP", "ARES_ETIMEOUT"
NO_DATA, NO_NAME = "No address associated with name", "Name or service not known"
FINE = "10.6.6.6"

# Seconds to wait for a server that will not answer, and for one that will, however busy it is.
SHORT, PATIENT = 0.2, 20

# By fault: what gethostbyname returns or says, and what getaddrinfo says.
EXPECTED = {
    "silence": (SILENT, SILENT),
    "wrong id": (SILENT, SILENT),
    "wrong question": (SILENT, SILENT),
    "no question": (SILENT, SILENT),
    "not a response": (BAD, BAD),
    "wrong class": (BAD, BAD),
    "wrong owner": (NO_DATA, NO_NAME),
    "short": (BAD, BAD),
    "garbage": (BAD, BAD),
    "cut": (BAD, BAD),
    "pointer loop": (BAD, BAD),
    "bad address": (BAD, BAD),
    "oversized": (FINE, FINE),
    "forged first": (FINE, FINE),
    "hang up": (SILENT, SILENT),
}
OVER_TCP = {"hang up": "ARES_ECONNREFUSED"}

REPLIES = {
    "loop.test": Reply({"CNAME": ["loop2.test"]}),
    "loop2.test": Reply({"CNAME": ["loop.test"]}),
    "self.test": Reply({"CNAME": ["self.test"]}),
    **{f"chain{i}.test": Reply({"CNAME": [f"chain{i + 1}.test"]}) for i in range(30)},
    "chain30.test": Reply({"A": [FINE]}),
    "formerr.test": Reply(rcode=FORMERR),
    "servfail.test": Reply(rcode=SERVFAIL),
    "notimp.test": Reply(rcode=NOTIMP),
    "refused.test": Reply(rcode=REFUSED),
    "late.test": Reply({"A": [FINE]}, delay=4),
    "lost.test": Reply({"A": [FINE]}, silent_first=1),
    "tc.test": Reply({"A": [FINE]}, truncated=True),
    "tcnothing.test": Reply(truncated=True),
    "huge.test": Reply({"A": [f"10.{i}.{j}.1" for i in range(8) for j in range(250)]}),
}


def name_of(fault: str) -> str:
    return fault.replace(" ", "-") + ".test"


@pytest.fixture(scope="module")
def server():
    faulty = {name_of(fault): Reply({"A": [FINE]}, fault=fault) for fault in FAULTS}
    address = {"1.2.1.10.in-addr.arpa": Reply(fault="silence")}
    address["2.2.1.10.in-addr.arpa"] = Reply(rcode=SERVFAIL)
    address["3.2.1.10.in-addr.arpa"] = Reply({"PTR": ["name.test"]}, fault="cut")
    with DNSServer({**REPLIES, **faulty, **address}) as running:
        yield running


@pytest.fixture
def make(server):
    made = []

    def build(*ports, **kwargs):
        port = ports[0] if ports else server.port
        settings = {"servers": ["127.0.0.1"], "timeout": PATIENT, "tries": 1, **kwargs}
        resolver = Resolver(use_environ=False, udp_port=port, tcp_port=port, **settings)
        made.append(resolver)
        return resolver

    yield build
    for resolver in made:
        resolver.close()


def check(expected, error, function, *args):
    """The function finds the address, or raises an error of that class with that text."""
    if expected == FINE:
        assert FINE in str(function(*args))
        return
    if expected == NO_NAME:
        error = socket.gaierror
    with pytest.raises(error, match=re.escape(expected)) as caught:
        function(*args)
    assert type(caught.value) is error


def test_every_fault_is_expected():
    assert set(EXPECTED) == FAULTS


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_faults(make, fault):
    for_host, for_addresses = EXPECTED[fault]
    resolver, name = make(timeout=SHORT if for_host == SILENT else PATIENT), name_of(fault)
    check(for_host, socket.herror, resolver.gethostbyname, name)
    check(for_host, socket.herror, resolver.gethostbyname_ex, name)
    check(for_addresses, socket.gaierror, resolver.getaddrinfo, name, 80)
    if for_addresses != FINE:
        check(for_addresses, socket.gaierror, resolver.gethostbyaddr, name)


@pytest.mark.parametrize("fault", sorted(FAULTS - {"wrong question", "no question"}))
def test_faults_over_tcp(make, fault):
    expected = OVER_TCP.get(fault, EXPECTED[fault][0])
    resolver = make(flags=1, timeout=SHORT if expected == SILENT else PATIENT)
    check(expected, socket.herror, resolver.gethostbyname, name_of(fault))


@pytest.mark.parametrize(
    ("name", "expected", "number"),
    [
        ("loop.test", NO_DATA, 4),
        ("self.test", NO_DATA, 4),
        ("formerr.test", "ARES_EFORMERR: DNS server claims query was misformatted", 2),
        ("servfail.test", "ARES_ESERVFAIL: DNS server returned general failure", 3),
        ("notimp.test", "ARES_ENOTIMP: DNS server does not implement requested operation", 5),
        ("refused.test", "ARES_EREFUSED: DNS server refused query", 6),
        ("silence.test", "ARES_ETIMEOUT: Timeout while contacting DNS servers", 12),
        ("cut.test", "ARES_EBADRESP: Misformatted DNS reply", 10),
        ("tcnothing.test", NO_DATA, 4),
    ],
)
def test_failures(make, name, expected, number):
    resolver = make(timeout=SHORT if number == 12 else PATIENT)
    with pytest.raises(socket.herror, match=re.escape(expected)) as caught:
        resolver.gethostbyname(name)
    assert caught.value.errno == number


def test_failures_of_addresses(make):
    for address, expected, timeout in (
        ("10.1.2.1", "ARES_ETIMEOUT", SHORT),
        ("10.1.2.2", "ARES_ESERVFAIL", PATIENT),
        ("10.1.2.3", "ARES_EBADRESP", PATIENT),
    ):
        resolver = make(timeout=timeout)
        with pytest.raises(socket.herror, match=expected):
            resolver.gethostbyaddr(address)
        assert resolver.getnameinfo((address, 80), 0) == (address, "http")
        with pytest.raises(socket.gaierror, match=NO_NAME):
            resolver.getnameinfo((address, 80), socket.NI_NAMEREQD)


def test_answers_too_long_for_a_datagram(make, server):
    resolver = make()
    before = len(server.asked)
    assert resolver.gethostbyname("tc.test") == FINE
    assert [how for _, _, how in server.asked[before:]] == ["udp", "tcp"]
    name, aliases, addresses = resolver.gethostbyname_ex("huge.test")
    assert (name, aliases, len(addresses)) == ("huge.test", [], 2000)
    # IGNTC: what was cut off is the answer.
    with pytest.raises(socket.herror):
        make(flags=4).gethostbyname("tc.test")


def test_chains_of_aliases_end(make):
    name, aliases, addresses = make().gethostbyname_ex("chain20.test")
    assert (name, len(aliases), addresses) == ("chain30.test", 10, [FINE])
    resolver = make()
    assert resolver.gethostbyname_ex("chain0.test")[1:][1] == [FINE]


def test_chains_of_aliases_that_come_one_link_an_answer():
    zone = {f"link{i}.test": Reply({"CNAME": [f"link{i + 1}.test"]}) for i in range(8)}
    zone |= {"link8.test": Reply({"A": [FINE], "AAAA": ["2001:db8::1"]})}
    zone |= {"ring0.test": Reply({"CNAME": ["ring1.test"]})}
    zone |= {"ring1.test": Reply({"CNAME": ["ring0.test"]})}
    zone |= {"dead.test": Reply({"CNAME": ["missing.test"]})}
    with DNSServer(zone, follow=False) as server:
        ports = {"udp_port": server.port, "tcp_port": server.port}
        resolver = Resolver(
            use_environ=False, servers=["127.0.0.1"], timeout=PATIENT, tries=1, **ports
        )
        name, aliases, addresses = resolver.gethostbyname_ex("link0.test")
        assert (name, addresses) == ("link8.test", [FINE])
        assert aliases == [f"link{i}.test" for i in range(8)]
        found = {address[0] for *_, address in resolver.getaddrinfo("link0.test", 80)}
        assert found == {FINE, "2001:db8::1"}
        for name in ("ring0.test", "dead.test"):
            with pytest.raises(socket.gaierror, match=NO_NAME):
                resolver.getaddrinfo(name, 80)
        resolver.close()


def test_a_lost_datagram_is_sent_again(make, server):
    before = server.names_asked().count("lost.test")
    assert make(tries=3, timeout=2).gethostbyname("lost.test") == FINE
    assert server.names_asked().count("lost.test") >= before + 2


def test_it_asks_as_often_as_it_may(make, server):
    before = server.names_asked().count("silence.test")
    with pytest.raises(socket.herror):
        make(tries=3, timeout=0.1).gethostbyname("silence.test")
    until(lambda: server.names_asked().count("silence.test") >= before + 3)
    assert server.names_asked().count("silence.test") == before + 3


def test_a_late_answer_is_no_answer_to_the_next_question(make):
    resolver = make(timeout=2)
    with pytest.raises(socket.herror, match=SILENT):
        resolver.gethostbyname("late.test")
    assert resolver.gethostbyname("oversized.test") == FINE


def test_nobody_listens(make):
    # The kernel says so at once: it does not take the 20 seconds.
    resolver = make(free_port())
    with pytest.raises(socket.herror, match="ARES_ECONNREFUSED: Could not contact DNS servers"):
        resolver.gethostbyname("any.test")
    with pytest.raises(socket.gaierror, match="ARES_ECONNREFUSED"):
        resolver.getaddrinfo("any.test", 80)


def test_the_next_server_is_asked():
    replies = {"one.test": Reply({"A": [FINE]})}
    with DNSServer(replies) as good:
        # Nobody is at the same port of the other addresses.
        settings = {"udp_port": good.port, "tcp_port": good.port, "timeout": PATIENT, "tries": 1}
        servers = ["127.0.0.2", "127.0.0.1"]
        resolver = Resolver(use_environ=False, servers=servers, **settings)
        assert resolver.gethostbyname("one.test") == FINE
        # What one of them knows for certain nobody else is asked.
        with pytest.raises(socket.gaierror, match=NO_NAME):
            resolver.gethostbyname("missing.test")
        resolver.close()
        # PRIMARY: only the first.
        resolver = Resolver(use_environ=False, servers=servers, flags=2, **settings)
        with pytest.raises(socket.herror, match="ARES_ECONNREFUSED"):
            resolver.gethostbyname("one.test")
        resolver.close()


class Mutilating(DNSServer):
    """Answers rightly but for some octets, which are lost, doubled or others."""

    random = random.Random(6)

    def answers(self, *question):
        for right in super().answers(*question):
            octets = bytearray(right)
            for _ in range(self.random.randint(1, 4)):
                # The id stays, or nobody would look at the rest.
                at = self.random.randrange(2, len(octets))
                kind = self.random.choice(("change", "insert", "delete", "end"))
                if kind == "change":
                    octets[at] = self.random.choice((0, 0xC0, 0xFF, self.random.randrange(256)))
                elif kind == "insert":
                    octets[at:at] = self.random.randbytes(3)
                elif kind == "delete":
                    del octets[at]
                else:
                    del octets[max(at, 13) :]
            yield bytes(octets)


def test_mutilated_answers(capfd):
    records = {"A": [FINE] * 3, "AAAA": ["2001:db8::1"], "CNAME": ["other.test"]}
    zone = {"other.test": {"A": [FINE]}}
    with Mutilating(zone, Reply(records)) as server:
        ports = {"udp_port": server.port, "tcp_port": server.port}
        settings = {"use_environ": False, "servers": ["127.0.0.1"], "tries": 1, **ports}
        resolver = Resolver(timeout=0.5, **settings)

        def look_up(number):
            function = (resolver.gethostbyname_ex, resolver.gethostbyaddr)[number % 2]
            try:
                function(f"name{number}.test")
            except (socket.herror, socket.gaierror) as error:
                return type(error)
            return None

        endings = Pool(100).map(look_up, range(1000))
        assert {socket.herror, socket.gaierror} <= set(endings)
        resolver.close()
        server.answers = lambda *question: DNSServer.answers(server, *question)
        resolver = Resolver(timeout=PATIENT, **settings)
        assert resolver.gethostbyname("other.test") == FINE
        resolver.close()
    # A panic would be told here.
    assert capfd.readouterr() == ("", "")
