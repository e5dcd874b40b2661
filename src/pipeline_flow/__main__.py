"""``python -m pipeline_flow`` is the command ``pipeline-flow``."""

from pipeline_flow.cli import main

main()
