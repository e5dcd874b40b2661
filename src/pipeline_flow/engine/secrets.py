"""The secrets of a run: fetched when it starts, before its first step, each once and all at the same time."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

from pipeline_flow.core import inventory, spec
from pipeline_flow.core.context import CancelFlag
from pipeline_flow.engine.step import failure_of
from pipeline_flow.engine.threads import contained
from pipeline_flow.errors import Position, Problem, SecretUnavailable
from pipeline_flow.secret import Secret, open_references, references

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline_flow.core.inventory import Catalog
    from pipeline_flow.engine.threads import Lane, Threads
    from pipeline_flow.plan.model import Plan, SecretPlan
    from pipeline_flow.secret import Redactor, SecretReference

RESOURCE_ID = "resource_id"


class Secrets:
    """Fetches what the pipelines of a plan use, and gives the value of a reference.

    Args:
        plan: whose secrets.
        catalog: where the secret managers are.
        threads: where they are called.
        redact: learns every value.
    """

    def __init__(self, plan: Plan, catalog: Catalog, threads: Threads, redact: Redactor) -> None:
        self._plan = plan
        self._catalog = catalog
        self._threads = threads
        self._redact = redact
        self._values: dict[str, Any] = {}
        self._resource_ids: dict[str, Any] = {}

    def value(self, reference: SecretReference) -> Any:
        """What a reference stands for. Only after :meth:`fetch`."""
        if reference.key == RESOURCE_ID:
            return self._resource_ids[reference.name]
        value = self._values[reference.name]
        if reference.key is not None:
            value = value[reference.key]
        return value.reveal() if isinstance(value, Secret) else value

    async def fetch(self, also: Any = ()) -> None:
        """Fetches each secret that is used; one that another's arguments use comes first.

        Args:
            also: values outside of the plan's pipelines that use some.

        Raises:
            SecretUnavailable: some could not be fetched; all of those are named.
        """
        wanted = self._wanted(also)
        if not wanted:
            return
        fetching: dict[str, asyncio.Task[list[Problem]]] = {}
        async with asyncio.TaskGroup() as group:
            for name, plan in self._plan.secrets.items():
                if name in wanted:
                    before = [fetching[reference.name] for reference in references(plan.args)]
                    fetching[name] = group.create_task(self._fetch(plan, wanted[name], before))
        problems = [problem for task in fetching.values() for problem in task.result()]
        if problems:
            raise SecretUnavailable(problems)

    def _wanted(self, also: Any) -> dict[str, list[SecretReference]]:
        wanted: dict[str, list[SecretReference]] = {}
        if not self._plan.secrets:
            return wanted
        for reference in (*self._used(), *references(also)):
            wanted.setdefault(reference.name, []).append(reference)
        return wanted

    def _used(self) -> Iterable[SecretReference]:
        for pipeline in self._plan.pipelines:
            for phase in pipeline.phases:
                for step in phase.all_steps():
                    if step.args:
                        yield from references(step.args)
        for secret in self._plan.secrets.values():
            yield from references(secret.args)

    async def _fetch(
        self, plan: SecretPlan, wanted: list[SecretReference], before: list[asyncio.Task[list[Problem]]]
    ) -> list[Problem]:
        if before:
            await asyncio.wait(before)
        if any(task.result() for task in before):
            return []  # what it would be fetched with is missing, and that is reported
        lane = self._threads.lane()  # one thread for the manager's constructor and its calls
        try:
            return await self._fetch_in(lane, plan, wanted)
        except Exception as error:  # noqa: BLE001 - whatever a secret manager raises
            failure = failure_of(error, self._redact)
            text = f"the secret `{plan.name}` could not be fetched: {failure.message}"
            hint = failure.hint or f"the secret manager is `{plan.plugin}`"
            return [SecretUnavailable.problem(text, _position(wanted[0]), hint=hint)]
        finally:
            lane.release()

    async def _fetch_in(self, lane: Lane, plan: SecretPlan, wanted: list[SecretReference]) -> list[Problem]:
        declaration = self._catalog.find(inventory.SECRET_MANAGER, plan.plugin)
        args = open_references(plan.args, self.value)
        manager = await lane.run(CancelFlag(), spec.build, self._catalog, declaration, plan.plugin_id, args)
        if any(reference.key == RESOURCE_ID for reference in wanted):
            self._resource_ids[plan.name] = await lane.run(CancelFlag(), getattr, manager, RESOURCE_ID)
        if all(reference.key == RESOURCE_ID for reference in wanted):
            return []
        value = await lane.run(CancelFlag(), manager)
        value = await contained(value) if inspect.isawaitable(value) else value
        self._redact.add(value)
        self._values[plan.name] = value
        missing = (_missing_key(reference, value) for reference in wanted)
        return [problem for problem in missing if problem is not None]


def _missing_key(reference: SecretReference, value: Any) -> Problem | None:
    if reference.key is None or reference.key == RESOURCE_ID:
        return None
    name, key = reference.name, reference.key
    if not isinstance(value, dict):
        text = f"the secret `{name}` is no mapping and has no key `{key}`"
        return SecretUnavailable.problem(text, _position(reference), hint=f"write ${{{{ secrets.{name} }}}}")
    if key not in value:
        keys = ", ".join(map(str, value))
        text = f"the secret `{name}` has no key `{key}`"
        return SecretUnavailable.problem(text, _position(reference), hint=f"its keys: {keys}")
    return None


def _position(reference: SecretReference) -> Position | None:
    """Where in the YAML a secret is used."""
    file, line, column = (*reference.origin.rsplit(":", 2), "", "")[:3]
    return Position(file, int(line), int(column)) if line.isdigit() and column.isdigit() else None
