"""The suites stand in ``pipeline_flow.testing``; these are their names here."""

import pytest

from pipeline_flow.testing.samples import Broken, breaking
from pipeline_flow.testing.suites import DestinationSuite, SourceSuite, is_root, not_applicable

as_root = pytest.mark.skipif(is_root(), reason="root may read and write everything")

__all__ = ["Broken", "DestinationSuite", "SourceSuite", "as_root", "breaking", "not_applicable"]
