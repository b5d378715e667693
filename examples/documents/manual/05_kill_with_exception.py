# The gevent 0.13 manual, "Introduction: Lightweight pseudothreads":
# the exception to kill with, and the greenlet in one's own words.

import gevent
from gevent import Greenlet

class MyNoopGreenlet(Greenlet):

    def __init__(self, seconds):
        Greenlet.__init__(self)
        self.seconds = seconds

    def _run(self):
        gevent.sleep(self.seconds)

    def __str__(self):
        return 'MyNoopGreenlet(%s)' % self.seconds

g = MyNoopGreenlet.spawn(5) # spawn() creates a Greenlet and starts it
g.kill(Exception("A time to kill"))
