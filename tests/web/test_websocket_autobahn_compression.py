"""Autobahn|Testsuite's cases of permessage-deflate, groups 12 and 13, in our own form.

Group 12 has data of five kinds, group 13 seven kinds of offers. Each has eighteen sizes of messages
and of their fragments. Fewer messages are sent than there, of data that is made here.
"""

import json
import random
import zlib
from collections.abc import Iterator

import pytest
from websocket_support import Served, echo, frame, read_frame, request, serving

from gevent.websocket import PerMessageDeflate

TEXT, BINARY, CLOSE = 1, 2, 8
BYE = frame(CLOSE, b"\x03\xe8")
MESSAGES = 3

#: The size of a message, and of its fragments; None for a single frame.
SIZES = [
    *((size, None) for size in (16, 64, 256, 1024, 4096, 8192, 16384, 32768, 65536, 131072)),
    *((size, 256) for size in (8192, 16384, 32768, 65536, 131072)),
    *((131072, size) for size in (1024, 4096, 32768)),
]

DRAWN = random.Random(6455)
WORDS = [
    "habe",
    "nun",
    "ach",
    "Philosophie",
    "Juristerei",
    "und",
    "Medizin",
    "durchaus",
    "studiert",
]
SENTENCES = " ".join(DRAWN.choice(WORDS) for _ in range(30_000)).encode()
ROWS = [{"id": at, "name": DRAWN.choice(WORDS), "value": DRAWN.random()} for at in range(4000)]
#: For each part of group 12 the opcode and the data.
DATA = {
    "12.1": (TEXT, json.dumps(ROWS).encode()),
    "12.2": (BINARY, bytes(at * row // 64 % 256 for row in range(512) for at in range(512))),
    "12.3": (BINARY, SENTENCES),
    "12.4": (TEXT, b"".join(b"<li><b>%s</b>\n" % word for word in SENTENCES.split())),
    "12.5": (BINARY, zlib.compress(DRAWN.randbytes(1 << 18))),
}
#: For each part of group 13 the offers: in each, that of the parameters for what the server sends.
OFFERS = {
    "13.1": [""],
    "13.2": ["server_no_context_takeover"],
    "13.3": ["server_max_window_bits=9"],
    "13.4": ["server_max_window_bits=15"],
    "13.5": ["server_no_context_takeover; server_max_window_bits=9"],
    "13.6": ["server_no_context_takeover; server_max_window_bits=15"],
    "13.7": [
        "server_no_context_takeover; server_max_window_bits=9",
        "server_no_context_takeover",
        "",
    ],
}


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(echo, compression=PerMessageDeflate(), close_timeout=5) as made:
        yield made


def agreed(file) -> dict[str, str]:
    """The parameters that the handshake's response states."""
    assert b" 101 " in file.readline()
    stated = None
    while line := file.readline().rstrip():
        name, _, value = line.decode().partition(":")
        if name.lower() == "sec-websocket-extensions":
            stated = value
    assert stated is not None
    first, *parameters = (part.strip() for part in stated.split(";"))
    assert first == "permessage-deflate"
    return {name: value for name, _, value in (part.partition("=") for part in parameters)}


def frames(opcode: int, payload: bytes, size: int | None) -> bytes:
    """A compressed message in fragments."""
    size = size or max(1, len(payload))
    parts = [payload[at : at + size] for at in range(0, len(payload), size)]
    return b"".join(
        frame(0 if at else opcode, part, fin=at == len(parts) - 1, rsv=0 if at else 4)
        for at, part in enumerate(parts)
    )


def read_compressed(file) -> tuple[int, bytes]:
    """The opcode and the payload of the server's next message, still compressed."""
    head = file.read(2)
    assert head[0] & 0xF0 == 0xC0
    length = head[1]
    if length > 125:
        length = int.from_bytes(file.read(2 if length == 126 else 8), "big")
    return head[0] & 0x0F, file.read(length)


def converse(served: Served, offers: list[str], opcode: int, data: bytes, number: int) -> None:
    """Have messages echoed; each side keeps to what was agreed."""
    size, fragment = SIZES[number - 1]
    client = "client_no_context_takeover; client_max_window_bits"
    extension = ", ".join(
        "; ".join(part for part in ("permessage-deflate", client, offer) if part)
        for offer in offers
    )
    with served.connection(request(Sec_WebSocket_Extensions=extension)) as (sock, file):
        parameters = agreed(file)
        for asked in filter(None, offers[0].split("; ")):
            name, _, value = asked.partition("=")
            assert name in parameters
            assert not value or int(parameters[name]) <= int(value)
        theirs = -int(parameters.get("server_max_window_bits") or 15)
        ours = -int(parameters.get("client_max_window_bits") or 15)
        compressor = inflater = None
        for at in range(MESSAGES):
            if compressor is None or "client_no_context_takeover" in parameters:
                compressor = zlib.compressobj(wbits=ours)
            if inflater is None or "server_no_context_takeover" in parameters:
                inflater = zlib.decompressobj(theirs)
            begin = at * size % (len(data) - size)
            message = data[begin : begin + size]
            packed = compressor.compress(message) + compressor.flush(zlib.Z_SYNC_FLUSH)
            sock.sendall(frames(opcode, packed[:-4], fragment))
            answer, packed = read_compressed(file)
            assert answer == opcode
            assert inflater.decompress(packed + b"\0\0\xff\xff") == message
        sock.sendall(BYE)
        assert read_frame(file) == (CLOSE, b"\x03\xe8")
        assert file.read() == b""


@pytest.mark.parametrize("number", range(1, 19))
@pytest.mark.parametrize("group", DATA)
def test_data(served, group, number):
    converse(served, [""], *DATA[group], number)


@pytest.mark.parametrize("number", range(1, 19))
@pytest.mark.parametrize("group", OFFERS)
def test_parameters(served, group, number):
    converse(served, OFFERS[group], *DATA["12.1"], number)
