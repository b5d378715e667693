# The gevent 0.13 manual, "Introduction: Lightweight pseudothreads":
# an error stays in its greenlet, and is printed with the greenlet.

import gevent

gevent.spawn(lambda : 1/0)
gevent.sleep(1)
