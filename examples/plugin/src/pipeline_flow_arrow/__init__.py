"""Plugins for pipeline-flow: Arrow files, and the largest rows of a table."""
