# The gevent 0.13 manual, "gevent: Timeouts":
# the with statement.

import gevent
from gevent import Timeout

seconds = 0.1
exception = RuntimeError('took too long')

with Timeout(seconds, exception) as timeout:
    print(timeout.pending)  # ... code block ...

print(timeout.pending)
