# Gevent's introduction, "Introduction":
# an error stays in its greenlet, and is printed with the greenlet.

import gevent

gevent.spawn(lambda : 1/0).join() # join() waits for the greenlet to complete
