"""Asking again and again, for what the API offers no watch for: an admission, an answer over HTTP, a log."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import tenacity

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["until"]

T = TypeVar("T")


def until(
    look: Callable[[], T],
    good: Callable[[T], object],
    *,
    timeout: float,
    pause: float = 0.25,
    tolerate: type[Exception] | tuple[type[Exception], ...] = (),
) -> T:
    """Return the first good result of `look`, or its last one when the time is over; it looks at least once.

    Args:
        look: What is asked.
        good: Whether a result is the one that is waited for.
        timeout: Seconds after which it is not asked again.
        pause: Seconds between two times.
        tolerate: Errors of `look` that are no more than a result that is not good, unless it is the last one.
    """
    bad = tenacity.retry_if_result(lambda result: not good(result))
    asking = tenacity.Retrying(
        retry=tenacity.retry_any(bad, tenacity.retry_if_exception_type(tolerate)),
        stop=tenacity.stop_after_delay(timeout),
        wait=tenacity.wait_fixed(pause),
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
    )
    return asking(look)
