# The gevent 0.13 manual, "gevent: Timeouts":
# whose timeout it is that was caught.

import gevent
from gevent import Timeout

def wait(mine, other):
    with Timeout(other):
        timeout = Timeout(mine)
        timeout.start()
        try:
            gevent.sleep(1)
        except Timeout as t:
            if t is not timeout:
                raise # not my timeout
            print('my timeout')
        finally:
            timeout.cancel()

wait(0.1, 0.5)
try:
    wait(0.5, 0.1)
except Timeout as t:
    print('not my timeout: %s' % t)
