"""Look up several host names at the same time, and wait two seconds for all of them at most."""

import gevent
from command_line import parser
from gevent import socket

NAMES = ["www.python.org", "www.example.com", "www.rust-lang.org"]


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("names", nargs="*", metavar="NAME", default=NAMES)
    names = arguments.parse_args().names
    jobs = [gevent.spawn(socket.gethostbyname, name) for name in names]
    gevent.joinall(jobs, timeout=2)
    for name, job in zip(names, jobs, strict=True):
        if job.successful():
            print(f"{name}: {job.value}")
        else:
            print(f"{name}: {job.exception or 'no answer within 2 seconds'}")


if __name__ == "__main__":
    main()
