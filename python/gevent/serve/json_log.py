"""Access logs whose lines are JSON objects."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import Any


class JsonLog:
    """A base class of handlers whose `format_request` returns a JSON object in one line.

    Its keys are ``time`` (RFC 3339, when the request came), ``client``, ``method``, ``target`` and
    ``protocol`` of the request line, ``status`` and ``bytes`` of the response, ``seconds`` that it
    took, ``host``, ``agent`` and ``referer`` of the request's header, and ``worker``. A value
    that is not known is null, as are all values of a request that was refused as malformed.
    """

    environ: Any
    client_address: Any
    requestline: Any
    response_length: int
    status: Any
    time_start: float
    time_finish: float

    def format_request(self) -> str:
        """Return the line without its end."""
        environ = getattr(self, "environ", None) or {}
        words = (getattr(self, "requestline", None) or "").split(" ")
        method, target, protocol = words if len(words) == 3 else (None, None, None)
        start = getattr(self, "time_start", 0) or 0
        finish = getattr(self, "time_finish", 0) or 0
        address = getattr(self, "client_address", None)
        client = environ.get("REMOTE_ADDR") or (address[0] if isinstance(address, tuple) else None)
        status = getattr(self, "_orig_status", None) or getattr(self, "status", None)
        code = str(status).partition(" ")[0] if status else ""
        return json.dumps(
            {
                "time": datetime.fromtimestamp(start, UTC).isoformat() if start else None,
                "client": client,
                "method": method,
                "target": target,
                "protocol": protocol,
                "status": int(code) if code.isdigit() else None,
                "bytes": getattr(self, "response_length", 0) or 0,
                "seconds": round(finish - start, 6) if start and finish else None,
                "host": environ.get("HTTP_HOST"),
                "agent": environ.get("HTTP_USER_AGENT"),
                "referer": environ.get("HTTP_REFERER"),
                "worker": os.getpid(),
            },
        )
