"""Several calls at once, their results in order."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

_T = TypeVar("_T")
_WORKERS = 4


def in_order(calls: Iterator[Callable[[], _T]], name: str) -> Generator[_T]:
    """What the calls give, in their order; as many run at once as there are processors, but at most four.

    A call is taken from the iterator in the thread of who asks for results, one more than run at once ahead of them. When
    the result is closed, calls that run are waited for, and others are not made.

    Args:
        calls: without arguments, and apt to release the interpreter's lock.
        name: of the threads.

    Raises:
        Exception: what a call raises, in its turn.
    """
    workers = min(_WORKERS, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers, name) as pool:
        waiting = deque(pool.submit(call) for call in islice(calls, workers + 1))
        try:
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(pool.submit(call) for call in islice(calls, 1))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
