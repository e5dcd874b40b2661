"""The command ``pipeline-flow``."""

from pipeline_flow.cli.app import main

__all__ = ["main"]
