"""Numbers and events as people read them: :mod:`pipeline_flow.core.text`, by the name under which what prints finds it."""

from pipeline_flow.core.text import count, one_line, place, printable, rows, seconds, shortened, size, width

__all__ = ["count", "one_line", "place", "printable", "rows", "seconds", "shortened", "size", "width"]
