# The gevent tutorial in Japanese, "Timeouts":
# a limit on a block, with an exception of one's own.

import gevent
from gevent import Timeout

time_to_wait = 5 # seconds

class TooLong(Exception):
    pass

with Timeout(time_to_wait, TooLong):
    gevent.sleep(10)
