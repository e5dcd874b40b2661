"""Pipelines built and run from Python, with the model and the checks of the YAML.

>>> import pipeline_flow as pf
>>> flow = pf.Flow("shop")
>>> orders = flow.pipeline("orders")
>>> orders.extract("csv", path="orders.csv").load("parquet", path="orders.parquet")
<Pipeline orders>
>>> print(flow.to_yaml())
name: shop
pipelines:
  orders:
    phases:
      extract:
        steps:
          - plugin: csv
            args:
              path: orders.csv
      load:
        steps:
          - plugin: parquet
            args:
              path: orders.parquet
<BLANKLINE>
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Self

from pipeline_flow import entrypoint
from pipeline_flow.config.builder import Draft
from pipeline_flow.core.inventory import EXTRACT, LOAD, MERGE, POST, PRE, TRANSFORM, TRANSFORM_AT_LOAD
from pipeline_flow.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pipeline_flow.config.source import Map
    from pipeline_flow.engine import RunResult
    from pipeline_flow.engine.preview import Preview
    from pipeline_flow.errors import Problem
    from pipeline_flow.listeners import Listener
    from pipeline_flow.plan.model import Plan

STEPS = "steps"


class Flow:
    """A configuration, built by calls instead of YAML; a mistake in it is shown with the file and line of the call.

    Values may hold ``${{ … }}`` as they do in YAML, and are looked up when the flow is checked: secrets stay references.

    Args:
        name: the project; part of the identity of what it commits.
        settings: the other keys of the top level, such as ``concurrency=2``, ``variables={…}``, ``secrets={…}``,
            ``plugins={…}``, ``timezone="Europe/Warsaw"``.

    Raises:
        UnknownKey: the top level has no such key.
    """

    def __init__(self, name: str | None = None, **settings: Any) -> None:
        self._draft = Draft()
        given = {"name": name, **settings} if name is not None else settings
        self._draft.document(self._draft.here(_caller()), given)

    def __repr__(self) -> str:
        return f"<Flow {', '.join(map(repr, self._pipelines()))}>"

    def _pipelines(self) -> list[str]:
        nodes = (document.items.get("pipelines") for document in self._draft.documents)
        return [str(name) for node in nodes for name in getattr(node, "items", ())]

    @classmethod
    def from_yaml(cls, stream: Any) -> Self:
        """The flow that a configuration describes; more pipelines may be added to it.

        Args:
            stream: a path, YAML text, bytes, an open file, or a mapping.

        Raises:
            ConfigError: the text is no YAML. What it says is checked by :meth:`validate`, :meth:`plan` and :meth:`run`.
            FileUnreadable: it cannot be read.
        """
        flow = cls.__new__(cls)
        flow._draft = Draft.read(stream)  # noqa: SLF001 - an object of this class
        return flow

    def to_yaml(self) -> str:
        """The flow as YAML text, which :meth:`from_yaml` and the command line take: all of it but comments and anchors.

        Raises:
            WrongType: it holds what YAML cannot: a function or class as a plugin, a date, any other object.
        """
        return self._draft.to_yaml()

    def pipeline(self, name: str, **settings: Any) -> Pipeline:
        """Adds a pipeline, whose steps are added by calls of what this gives.

        Args:
            name: its name.
            settings: ``needs``, ``description``, ``type``, as in YAML.

        Raises:
            DuplicateKey: there is a pipeline of this name.
            UnknownKey: a pipeline has no such key.
        """
        draft = self._draft
        return Pipeline(draft, name, draft.pipeline(draft.here(_caller()), name, settings))

    # ------------------------------------------------------------------------------------------ checks

    def _prepared(
        self,
        variables: Mapping[str, Any] | None,
        select: Sequence[str],
        concurrency: int | None = None,
        profile: str | None = None,
    ) -> entrypoint.Prepared:
        return entrypoint.prepare(
            self._draft.source(),
            variables=variables,
            profile=profile,
            select=(select,) if isinstance(select, str) else select,
            concurrency=concurrency,
            plugins=self._draft.declarations.values(),
        )

    def validate(
        self, *, variables: Mapping[str, Any] | None = None, profile: str | None = None
    ) -> tuple[Problem, ...]:
        """Everything that is wrong with the flow, and what is worth a warning (``problem.warning``); runs nothing.

        ``print(problem.render())`` shows one with its line. Nothing where all is well.
        """
        try:
            return self._prepared(variables, (), profile=profile).warnings
        except ConfigError as error:
            return error.problems

    def plan(
        self,
        *,
        variables: Mapping[str, Any] | None = None,
        profile: str | None = None,
        select: Sequence[str] = (),
    ) -> Plan:
        """What a run would do.

        Raises:
            ConfigError: every problem of the flow.
        """
        return self._prepared(variables, select, profile=profile).plan

    # ------------------------------------------------------------------------------------------ runs

    def run(self, **options: Any) -> RunResult:
        """Runs the flow and waits until it has ended; takes what :meth:`run_async` takes.

        Works in a script, in a notebook and inside a running event loop: there the run has a loop and a thread of its
        own, and the caller's loop stands still meanwhile. Await :meth:`run_async` where that must not be.
        """
        from pipeline_flow.engine.blocking import wait_for

        return wait_for(lambda: self.run_async(**options))

    async def run_async(
        self,
        *,
        variables: Mapping[str, Any] | None = None,
        profile: str | None = None,
        select: Sequence[str] = (),
        concurrency: int | None = None,
        listeners: Iterable[Listener] = (),
        raise_on_failure: bool = True,
    ) -> RunResult:
        """Runs the flow in the running event loop.

        Args:
            variables: values that override those under ``variables``.
            profile: which of the ``profiles`` is laid over the flow.
            select: names or patterns of the pipelines to run; all where empty. ``+name`` adds what it needs.
            concurrency: how many pipelines run at once, instead of what the flow says.
            listeners: who else hears the events.
            raise_on_failure: raise when a pipeline failed.

        Returns:
            What happened to each pipeline; ``print`` shows it as a table.

        Raises:
            ConfigError: the flow is wrong, or a secret could not be fetched; nothing has run.
            RunFailed: a pipeline failed; the exception group carries the result as ``result``.
        """
        prepared = self._prepared(variables, select, concurrency, profile)
        return await entrypoint.run_prepared(prepared, listeners, raise_on_failure=raise_on_failure)

    def preview(
        self,
        step: str,
        *,
        rows: int = 20,
        limit_rows: int | None = 1000,
        variables: Mapping[str, Any] | None = None,
        profile: str | None = None,
    ) -> Preview:
        """The first rows that leave a step, or that a load step would be handed; nothing is loaded.

        Args:
            step: ``pipeline.phase.step``, or a part of it that only one step has.
            rows: how many rows are wanted.
            limit_rows: how many rows of each extract step are read; ``None`` for all.
            variables: values that override those under ``variables``.
            profile: which of the ``profiles`` is laid over the flow.

        Raises:
            ConfigError: the flow is wrong, or there is no such step.
            RunFailed: a step failed.
        """
        from pipeline_flow.engine.blocking import wait_for

        prepared = self._prepared(variables, (), profile=profile)
        return wait_for(lambda: entrypoint.preview(prepared, step, rows=rows, limit_rows=limit_rows))


class Pipeline:
    """One pipeline of a :class:`Flow`. Each call adds a step and gives the pipeline again.

    The first argument of each call is the plugin: its name, a decorated function, a plugin class, or a plain function
    (a blocking one is called in a thread). Keywords that are keys of a step in YAML belong to the step: ``id``,
    ``description``, ``input``, ``retry``, ``timeout``, ``on_bad_row``. All others are arguments of the plugin. Where a
    plugin has an argument of such a name, give it as ``args={"id": …}``.
    """

    def __init__(self, draft: Draft, name: str, node: Map) -> None:
        self.name = name
        self._draft = draft
        self._node = node

    def __repr__(self) -> str:
        return f"<Pipeline {self.name}>"

    def extract(self, plugin: Any, /, **given: Any) -> Self:
        """Adds a step that reads data. Extract steps run concurrently."""
        return self._add(EXTRACT, STEPS, plugin, given)

    def merge(self, plugin: Any, /, **given: Any) -> Self:
        """Makes one of what several extract steps read."""
        return self._add(EXTRACT, MERGE, plugin, given)

    def transform(self, plugin: Any, /, **given: Any) -> Self:
        """Adds a step that changes data. Transform steps run one after the other."""
        return self._add(TRANSFORM, STEPS, plugin, given)

    def load(self, plugin: Any, /, **given: Any) -> Self:
        """Adds a step that writes data. Load steps run concurrently."""
        return self._add(LOAD, STEPS, plugin, given)

    def transform_at_load(self, plugin: Any, /, **given: Any) -> Self:
        """Adds a step that changes data in the destination, after every load has committed."""
        return self._add(TRANSFORM_AT_LOAD, STEPS, plugin, given)

    def before_extract(self, plugin: Any, /, **given: Any) -> Self:
        """Adds a ``pre`` hook of extract."""
        return self._add(EXTRACT, PRE, plugin, given)

    def after_extract(self, plugin: Any, /, **given: Any) -> Self:
        """Adds a ``post`` hook of extract; what it returns replaces the data, ``None`` leaves it."""
        return self._add(EXTRACT, POST, plugin, given)

    def before_load(self, plugin: Any, /, **given: Any) -> Self:
        """Adds a ``pre`` hook of load."""
        return self._add(LOAD, PRE, plugin, given)

    def after_load(self, plugin: Any, /, **given: Any) -> Self:
        """Adds a ``post`` hook of load."""
        return self._add(LOAD, POST, plugin, given)

    def _add(self, phase: str, key: str, plugin: Any, given: Mapping[str, Any]) -> Self:
        self._draft.step(self._draft.here(_caller(2)), self._node, phase, key, plugin, given)
        return self


def _caller(up: int = 1) -> Any:
    """The frame that called the public method; ``up`` is how many of our own stand between."""
    frame = inspect.currentframe()
    for _ in range(up + 1):
        frame = frame.f_back if frame is not None else None
    return frame
