# The gevent 0.13 manual, "gevent: Timeouts":
# without an exception, the Timeout is raised.

import gevent
from gevent import Timeout

Timeout(0.1).start()
gevent.sleep(0.2)
