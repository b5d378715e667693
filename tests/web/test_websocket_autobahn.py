"""The cases of Autobahn|Testsuite for servers, in our own form and with its numbers.

The suite itself needs Python 2.7. As there, each case must show the right behaviour and a clean
end: the close handshake is done, and it is the server that ends TCP first, in an orderly way. Where
the suite accepts several answers, the one of RFC 6455 is asked for. Some of group 9 are smaller
than there. Groups 12 and 13 are in `test_websocket_autobahn_compression`.
"""

import pytest
from websocket_support import echo, frame, read_frame, serving

import gevent

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
BYE = frame(CLOSE, b"\x03\xe8")
KOSME = "κόσμε".encode()
HELLO = b"Hello, world!"
ODD = b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"
UTF8 = b"Hello-\xc2\xb5@\xc3\x9f\xc3\xb6\xc3\xa4\xc3\xbc\xc3\xa0\xc3\xa1-UTF-8!!"
BAD_UTF8 = KOSME + b"\xed\xa0\x80" + b"edited"


def fragments(opcode, *parts):
    """A message in as many frames."""
    last = len(parts) - 1
    return [frame(opcode if at == 0 else 0, part, fin=at == last) for at, part in enumerate(parts)]


def octets(data):
    return [data[at : at + 1] for at in range(len(data))]


#: Number: what is sent, piece by piece; what is answered; the code that the server closes with,
#: None where it is the client's.
CASES: dict[str, tuple[list[bytes], list[tuple[int, bytes]], int | None]] = {}


def good(number, sent, *answers):
    CASES[number] = ([*sent, BYE], list(answers), None)


def bad(number, sent, *answers, code=1002):
    CASES[number] = (list(sent), list(answers), code)


for at, size in enumerate((0, 125, 126, 127, 128, 65535, 65536, 65536), 1):
    for group, opcode, byte in (("1.1", TEXT, b"*"), ("1.2", BINARY, b"\xfe")):
        whole = frame(opcode, byte * size)
        pieces = [whole[i : i + 997] for i in range(0, len(whole), 997)] if at == 8 else [whole]
        good(f"{group}.{at}", pieces, (opcode, byte * size))

good("2.1", [frame(PING)], (PONG, b""))
good("2.2", [frame(PING, HELLO)], (PONG, HELLO))
good("2.3", [frame(PING, ODD)], (PONG, ODD))
good("2.4", [frame(PING, b"\xfe" * 125)], (PONG, b"\xfe" * 125))
bad("2.5", [frame(PING, b"\xfe" * 126)])
good("2.6", octets(frame(PING, b"\xfe" * 125)), (PONG, b"\xfe" * 125))
good("2.7", [frame(PONG)])
good("2.8", [frame(PONG, b"unsolicited")])
good("2.9", [frame(PONG, b"unsolicited"), frame(PING, b"ping")], (PONG, b"ping"))
TEN = [(PONG, b"payload-%d" % at) for at in range(10)]
good("2.10", [frame(PING, payload) for _, payload in TEN], *TEN)
good("2.11", octets(b"".join(frame(PING, payload) for _, payload in TEN)), *TEN)

FIRST = frame(TEXT, HELLO)
bad("3.1", [frame(TEXT, HELLO, rsv=4)])
bad("3.2", [FIRST + frame(TEXT, HELLO, rsv=2) + frame(PING)], (TEXT, HELLO))
bad("3.3", [FIRST, frame(TEXT, HELLO, rsv=3), frame(PING)], (TEXT, HELLO))
bad("3.4", octets(FIRST + frame(TEXT, HELLO, rsv=1)), (TEXT, HELLO))
bad("3.5", [frame(BINARY, ODD, rsv=5)])
bad("3.6", [frame(PING, HELLO, rsv=6)])
bad("3.7", [frame(CLOSE, b"\x03\xe8", rsv=7)])

for group, first in (("4.1", 3), ("4.2", 11)):
    bad(f"{group}.1", [frame(first)])
    bad(f"{group}.2", [frame(first + 1, b"reserved opcode payload")])
    bad(f"{group}.3", [FIRST + frame(first + 2) + frame(PING)], (TEXT, HELLO))
    bad(f"{group}.4", [FIRST, frame(first + 3, b"payload"), frame(PING)], (TEXT, HELLO))
    bad(f"{group}.5", octets(FIRST + frame(first + 4, b"payload")), (TEXT, HELLO))

bad("5.1", fragments(PING, b"fragment1", b"fragment2"))
bad("5.2", fragments(PONG, b"fragment1", b"fragment2"))
TWO = fragments(TEXT, b"fragment1", b"fragment2")
WHOLE = (TEXT, b"fragment1fragment2")
good("5.3", [b"".join(TWO)], WHOLE)
good("5.4", TWO, WHOLE)
good("5.5", octets(b"".join(TWO)), WHOLE)
BETWEEN = [TWO[0], frame(PING, b"ping"), TWO[1]]
good("5.6", [b"".join(BETWEEN)], (PONG, b"ping"), WHOLE)
good("5.7", BETWEEN, (PONG, b"ping"), WHOLE)
good("5.8", octets(b"".join(BETWEEN)), (PONG, b"ping"), WHOLE)
for numbers, fin in ((("5.9", "5.10", "5.11"), True), (("5.12", "5.13", "5.14"), False)):
    pieces = [frame(0, b"non-continuation payload", fin=fin), FIRST]
    bad(numbers[0], [b"".join(pieces)])
    bad(numbers[1], pieces)
    bad(numbers[2], octets(pieces[0]))
bad("5.15", [*TWO, frame(0, b"fragment3", fin=False), frame(TEXT, b"fragment4")], WHOLE)
bad("5.16", [frame(0, b"fragment1", fin=False), frame(TEXT, b"fragment2"), frame(0, b"fragment3")])
bad("5.17", [frame(0, b"fragment1"), frame(TEXT, b"fragment2"), frame(0, b"fragment3")])
bad("5.18", [TWO[0], frame(TEXT, b"fragment2")])
FIVE = fragments(TEXT, *(b"fragment%d" % at for at in range(1, 6)))
WITH_PINGS = [*FIVE[:2], frame(PING, b"ping1"), *FIVE[2:4], frame(PING, b"ping2"), FIVE[4]]
FIVE_ANSWERS = (
    (PONG, b"ping1"),
    (PONG, b"ping2"),
    (TEXT, b"".join(b"fragment%d" % i for i in range(1, 6))),
)
good("5.19", WITH_PINGS, *FIVE_ANSWERS)
good("5.20", [b"".join(WITH_PINGS)], *FIVE_ANSWERS)

good("6.1.1", [frame(TEXT)], (TEXT, b""))
good("6.1.2", fragments(TEXT, b"", b"", b""), (TEXT, b""))
good("6.1.3", fragments(TEXT, b"", b"middle", b""), (TEXT, b"middle"))
good("6.2.1", [frame(TEXT, UTF8)], (TEXT, UTF8))
good("6.2.2", fragments(TEXT, UTF8[:12], UTF8[12:]), (TEXT, UTF8))
good("6.2.3", fragments(TEXT, *octets(UTF8)), (TEXT, UTF8))
good("6.2.4", fragments(TEXT, *octets(KOSME)), (TEXT, KOSME))
bad("6.3.1", [frame(TEXT, BAD_UTF8)], code=1007)
bad("6.3.2", fragments(TEXT, *octets(BAD_UTF8)), code=1007)
# The text is refused as soon as the bytes have come that make it none, though the message goes on.
TOO_LARGE = KOSME + b"\xf4\x90\x80\x80"
bad("6.4.1", [frame(TEXT, TOO_LARGE, fin=False)], code=1007)
bad("6.4.2", fragments(TEXT, KOSME + b"\xf4", b"\x90", b"")[:2], code=1007)
bad("6.4.3", [frame(TEXT, TOO_LARGE + b"edited")[:-6]], code=1007)
bad("6.4.4", [frame(TEXT, TOO_LARGE + b"edited")[: -6 - 2]], code=1007)

#: The sequences of Markus Kuhn's stress test, in hexadecimal. Each is a case; those that are UTF-8
#: are echoed. Spaces within one are written as 20.
SEQUENCES = {
    "6.5": "2468 c2a268 e282ac68 f0a4ada268 cebae1bdb9cf83cebcceb5",
    "6.6": " ".join("cebae1bdb9cf83cebcceb5"[: 2 * size] for size in range(1, 12)),
    "6.7": "00 c280 e0a080 f0908080",
    "6.8": "f888808080 fc8480808080",
    "6.9": "7f dfbf efbfbf f48fbfbf",
    "6.10": "f7bfbfbf fbbfbfbfbf fdbfbfbfbfbf",
    "6.11": "ed9fbf ee8080 efbfbd f48fbfbf f4908080",
    "6.12": " ".join(
        ["80", "bf"]
        + [("80bf" * 3)[: 2 * size] for size in range(2, 7)]
        + [bytes(range(0x80, 0xBF)).hex()]
    ),
    "6.13": " ".join(
        "".join(f"{byte:02x}20" for byte in range(first, last))
        for first, last in ((0xC0, 0xDF), (0xE0, 0xEF), (0xF0, 0xF7), (0xF8, 0xFB), (0xFC, 0xFD))
    ),
    "6.14": "c0 e080 f08080 f8808080 fc80808080 df efbf f7bfbf fbbfbfbf fdbfbfbfbf",
    "6.15": "c0e080f08080f8808080fc80808080dfefbff7bfbffbbfbfbffdbfbfbfbf",
    "6.16": "fe ff fefeffff",
    "6.17": "c0af e080af f08080af f8808080af fc80808080af",
    "6.18": "c1bf e09fbf f08fbfbf f887bfbfbf fc83bfbfbfbf",
    "6.19": "c080 e08080 f0808080 f880808080 fc8080808080",
    "6.20": "eda080 edadbf edae80 edafbf edb080 edbe80 edbfbf",
    "6.21": " ".join(
        high + low
        for high in ("eda080", "edadbf", "edae80", "edafbf")
        for low in ("edb080", "edbfbf")
    ),
    # The last two characters of each plane are none, but may be encoded.
    "6.22": " ".join(
        chr(plane << 16 | last).encode().hex() for plane in range(17) for last in (0xFFFE, 0xFFFF)
    ),
    "6.23": "efbfb9 efbfba efbfbb efbfbc efbfbd efbfbe efbfbf",
}
for group, listed in SEQUENCES.items():
    for at, sequence in enumerate(map(bytes.fromhex, listed.split()), 1):
        try:
            sequence.decode()
        except UnicodeDecodeError:
            bad(f"{group}.{at}", [frame(TEXT, sequence)], code=1007)
        else:
            good(f"{group}.{at}", [frame(TEXT, sequence)], (TEXT, sequence))

good("7.1.1", [FIRST], (TEXT, HELLO))
for number, more in (("7.1.2", BYE), ("7.1.3", frame(PING)), ("7.1.4", FIRST)):
    CASES[number] = ([BYE + more], [], None)
CASES["7.1.5"] = ([TWO[0], BYE, TWO[1]], [], None)
good("7.1.6", [frame(TEXT, b"x" * (256 << 10)), FIRST], (TEXT, b"x" * (256 << 10)), (TEXT, HELLO))
CASES["7.1.6"][0].append(frame(PING))
CASES["7.3.1"] = ([frame(CLOSE)], [], 0)
bad("7.3.2", [frame(CLOSE, b"a")])
CASES["7.3.3"] = ([frame(CLOSE, b"\x03\xe8")], [], None)
CASES["7.3.4"] = ([frame(CLOSE, b"\x03\xe8Hello World!")], [], None)
CASES["7.3.5"] = ([frame(CLOSE, b"\x03\xe8" + b"*" * 123)], [], None)
bad("7.3.6", [frame(CLOSE, b"\x03\xe8" + b"*" * 124)])
bad("7.5.1", [frame(CLOSE, b"\x03\xe8" + BAD_UTF8)], code=1007)
VALID_CODES = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)
for at, number in enumerate(VALID_CODES, 1):
    CASES[f"7.7.{at}"] = ([frame(CLOSE, number.to_bytes(2, "big"))], [], number)
for at, number in enumerate((0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999), 1):
    bad(f"7.9.{at}", [frame(CLOSE, number.to_bytes(2, "big"))])
for at, number in enumerate((5000, 65535), 1):
    bad(f"7.13.{at}", [frame(CLOSE, number.to_bytes(2, "big"))])


def quick(opcode, payload, size=None):
    """The bytes of a message in fragments of this size, with masks of zero, which take no time."""
    size = size or len(payload)
    parts = []
    for at in range(0, len(payload), size):
        part = payload[at : at + size]
        head = bytes([(at + size >= len(payload)) << 7 | (0 if at else opcode)])
        if len(part) < 126:
            head += bytes([0x80 | len(part)])
        elif len(part) < 65536:
            head += b"\xfe" + len(part).to_bytes(2, "big")
        else:
            head += b"\xff" + len(part).to_bytes(8, "big")
        parts += [head, bytes(4), part]
    return b"".join(parts)


for at, kilobytes in enumerate((64, 256, 1024, 4096, 8192, 16384), 1):
    for group, opcode in (("9.1", TEXT), ("9.2", BINARY)):
        payload = b"*" * (kilobytes << 10)
        good(f"{group}.{at}", [quick(opcode, payload)], (opcode, payload))
# A quarter of the message, in as many fragments as there.
for at in range(9):
    payload = b"*" * (1 << 20)
    for group, opcode in (("9.3", TEXT), ("9.4", BINARY)):
        good(f"{group}.{at + 1}", [quick(opcode, payload, 16 << 2 * at)], (opcode, payload))
# An eighth of the message, in pieces of the same sizes.
for at, size in enumerate((64, 128, 256, 512, 1024, 2048), 1):
    payload = b"*" * (128 << 10)
    for group, opcode in (("9.5", TEXT), ("9.6", BINARY)):
        whole = frame(opcode, payload)
        pieces = [whole[i : i + size] for i in range(0, len(whole), size)]
        good(f"{group}.{at}", pieces, (opcode, payload))
PAYLOAD = b"*" * 65536
good(
    "10.1.1",
    fragments(TEXT, *(PAYLOAD[i : i + 1300] for i in range(0, 65536, 1300))),
    (TEXT, PAYLOAD),
)


@pytest.fixture(scope="module")
def served():
    with serving(echo, close_timeout=5) as made:
        yield made


@pytest.mark.parametrize("number", CASES)
def test_case(served, number):
    sent, answers, code = CASES[number]
    with served.upgraded() as (sock, file), gevent.Timeout(30):

        def send():
            try:
                for piece in sent:
                    sock.sendall(piece)
                    gevent.sleep(0)
            except OSError:
                # It was told to go before it had sent everything.
                assert code is not None

        sending = gevent.spawn(send)
        for answer in answers:
            assert read_frame(file) == answer
        opcode, payload = read_frame(file)
        assert opcode == CLOSE
        sending.join()
        if code == 0:
            assert payload == b""
        else:
            assert int.from_bytes(payload[:2], "big") == (1000 if code is None else code)
        # A clean end: the server's side is over before the client does anything, and by no reset.
        assert file.read() == b""


#: Groups 9.7 and 9.8: a number of messages, each sent once the one before was echoed.
ROUND_TRIPS = {
    f"{group}.{at}": (opcode, size)
    for group, opcode in (("9.7", TEXT), ("9.8", BINARY))
    for at, size in enumerate((0, 16, 64, 256, 1024, 4096), 1)
}


@pytest.mark.parametrize("number", ROUND_TRIPS)
def test_round_trips(served, number):
    opcode, size = ROUND_TRIPS[number]
    with served.upgraded() as (sock, file):
        for at in range(50):
            payload = b"%d" % (at % 10) * size
            sock.sendall(frame(opcode, payload))
            assert read_frame(file) == (opcode, payload)
        sock.sendall(BYE)
        assert read_frame(file) == (CLOSE, b"\x03\xe8")
        assert file.read() == b""


#: How many cases the suite has of each group: all of them are here.
NUMBERS = """
    1.1:8 1.2:8 2:11 3:7 4.1:5 4.2:5 5:20
    6.1:3 6.2:4 6.3:2 6.4:4 6.5:5 6.6:11 6.7:4 6.8:2 6.9:4 6.10:3 6.11:5 6.12:8 6.13:5 6.14:10
    6.15:1 6.16:3 6.17:5 6.18:5 6.19:5 6.20:7 6.21:8 6.22:34 6.23:7
    7.1:6 7.3:6 7.5:1 7.7:13 7.9:9 7.13:2
    9.1:6 9.2:6 9.3:9 9.4:9 9.5:6 9.6:6 9.7:6 9.8:6 10.1:1
"""


def test_all_numbers_are_present():
    groups = (group.split(":") for group in NUMBERS.split())
    numbers = [f"{group}.{at}" for group, count in groups for at in range(1, int(count) + 1)]
    assert len(numbers) == 301
    assert sorted(numbers) == sorted([*CASES, *ROUND_TRIPS])
