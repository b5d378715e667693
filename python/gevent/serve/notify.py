"""Notifying systemd of the service's state, sd_notify(3)."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress


class Notifier:
    """Sends states to the socket that ``NOTIFY_SOCKET`` names; does nothing without one.

    :param environ: The environment of the process.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        path = environ.get("NOTIFY_SOCKET", "")
        #: The address of the socket, or an empty text. An at sign in front stands for the abstract
        #: namespace.
        self._address = "\0" + path[1:] if path.startswith("@") else path
        #: The longest time in seconds between two signs of life, None where systemd asks for none.
        self.watchdog: float | None = None
        period = environ.get("WATCHDOG_USEC", "")
        mine = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        if self._address and period.isdigit() and int(period) and mine:
            self.watchdog = int(period) / 2e6

    def ready(self, text: str) -> None:
        """Notify systemd that the service is ready, also after a reload."""
        self._send(f"READY=1\nSTATUS={text}\nMAINPID={os.getpid()}")

    def reloading(self) -> None:
        """Notify systemd that a reload has begun."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}\nSTATUS=reloading")

    def stopping(self) -> None:
        """Notify systemd that the service is about to end."""
        self._send("STOPPING=1\nSTATUS=answering the last requests")

    def alive(self) -> None:
        """Send a sign of life to the watchdog of systemd, if it asks for that."""
        if self.watchdog:
            self._send("WATCHDOG=1")

    def _send(self, state: str) -> None:
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            # A manager that does not read must not hold up the service.
            sock.setblocking(False)
            sock.sendto(state.encode(), self._address)
