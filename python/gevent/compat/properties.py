"""Attributes that are computed once."""

from __future__ import annotations

from functools import cached_property

__all__ = ["lazy_property"]

#: ``lazy_property(function)``: an attribute of instances, computed at first use and then kept.
lazy_property = cached_property
