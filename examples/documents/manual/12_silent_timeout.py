# The gevent 0.13 manual, "gevent: Timeouts":
# a timeout for a function that has no parameter for it.

from gevent import Timeout
from gevent.socket import socketpair

# The text leaves the socket open: one end of a pair, to which the other sends nothing at first.
mysock, other = socketpair()

for message in None, b'a line\n':
    if message:
        other.sendall(message)

    data = None
    with Timeout(0.5, False):
        data = mysock.makefile().readline()
    if data is None:
        print('0.5 seconds passed without reading a line')
    else:
        print('a line was read within 0.5 seconds')
