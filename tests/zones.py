"""Local time in another zone, for the tests of times."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def local_time(zone: str) -> Iterator[None]:
    """The process has the local time of a zone such as `Asia/Tokyo`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", zone)
        time.tzset()
        yield
    time.tzset()
