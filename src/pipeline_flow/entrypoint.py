"""From YAML to a finished run: load the configuration, make the plan, run it."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from pipeline_flow import config as language
from pipeline_flow import plan as planning
from pipeline_flow.core import discovery, spec
from pipeline_flow.core.context import CancelFlag, new_run
from pipeline_flow.core.suggest import hint
from pipeline_flow.errors import ConfigError, PipelineFlowError, RunFailed, UnresolvedReference
from pipeline_flow.events import Notice, Status
from pipeline_flow.plan import preview as cutting
from pipeline_flow.plan.build import for_value
from pipeline_flow.secret import Redactor, Secret, holds_secret, open_references

# The engine brings Arrow with it. It is imported where something runs, so that checking a file stays quick.

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pipeline_flow.config import Config
    from pipeline_flow.core.context import Run
    from pipeline_flow.core.inventory import Catalog, Declaration
    from pipeline_flow.engine import Clock, RunResult, Threads
    from pipeline_flow.engine.preview import Collected, Preview
    from pipeline_flow.errors import Problem
    from pipeline_flow.listeners import Listener
    from pipeline_flow.plan.model import Plan


@dataclass(frozen=True, slots=True)
class Prepared:
    """A checked configuration: the plan, the plugins that it names, the run's identity, and what is worth a warning."""

    plan: Plan
    catalog: Catalog
    run: Run
    warnings: tuple[Problem, ...]


def load(
    stream: Any,
    *,
    variables: Mapping[str, str] | None = None,
    profile: str | None = None,
    run: Run | None = None,
    plugins: Iterable[Declaration] = (),
) -> tuple[Config, Catalog]:
    """Reads a configuration and the plugins that it names; ``plan.build`` checks the two together.

    Args:
        stream: a path, YAML text, bytes, an open file, or a mapping.
        variables: values that override those under ``variables:``, as text.
        profile: which of its ``profiles`` is laid over it.
        run: what ``${{ run.… }}`` is looked up in.
        plugins: plugins that go before all others.

    Raises:
        ConfigError: it cannot be read, or a file of plugins cannot be imported. What else is wrong stands in the
            configuration's ``problems``.
    """
    found = language.load(
        language.read(stream), variables=variables or {}, run=run, profile=profile, keep_going=True
    )
    named = found.plugins
    try:
        catalog = discovery.catalog(files=named.files, dirs=named.dirs, community=named.community)
    except ConfigError as error:
        raise ConfigError((*found.problems, *error.problems)) from error
    return found, catalog.including(plugins)


def prepare(
    stream: Any,
    *,
    variables: Mapping[str, str] | None = None,
    profile: str | None = None,
    select: Sequence[str] = (),
    concurrency: int | None = None,
    clock: Clock | None = None,
    plugins: Iterable[Declaration] = (),
    thorough: bool = True,
) -> Prepared:
    """Reads and checks a configuration; runs nothing and connects nowhere.

    Args:
        stream: a path, YAML text, bytes, an open file, or a mapping.
        variables: values that override those under ``variables:``, as text.
        profile: which of its ``profiles`` is laid over it.
        select: names or patterns of the pipelines to run; all where empty. ``+name`` adds what it needs.
        concurrency: how many pipelines run at once, instead of what the configuration says.
        clock: where the run's start is read.
        plugins: plugins that go before all others.
        thorough: whether plugins may import what they work with to look at their arguments, as a database's parser for
            a query.

    Raises:
        ConfigError: with every problem that was found.
    """
    run = new_run(clock.time() if clock is not None else time.time(), Random())
    found, catalog = load(stream, variables=variables, profile=profile, run=run, plugins=plugins)
    with nullcontext() if thorough else spec.quickly():
        built = planning.build(found, catalog, select=select, concurrency=concurrency)
    return Prepared(built.plan, catalog, run, built.warnings)


async def execute(
    prepared: Prepared,
    listeners: Iterable[Listener],
    *,
    redact: Redactor | None = None,
    clock: Clock | None = None,
    threads: Threads | None = None,
    started: Any = None,
) -> RunResult:
    """Runs what :func:`prepare` made. A failed pipeline is in the result; nothing is raised for it.

    Args:
        prepared: what to run.
        listeners: who hears the events.
        redact: learns the run's secrets.
        clock: the time.
        threads: where synchronous plugins run.
        started: called with the :class:`~pipeline_flow.engine.Orchestrator` before it runs; whoever holds it can stop the run.

    Raises:
        ConfigError: a secret could not be fetched; nothing has run.
    """
    from pipeline_flow.data.handoff import remove_stale
    from pipeline_flow.engine import Orchestrator, SystemClock, WorkerThreads
    from pipeline_flow.listeners import Bus
    from pipeline_flow.listeners.summary import text_of

    clock = clock or SystemClock()
    folder = spill_folder()
    remove_stale(folder)
    threads = threads or WorkerThreads()
    bus = Bus(listeners)
    try:
        orchestrator = Orchestrator(
            prepared.plan,
            prepared.catalog,
            run=prepared.run,
            emit=bus.emit if bus else None,
            clock=clock,
            threads=threads,
            random=Random(),
            spill_folder=folder,
            redact=redact,
        )
        if started is not None:
            started(orchestrator)
        for problem in prepared.warnings:
            bus.emit(Notice(at=clock.time(), text=str(problem), level="warning"))
        return replace(await orchestrator.run(), show=text_of)
    finally:
        if bus:  # off the event loop: a listener may need it for what it still has to do
            await threads.run(CancelFlag(), bus.close)
            threads.close()


async def connection(config: Config, catalog: Catalog, name: str, redact: Redactor) -> str | Secret:
    """The URL under ``connections:``, its secrets fetched; nothing is connected to.

    Args:
        config: what :func:`load` read.
        catalog: where its secret managers are.
        name: the connection's.
        redact: learns the secrets, and what stands in the configuration in clear.

    Raises:
        ConfigError: the configuration cannot be read, there is no such connection, or a secret could not be fetched.
    """
    from pipeline_flow.engine import WorkerThreads
    from pipeline_flow.engine.secrets import Secrets

    value = config.connections.get(name)
    plan = for_value(config, catalog, value)
    if value is None:
        text = f"there is no connection `{name}` under `connections`"
        raise UnresolvedReference(
            [UnresolvedReference.problem(text, hint=hint(name, config.connections, "there are"))]
        )
    redact.add_confidential(plan.confidential)
    if not holds_secret(value):
        return str(value)
    threads = WorkerThreads()
    try:
        secrets = Secrets(plan, catalog, threads, redact)
        await secrets.fetch(value)
        return Secret(str(open_references(value, secrets.value)))
    finally:
        threads.close()


def spill_folder() -> Path:
    """Where data waits on disk: ``$PIPELINE_FLOW_TMP``, or a folder of this user's under the system's for such files."""
    root = os.environ.get("PIPELINE_FLOW_TMP") or tempfile.gettempdir()
    user = getattr(os, "getuid", lambda: "user")()
    return Path(root) / f"pipeline-flow-{user}"


async def start_orchestration(
    stream: Any,
    *,
    variables: Mapping[str, str] | None = None,
    profile: str | None = None,
    select: Sequence[str] = (),
    concurrency: int | None = None,
    listeners: Iterable[Listener] = (),
    raise_on_failure: bool = True,
) -> RunResult:
    """Runs a configuration from Python, inside a running event loop.

    Events also go to the logger ``pipeline_flow`` where that lets ``INFO`` through.

    Args:
        stream: a path (also as text without a newline), YAML text, bytes, an open file, or a mapping.
        variables: values that override those under ``variables:``, as text.
        profile: which of its ``profiles`` is laid over it.
        select: names or patterns of the pipelines to run; all where empty. ``+name`` adds what it needs.
        concurrency: how many pipelines run at once, instead of what the configuration says.
        listeners: who else hears the events.
        raise_on_failure: raise when a pipeline failed.

    Returns:
        What happened to each pipeline.

    Raises:
        ConfigError: the configuration is wrong, or a secret could not be fetched; nothing has run.
        RunFailed: a pipeline failed; the exception group carries the result as ``result``.
    """
    prepared = prepare(stream, variables=variables, profile=profile, select=select, concurrency=concurrency)
    return await run_prepared(prepared, listeners, raise_on_failure=raise_on_failure)


async def run_prepared(
    prepared: Prepared, listeners: Iterable[Listener] = (), *, raise_on_failure: bool = True
) -> RunResult:
    """Runs what :func:`prepare` made, for Python callers; see :func:`start_orchestration`."""
    from pipeline_flow.listeners.log import Log

    redact = Redactor()
    logging_too = (Log(redact),) if logging.getLogger("pipeline_flow").isEnabledFor(logging.INFO) else ()
    result = await execute(prepared, (*logging_too, *listeners), redact=redact)
    if raise_on_failure and result.status is Status.FAILED:
        raise failed(result)
    return result


def for_preview(
    prepared: Prepared, step: str, *, rows: int, limit_rows: int | None
) -> tuple[Prepared, Collected]:
    """What runs up to a step and keeps the first rows that leave it; nothing is loaded.

    Args:
        prepared: the whole.
        step: ``pipeline.phase.step``, or a part of it that only one step has.
        rows: how many rows are kept.
        limit_rows: how many rows each extract step may give; ``None`` for all.

    Raises:
        UnknownSelection: there is no such step, there are several, or it gives no rows.
    """
    from pipeline_flow.engine.preview import COLLECTOR, Collected

    address = cutting.find(prepared.plan, step)
    collected = Collected(address, limit_rows)
    plan = cutting.cut(prepared.plan, address, limit_rows=limit_rows, args={"rows": rows, "into": collected})
    catalog = prepared.catalog.including((COLLECTOR,))
    return replace(prepared, plan=plan, catalog=catalog), collected


async def preview(prepared: Prepared, step: str, *, rows: int = 20, limit_rows: int | None = 1000) -> Preview:
    """The first rows that leave a step; see :func:`for_preview`.

    Raises:
        ConfigError: there is no such step, or a secret could not be fetched.
        RunFailed: a step failed.
    """
    cut, collected = for_preview(prepared, step, rows=rows, limit_rows=limit_rows)
    return collected.preview(await run_prepared(cut))


def failed(result: RunResult) -> RunFailed:
    """The exception group for a result with failed pipelines."""
    pipelines = result.with_status(Status.FAILED)
    errors = [pipeline.error or PipelineFlowError(f"{pipeline.name} failed") for pipeline in pipelines]
    names = ", ".join(f"`{pipeline.name}`" for pipeline in pipelines)
    return RunFailed(f"{len(pipelines)} of {len(result.pipelines)} pipelines failed: {names}", errors, result)


def run(stream: Any, **options: Any) -> RunResult:
    """Runs a configuration and waits until it has ended; takes what :func:`start_orchestration` takes.

    Inside a running event loop (a notebook has one) the run has a loop and a thread of its own, and the caller's loop
    stands still meanwhile: await :func:`start_orchestration` where that must not be.
    """
    from pipeline_flow.engine.blocking import wait_for

    return wait_for(lambda: start_orchestration(stream, **options))
