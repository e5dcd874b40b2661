"""Text → checked values. Runs nothing, connects nowhere, knows no plugin.

>>> config = load(
...     read("pipelines: {demo: {phases: {extract: {steps: [{plugin: a}]}, load: {steps: [{plugin: b}]}}}}")
... )
>>> list(config.pipelines)
['demo']
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pipeline_flow.config import shape
from pipeline_flow.config.models import Config, Phase, Pipeline, Plugins, Retry, SecretManager, Step
from pipeline_flow.config.source import Source, Sources, read
from pipeline_flow.errors import ConfigError, by_place

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline_flow.config.interpolate import Run

__all__ = [
    "Config",
    "Phase",
    "Pipeline",
    "Plugins",
    "Retry",
    "SecretManager",
    "Source",
    "Sources",
    "Step",
    "load",
    "read",
]


def load(
    source: Any,
    *,
    variables: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    run: Run | None = None,
    now: datetime | None = None,
    profile: str | None = None,
    keep_going: bool = False,
) -> Config:
    """The configuration that ``source`` holds: placeholders looked up, defaults filled in, shapes checked.

    Args:
        source: what :func:`read` gives, or anything that it takes.
        variables: overrides of variables (``--var name=value``). Text is read by the declared type of the variable,
            else as a YAML scalar; other values are taken as they are.
        environ: what ``${{ env.… }}`` is looked up in; the process's environment by default.
        run: what ``${{ run.… }}`` is looked up in. Without one the run's id and key are the texts ``<run.id>`` and
            ``<run.key>``, and its start is ``now``.
        now: a time with a zone; the present by default.
        profile: which of the configuration's ``profiles`` is laid over it.
        keep_going: give what can be read of a broken configuration instead of raising. ``Config.problems`` holds its
            problems, and ``plan.build`` raises them together with its own.

    Raises:
        ConfigError: every problem of the text and its shape, in the order of their places.
        FileUnreadable: ``source`` cannot be read.
    """
    config = shape.load(
        read(source),
        variables=variables or {},
        environ=os.environ if environ is None else environ,
        run=run,
        started_at=run.started_at if run is not None else now or datetime.now(UTC),
        profile=profile,
    )
    if config.problems and not keep_going:
        raise ConfigError(sorted((*config.warnings, *config.problems), key=by_place))
    return config
