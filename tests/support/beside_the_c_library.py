"""Look-ups of the default resolver beside those of the C library, with the same files and servers.

To be run by root in namespaces of its own (``unshare --mount --net``), as it mounts files over
those of ``/etc`` and serves at port 53. Prints what is different, and which look-ups took a thread.
"""

import fcntl
import itertools
import os
import socket as stdlib
import struct
import subprocess
import sys
from pathlib import Path

from dns_server import FORMERR, NOTIMP, REFUSED, SERVFAIL, DNSServer, Reply

import gevent
from gevent import socket

HOSTS = """
127.0.0.1 localhost
::1 localhost ip6-localhost
10.3.0.1 db.test db
10.3.0.2 two.test
10.3.0.3 two.test
2001:db8::3 six.test
10.3.0.4 mixed.test
2001:db8::4 mixed.test
10.3.0.5 UPPER.test alias.of.upper
"""
RESOLV_CONF = "nameserver 127.0.0.1\nsearch a.test b.test\noptions timeout:1 attempts:1\n"
SIX = "2001:db8::1"
ZONE = {
    "four.test": {"A": ["10.1.1.1"]},
    "onlysix.test": {"AAAA": [SIX]},
    "both.test": {"A": ["10.1.1.1"], "AAAA": [SIX]},
    "many.test": {"A": [f"10.1.1.{i}" for i in range(1, 9)]},
    "alias.test": {"CNAME": ["both.test"]},
    "far.test": {"CNAME": ["alias.test"]},
    "dangling.test": {"CNAME": ["nowhere.test"]},
    "empty.test": {"TXT": ["x"]},
    "www.b.test": {"A": ["10.1.1.2"]},
    "www.x.a.test": {"A": ["10.1.1.3"]},
    "under_score.test": {"A": ["10.1.1.4"]},
    "formerr.test": Reply(rcode=FORMERR),
    "servfail.test": Reply(rcode=SERVFAIL),
    "notimp.test": Reply(rcode=NOTIMP),
    "refused.test": Reply(rcode=REFUSED),
    "silent.test": Reply(fault="silence"),
    "long.test": Reply({"A": ["10.1.1.5"]}, truncated=True),
}
NAMES = [
    *("localhost", "db", "DB.test", "two.test", "six.test", "mixed.test", "upper.test"),
    *(name for name in ZONE if not name.startswith("www")),
    *("Four.Test", "four.test.", "www", "www.x", "missing.test", "missing", "alias.of.upper"),
    "a" * 63 + ".test",
]


def loopback_up():
    """Switch the loopback interface on, which is off in a new namespace."""
    with stdlib.socket(stdlib.AF_INET, stdlib.SOCK_DGRAM) as sock:
        request = struct.pack("16sh14x", b"lo", 0x1 | 0x40)
        fcntl.ioctl(sock, 0x8914, request)


def mount(folder, name, text):
    """Put a file with this text over ``/etc/name``."""
    file = Path(folder, name)
    file.write_text(text)
    target = Path("/etc", name)
    subprocess.run(["mount", "--bind", file, target], check=True)


def outcome(function, args):
    """Return what a call returns or raises, as text.

    Of a failure with one family only the kind counts: the C library then says that the name is
    unknown also where a server failed, which it tells apart where both families are asked for. And
    it repeats 127.0.0.1 where a name has ``::1`` beside it.
    """
    try:
        found = function(*args)
    except OSError as error:
        one_family = len(args) == 1 or (args[2:] and args[2] != stdlib.AF_UNSPEC)
        return type(error).__name__ if one_family else f"{type(error).__name__}{error.args}"
    if isinstance(found, list):
        found = sorted({(*map(int, key[:3]), *key[3:]) for key in found})
    return repr(found)


def calls():
    families = (stdlib.AF_UNSPEC, stdlib.AF_INET, stdlib.AF_INET6)
    for name in NAMES:
        yield "gethostbyname", (name,)
        for family in families:
            yield "getaddrinfo", (name, 80, family, stdlib.SOCK_STREAM)
        yield "getaddrinfo", (name, None)
    combined = (stdlib.AI_CANONNAME, stdlib.AI_V4MAPPED, stdlib.AI_V4MAPPED | stdlib.AI_ALL)
    for name, flags in itertools.product(("both.test", "four.test", "far.test", "db"), combined):
        yield "getaddrinfo", (name, 80, stdlib.AF_INET6, stdlib.SOCK_STREAM, 0, flags)
        yield "getaddrinfo", (name, 80, stdlib.AF_UNSPEC, stdlib.SOCK_STREAM, 0, flags)


def main():
    folder, hosts_line = sys.argv[1:]
    loopback_up()
    mount(folder, "resolv.conf", RESOLV_CONF)
    mount(folder, "hosts", HOSTS)
    mount(folder, "nsswitch.conf", f"hosts: {hosts_line}\n")
    with DNSServer(ZONE, port=53) as server:
        before = len(os.listdir("/proc/self/task"))
        differences = 0
        for function, args in calls():
            ours = outcome(getattr(socket, function), args)
            right = outcome(getattr(stdlib, function), args)
            if ours != right:
                differences += 1
                print(f"{function}{args}: {ours}, not {right}")
        print("threads:", len(os.listdir("/proc/self/task")) - before)
        print("differences:", differences, "asked:", len(server.asked) > 50)
    gevent.get_hub().destroy()


if __name__ == "__main__":
    main()
