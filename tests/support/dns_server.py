"""A name server on loopback that answers as it is told, rightly or wrongly.

In a thread of this process::

    with DNSServer({"host.test": {"A": ["10.0.0.1", "10.0.0.2"]}}) as server:
        ... ask 127.0.0.1 at server.port, over UDP or TCP ...
        assert server.asked == [("host.test", "A", "udp")]

In a process of its own, which prints its port and ends with its standard input::

    python tests/support/dns_server.py --delay 0.02 --any 10.0.0.1

A zone maps names to their records, ``{"A": [...], "CNAME": [...]}``, or to a :class:`Reply` that
says more: an error code, a delay, a fault. Names that it does not hold do not exist (NXDOMAIN).
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import selectors
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "TXT": 16, "AAAA": 28}
_NAMES = {number: name for name, number in TYPES.items()}
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)
#: The faults that a reply can have.
FAULTS = frozenset(
    {
        "silence",  # there is none
        "wrong id",
        "wrong question",
        "no question",
        "not a response",  # but a query
        "wrong class",  # in the records
        "wrong owner",  # of the records: another name
        "short",  # less than a header
        "garbage",
        "cut",  # in the middle of a record
        "pointer loop",  # a compressed name that points at itself
        "bad address",  # an address record of three octets
        "oversized",  # 4,000 octets in a datagram
        "forged first",  # a wrong id, then a wrong question, then the right reply
        "hang up",  # over TCP: the connection is closed; over UDP: silence
    }
)


@dataclass(frozen=True)
class Reply:
    """The answer to questions for a name."""

    #: Records of the name by type, as text.
    records: Mapping[str, list[str]] = field(default_factory=dict)
    rcode: int = NOERROR
    #: Seconds before it is sent.
    delay: float = 0
    #: Over UDP, say that the answer is too long for a datagram, and nothing else.
    truncated: bool = False
    #: One of FAULTS.
    fault: str = ""
    #: The number of questions for the name that are not answered first.
    silent_first: int = 0

    def __post_init__(self) -> None:
        assert self.fault in FAULTS or not self.fault, self.fault


Zone = Mapping[str, "Reply | Mapping[str, list[str]]"]


def encode_name(name: str) -> bytes:
    """Return a name as it is on the wire, uncompressed."""
    labels = [label.encode() for label in name.rstrip(".").split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def decode_question(query: bytes) -> tuple[str, int, bytes]:
    """Return the name, the type and the octets of a query's question."""
    labels, at = [], 12
    while length := query[at]:
        labels.append(query[at + 1 : at + 1 + length].decode("latin-1"))
        at += 1 + length
    end = at + 5
    return ".".join(labels), struct.unpack_from("!H", query, at + 1)[0], query[12:end]


def _room(query: bytes) -> int:
    """Return how long a datagram may be that answers a query: RFC 6891."""
    additional = query[12 + len(decode_question(query)[2]) :]
    if additional[:3] == b"\0\0\x29":
        return max(512, int.from_bytes(additional[3:5], "big"))
    return 512


def _data(kind: str, text: str) -> bytes:
    if kind == "A":
        return socket.inet_pton(socket.AF_INET, text)
    if kind == "AAAA":
        return socket.inet_pton(socket.AF_INET6, text)
    if kind == "TXT":
        return bytes([len(text)]) + text.encode()
    return encode_name(text)


def _record(owner: bytes, kind: str, data: bytes, rclass: int = 1, ttl: int = 60) -> bytes:
    return owner + struct.pack("!HHIH", TYPES[kind], rclass, ttl, len(data)) + data


class DNSServer:
    """Answers from a zone, over UDP and TCP at the same port of 127.0.0.1, in a thread.

    :param zone: What it knows.
    :param fallback: How to answer for every other name; ``None``: they do not exist.
    :param port: At which port; 0: at any.
    :param gather: Answer only when so many answers are due, and then them all.
    :param follow: Whether to answer for an alias with the whole chain, as a server that asks others
        does, or with one link of it.
    """

    def __init__(
        self,
        zone: Zone,
        fallback: Reply | None = None,
        port: int = 0,
        gather: int = 0,
        follow: bool = True,
    ) -> None:
        self.zone = {name.lower(): self._as_reply(reply) for name, reply in zone.items()}
        self.fallback = fallback
        #: Every question that came: the name, the type, and "udp" or "tcp".
        self.asked: list[tuple[str, str, str]] = []
        self.gather = gather
        self.follow = follow
        self._gathered: list[tuple[bytes, object]] = []
        self._udp, self._tcp = self._bind(port)
        self._due: list[tuple[float, int, bytes, object]] = []
        self._numbers = itertools.count()
        self._selector = selectors.DefaultSelector()
        self._stopper, self._stopped = socket.socketpair()
        self._thread = threading.Thread(target=self.run, daemon=True)

    @staticmethod
    def _as_reply(reply: Reply | Mapping[str, list[str]]) -> Reply:
        return reply if isinstance(reply, Reply) else Reply(reply)

    @staticmethod
    def _bind(port: int) -> tuple[socket.socket, socket.socket]:
        for _ in range(100):
            tcp = socket.create_server(("127.0.0.1", port), backlog=512)
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            try:
                udp.bind(tcp.getsockname())
            except OSError:
                tcp.close()
                udp.close()
                continue
            udp.setblocking(False)
            return udp, tcp
        raise AssertionError("no port is free for both")

    @property
    def port(self) -> int:
        """The address of the server."""
        return self._udp.getsockname()[1]

    def names_asked(self) -> list[str]:
        """Return the names of the questions, in order."""
        return [name for name, _, _ in self.asked]

    def __enter__(self) -> DNSServer:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopper.send(b"x")
        self._thread.join(10)
        for sock in (self._udp, self._tcp, self._stopper, self._stopped):
            sock.close()

    def run(self) -> None:
        """Serve until the end of the ``with`` block."""
        for sock in (self._udp, self._tcp, self._stopped):
            self._selector.register(sock, selectors.EVENT_READ, b"")
        while True:
            timeout = max(0, self._due[0][0] - time.monotonic()) if self._due else None
            for key, _ in self._selector.select(timeout):
                if key.fileobj is self._stopped:
                    return self._close_connections()
                if key.fileobj is self._udp:
                    self._read_datagrams()
                elif key.fileobj is self._tcp:
                    connection, _ = self._tcp.accept()
                    self._selector.register(connection, selectors.EVENT_READ, b"")
                else:
                    self._read_connection(key.fileobj, key.data)
            while self._due and self._due[0][0] <= time.monotonic():
                _, _, octets, target = heapq.heappop(self._due)
                self._send(octets, target)

    def _close_connections(self) -> None:
        for key in list(self._selector.get_map().values()):
            if key.fileobj not in (self._udp, self._tcp, self._stopped):
                key.fileobj.close()
        self._selector.close()

    def _read_datagrams(self) -> None:
        for _ in range(100):
            try:
                query, sender = self._udp.recvfrom(65535)
            except BlockingIOError:
                return
            except OSError:
                continue  # a client that is gone
            self._take(query, sender, "udp")

    def _read_connection(self, connection: socket.socket, before: bytes) -> None:
        try:
            more = connection.recv(65535)
        except OSError:
            more = b""
        if not more:
            self._drop(connection)
            return
        octets = before + more
        while len(octets) >= 2 and len(octets) >= (end := 2 + int.from_bytes(octets[:2], "big")):
            query, octets = octets[2:end], octets[end:]
            if not self._take(query, connection, "tcp"):
                self._drop(connection)
                return
        self._selector.modify(connection, selectors.EVENT_READ, octets)

    def _drop(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        connection.close()

    def _take(self, query: bytes, target: object, transport: str) -> bool:
        """Queue what answers a query; return whether the connection is to be kept."""
        name, number, question = decode_question(query)
        self.asked.append((name.lower(), _NAMES.get(number, str(number)), transport))
        reply = self.zone.get(name.lower(), self.fallback) or Reply(rcode=NXDOMAIN)
        if reply.fault == "hang up":
            return False
        if reply.silent_first and self.names_asked().count(name.lower()) <= reply.silent_first:
            return True
        at = time.monotonic() + reply.delay
        for octets in self.answers(query, reply, name, number, question, transport):
            if transport == "tcp":
                octets = len(octets).to_bytes(2, "big") + octets
            if self.gather:
                self._gathered.append((octets, target))
            else:
                heapq.heappush(self._due, (at, next(self._numbers), octets, target))
        if len(self._gathered) >= self.gather:
            gathered, self._gathered = self._gathered, []
            for octets, to in gathered:
                self._send(octets, to)
        return True

    def _send(self, octets: bytes, target: object) -> None:
        try:
            if isinstance(target, socket.socket):
                target.sendall(octets)
            else:
                self._udp.sendto(octets, target)
        except OSError:
            pass  # whoever asked is gone

    def answers(
        self, query: bytes, reply: Reply, name: str, number: int, question: bytes, transport: str
    ) -> Iterator[bytes]:
        """Yield the messages that answer a query."""
        fault = reply.fault
        if fault == "silence":
            return
        if fault == "short":
            yield query[:7]
            return
        if fault == "garbage":
            yield query[:2] + bytes(range(255, 195, -1))
            return
        records = self._records(reply, name, number)
        right = self._message(query, reply, question, records)
        too_long = len(right) > _room(query) and fault != "oversized"
        if transport == "udp" and (reply.truncated or too_long):
            right = self._message(query, reply, question, [], truncated=True)
        if fault in ("wrong id", "forged first"):
            yield bytes([right[0] ^ 0xFF, right[1] ^ 0xFF]) + right[2:]
        if fault in ("wrong question", "forged first"):
            other = encode_name("other." + name) + question[-4:]
            yield self._message(query, reply, other, records)
        if fault in ("wrong id", "wrong question"):
            return
        if fault == "no question":
            right = right[:4] + b"\0\0" + right[6:12] + right[12 + len(question) :]
        elif fault == "not a response":
            right = right[:2] + bytes([right[2] & 0x7F]) + right[3:]
        elif fault == "cut":
            right = right[:-2]
        yield right

    def _records(self, reply: Reply, name: str, number: int) -> list[bytes]:
        """Return the records of *name* of a type, after those of the chain of aliases to them."""
        kind = _NAMES.get(number, "")
        found: list[bytes] = []
        seen: set[str] = set()
        while (alias := reply.records.get("CNAME")) and kind != "CNAME":
            found.append(_record(encode_name(name), "CNAME", encode_name(alias[0])))
            if not self.follow:
                return found
            if name in seen:
                break
            seen.add(name)
            name = alias[0].rstrip(".").lower()
            reply = self.zone.get(name) or Reply()
        rclass = 3 if reply.fault == "wrong class" else 1
        owner = encode_name("stranger.test" if reply.fault == "wrong owner" else name)
        for text in reply.records.get(kind, []):
            data = _data(kind, text)
            if reply.fault == "bad address":
                data = data[:3]
            elif reply.fault == "pointer loop":
                owner = b"\xc0" + bytes([12 + len(encode_name(name)) + 4])
            found.append(_record(owner, kind, data, rclass))
        if reply.fault == "oversized":
            found += [_record(encode_name(name), "TXT", _data("TXT", "x" * 200))] * 18
        return found

    @staticmethod
    def _message(
        query: bytes, reply: Reply, question: bytes, records: list[bytes], truncated: bool = False
    ) -> bytes:
        flags = 0x8580 | reply.rcode | (0x0200 if truncated else 0)
        head = struct.pack("!2sHHHHH", query[:2], flags, 1, len(records), 0, 0)
        return head + question + b"".join(records)


def main() -> None:
    parser = argparse.ArgumentParser(description="A name server on loopback.")
    parser.add_argument("--any", metavar="ADDRESS", help="the IPv4 address of every name")
    parser.add_argument("--delay", type=float, default=0, help="seconds before an answer")
    chosen = parser.parse_args()
    records = {"A": [chosen.any]} if chosen.any else {}
    with DNSServer({}, Reply(records, delay=chosen.delay)) as server:
        print(server.port, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
