"""What the tests of connectors use stands in ``pipeline_flow.testing``; these are its names here."""

from pipeline_flow.testing.bench import MEMORY_BYTES, Bench, FakeResources
from pipeline_flow.testing.fixtures import bench
from pipeline_flow.testing.samples import every_type, nested
from tests.connectors.databases import db, postgres_database

__all__ = [
    "MEMORY_BYTES",
    "Bench",
    "FakeResources",
    "bench",
    "db",
    "every_type",
    "nested",
    "postgres_database",
]
