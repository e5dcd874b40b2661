"""Plugins inside plugins: what extracts and loads delegate to."""

from pipeline_flow.plugins.utility.pagination import (
    HATEOASPagination,
    IPagination,
    IPaginationHandler,
    PageBasedPagination,
)

__all__ = ["HATEOASPagination", "IPagination", "IPaginationHandler", "PageBasedPagination"]
