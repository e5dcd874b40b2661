"""Batches on the move: streams, what becomes one, and where they wait between two phases."""

from __future__ import annotations

from pipeline_flow.data.adapt import BATCH_ROWS, Tables, convert, is_iterator, is_tabular, to_stream
from pipeline_flow.data.handoff import Budget, Handoff, Spill, remove_stale
from pipeline_flow.data.stream import BatchStream, producer_errors
from pipeline_flow.data.streaming import StreamingHandoff

__all__ = [
    "BATCH_ROWS",
    "BatchStream",
    "Budget",
    "Handoff",
    "Spill",
    "StreamingHandoff",
    "Tables",
    "convert",
    "is_iterator",
    "is_tabular",
    "producer_errors",
    "remove_stale",
    "to_stream",
]
