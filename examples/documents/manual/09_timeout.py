# The gevent 0.13 manual, "gevent: Timeouts":
# start and cancel around a block.

import gevent
from gevent import Timeout

seconds = 0.1
exception = RuntimeError('took too long')

timeout = Timeout(seconds, exception)
timeout.start()
try:
    gevent.sleep(1)  # exception will be raised here, after *seconds* passed since start() call
finally:
    timeout.cancel()
