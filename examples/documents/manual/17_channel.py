# The gevent 0.13 manual, "gevent.queue":
# a queue of size zero, whose put waits for get. Run with GEVENT_COMPAT=1.

import gevent
from gevent.queue import Queue

queue = Queue(0)
print(queue.empty(), queue.full())

def put():
    queue.put('item')
    print('put has returned')

gevent.spawn(put)
gevent.sleep(0.1)
print('nobody has called get')
print(queue.get())
gevent.sleep(0)
