"""MicroPython's `micropython` module for CPython: what the pure firmware modules use of it, without effect."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., object])


def const(value: T) -> T:
    return value


def native(function: F) -> F:
    return function


def viper(function: F) -> F:
    return function
