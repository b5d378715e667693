"""``python -m gevent.serve``."""

import sys

from gevent.serve import main

sys.exit(main())
