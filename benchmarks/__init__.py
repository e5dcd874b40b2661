"""Figures beside a peer's or a limit, measured in one run: ``make bench-overhead``, ``make bench-files``."""
