"""The Python part of flights.yaml: makes times of the numbers that stand for them."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc


def clean(data: pa.Table, *, late: int = 15) -> pa.Table:
    """Turns year, month, day and a time written HMM or HHMM into timestamps, and says which flights were late.

    Args:
        data: the joined departures; `dep_time` is null where the flight was cancelled.
        late: minutes of delay from which a flight counts as late.
    """
    day = pc.cast(
        pc.strptime(
            pc.binary_join_element_wise(
                pc.cast(data["year"], pa.string()), _two_digits(data["month"]), _two_digits(data["day"]), "-"
            ),
            format="%Y-%m-%d",
            unit="s",
        ),
        pa.date32(),
    )
    scheduled = _at(day, data["sched_dep_time"])
    delay = data["dep_delay"]
    cancelled = pc.is_null(data["dep_time"])
    return pa.table(
        {
            "day": day,
            "scheduled": scheduled,
            # The delay tells the day as well; the time alone does not: 23:50, twenty minutes late, is 10.
            "departed": pc.add(
                scheduled, pc.cast(pc.multiply(pc.cast(delay, pa.int64()), 60), pa.duration("s"))
            ),
            "delay_minutes": delay,
            "is_late": pc.fill_null(pc.greater_equal(delay, late), False),
            "is_cancelled": cancelled,
            **{
                name: data[name]
                for name in ("carrier", "airline", "flight", "tailnum", "manufacturer", "built", "seats")
            },
            **{name: data[name] for name in ("origin", "dest", "distance", "air_time")},
        }
    )


def _two_digits(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.utf8_lpad(pc.cast(column, pa.string()), 2, "0")


def _at(day: pa.ChunkedArray, clock: pa.ChunkedArray) -> pa.ChunkedArray:
    """A day and a time written HMM or HHMM, as a timestamp."""
    clock = pc.cast(clock, pa.int64())
    hours = pc.divide(clock, 100)
    minutes = pc.subtract(clock, pc.multiply(hours, 100))
    seconds = pc.multiply(pc.add(pc.multiply(hours, 60), minutes), 60)
    return pc.add(pc.cast(day, pa.timestamp("s")), pc.cast(seconds, pa.duration("s")))
