"""Hosts that are addresses already, which no look-up can delay."""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_pton
from typing import Any

__all__ = ["is_address"]


def is_address(host: Any) -> bool:
    """Return whether *host* is an IPv4 or IPv6 address in figures."""
    if not isinstance(host, str) or not host or "\0" in host:
        return False
    if ":" not in host and not host[-1].isdigit():
        return False
    try:
        inet_pton(AF_INET6 if ":" in host else AF_INET, host)
    except (OSError, ValueError):
        return False
    return True
