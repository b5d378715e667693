# The gevent 0.13 manual, "Implementing servers":
# a greenlet for each connection.

import gevent
from gevent.server import StreamServer

def handle(socket, address):
     print('new connection!', flush=True)

server = StreamServer(('127.0.0.1', 1234), handle) # creates a new server
server.start() # start accepting new connections

gevent.wait()
