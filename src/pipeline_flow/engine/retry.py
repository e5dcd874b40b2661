"""When a step is tried again, and after how long.

A plugin says itself what may be tried again by raising a :class:`~pipeline_flow.errors.RetryableError`; other errors
are tried again only where ``retry.on`` names them. Never around a commit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline_flow.errors import RetryableError, StepTimeout

if TYPE_CHECKING:
    from random import Random

    from pipeline_flow.plan.model import Retry

ALL = "all"
TIMEOUT = "timeout"


def delay(policy: Retry, error: Exception, attempt: int, random: Random) -> float | None:
    """Seconds to wait before the next attempt, or ``None`` where there is none.

    Args:
        policy: the step's ``retry``.
        error: what the attempt raised.
        attempt: the number of the attempt that failed, from 1.
        random: where the jitter comes from.
    """
    if attempt >= policy.attempts or not _may_retry(policy, error):
        return None
    if isinstance(error, RetryableError) and error.retry_after is not None:
        return max(0.0, error.retry_after)
    backoff: float = min(policy.max_wait, policy.wait * 2.0 ** (attempt - 1))
    return min(policy.max_wait, backoff + random.uniform(0.0, policy.jitter))


def _may_retry(policy: Retry, error: BaseException) -> bool:
    if isinstance(error, RetryableError) or ALL in policy.on:
        return True
    if isinstance(error, StepTimeout):
        return TIMEOUT in policy.on
    return any(_is_named(cls, name) for cls in type(error).__mro__ for name in policy.on)


def _is_named(cls: type, name: str) -> bool:
    module, _, bare = name.rpartition(".")
    if cls.__name__ != bare:
        return False
    # `requests.Timeout` names the class that lives in `requests.exceptions`: people write what they import.
    return not module or cls.__module__ == module or cls.__module__.startswith(f"{module}.")


def hint_for(policy: Retry, error: BaseException) -> str:
    """Why an error was not tried again although the step has a ``retry``; empty where that is plain."""
    if policy.attempts > 1 and not _may_retry(policy, error):
        name = TIMEOUT if isinstance(error, StepTimeout) else type(error).__name__
        return f"not tried again: `retry.on` does not name {name}"
    return ""
