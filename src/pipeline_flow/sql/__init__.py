"""Databases by URL: the engines, and how their names, values and types are written."""
