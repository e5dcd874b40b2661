"""The names that plugins written for 1.0.8 annotate with; all but the payload say nothing about their value."""

from __future__ import annotations

from typing import Any, TypedDict

ExtractedData = Any
ExtractMergedData = Any
TransformedData = Any
UnifiedExtractData = Any
ETLData = Any
PluginName = str
StreamType = Any


class PluginPayload(TypedDict, total=False):
    """A plugin in another one's ``args``: its name, its id under either key, and its own arguments."""

    id: str
    plugin_id: str
    plugin: PluginName
    args: dict[str, Any]
