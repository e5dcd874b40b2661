"""A configuration as it counts: placeholders looked up, defaults filled in, profile, included files and matrices applied.

What is given is plain data that means the same as the configuration. Secrets are references; what is secret by
nature (arguments that a plugin declares so, names such as ``password``, passwords in URLs) is masked although it
stands in the text.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import asdict
from datetime import date
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pipeline_flow.config.interpolate import UNRESOLVED
from pipeline_flow.config.models import Retry
from pipeline_flow.core import inventory, spec
from pipeline_flow.plan.build import confidential_in, type_of
from pipeline_flow.plan.model import PHASES
from pipeline_flow.secret import MASK, Redactor, Secret, SecretReference, SecretText, is_secret_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pipeline_flow.config.models import Config, Phase, Pipeline, Step
    from pipeline_flow.core.inventory import Catalog

_IN_QUERY = re.compile(r"([?&])([\w.-]+)=(?!\$\{\{)([^&\s#]+)")
# Where the user's name is a placeholder; what `mask_url` knows are URLs without any.
_BEHIND_USER = re.compile(r"(://[^/\s:@]*(?:\$\{\{[^}]*\}\}[^/\s:@]*)+):(?!\$\{\{)[^/\s]+@")
_WHEN_A_RUN_STARTS = re.compile(r"<(run\.(?:id|key))>")  # what stands for them where nothing runs


class Resolved:
    """The configuration as plain data, and what was masked in it.

    Args:
        config: what was read; what is broken in it is left out.
        catalog: the plugins that it names.

    ``masked`` counts the values that are masked, once :meth:`data` has been called.
    """

    def __init__(self, config: Config, catalog: Catalog) -> None:
        self._config = config
        self._catalog = catalog
        self._redact = Redactor()
        self._redact.add_confidential(confidential_in(config, catalog))
        self._secret: set[str] = set()
        self.masked = 0

    def data(self) -> dict[str, Any]:
        """The whole, in the order in which people write it."""
        config = self._config
        named: dict[str, Any] = {
            "variables": self._value(config.variables),
            "connections": self._value(config.connections),
        }
        found = {
            "version": config.version,
            "name": config.name,
            "timezone": config.timezone,
            "concurrency": config.concurrency,
            "parallelism": config.parallelism,
            "fail_fast": config.fail_fast,
            "handoff": config.handoff,
            "memory_limit": config.memory_limit,
            "spill_limit": config.spill_limit,
            **named,
            "secrets": dict(self._secrets()),
            "plugins": _given(
                {
                    "custom": _given({"files": config.plugins.files, "dirs": config.plugins.dirs}),
                    "community": config.plugins.community,
                }
            ),
            "pipelines": {name: self._pipeline(pipeline) for name, pipeline in config.pipelines.items()},
        }
        # Only now all secrets are known: one that a step takes may be the value of a variable with any name.
        same = {name: self._same(each) for name, each in named.items()}
        written: dict[str, Any] = self._written(_given({**found, **same}))
        return written

    def redact(self, text: str) -> str:
        """``text`` without what is secret by nature in the configuration, and without passwords in URLs."""
        if text.strip("'\"") in self._secret:
            return MASK
        return _IN_QUERY.sub(_in_query, _BEHIND_USER.sub(rf"\1:{MASK}@", self._redact(text)))

    # ---------------------------------------------------------------------------------------------- the levels

    def _secrets(self) -> Iterator[tuple[str, Any]]:
        for name, manager in self._config.secrets.items():
            args = self._args(inventory.SECRET_MANAGER, manager.plugin, manager.args)
            own = manager.id if manager.id != name else None
            yield name, _given({"plugin": manager.plugin, "id": own, "args": args})

    def _pipeline(self, pipeline: Pipeline) -> dict[str, Any]:
        phases = {name: self._phase(pipeline.phases[name]) for name in PHASES if name in pipeline.phases}
        return _given(
            {
                "description": pipeline.description,
                "type": pipeline.type or type_of(pipeline),
                "needs": pipeline.needs,
                "phases": _given(phases),
            }
        )

    def _phase(self, phase: Phase) -> dict[str, Any]:
        return _given(
            {
                "pre": [self._step(step, inventory.PRE) for step in phase.pre],
                "steps": [self._step(step, phase.name) for step in phase.steps],
                "merge": None if phase.merge is None else self._step(phase.merge, inventory.MERGE),
                "post": [self._step(step, inventory.POST) for step in phase.post],
            }
        )

    def _step(self, step: Step, kind: str) -> dict[str, Any]:
        return _given(
            {
                "id": step.id,
                "plugin": step.plugin,
                "description": step.description,
                "input": step.input,
                "args": self._args(kind, step.plugin, step.args),
                "on_bad_row": step.on_bad_row,
                "retry": _retry(step.retry),
                "timeout": None if step.timeout is None else _number(step.timeout),
            }
        )

    # ---------------------------------------------------------------------------------------------- the values

    def _args(self, kind: str, plugin: str, args: Mapping[str, Any]) -> dict[str, Any]:
        takes: Mapping[str, spec.Argument] = {}
        with contextlib.suppress(Exception):  # importing it ran somebody's code; the check reports it
            takes = spec.of(self._catalog.find(kind, plugin).cls).by_name
        return {
            str(name): self._argument(name, value, [takes[name].annotation] if name in takes else [])
            for name, value in args.items()
        }

    def _argument(self, name: Any, value: Any, annotations: Iterable[Any]) -> Any:
        """A value of an argument, or inside of one, with what is secret by its name or by its type masked."""
        if is_secret_name(str(name)):
            return self._mask(value)
        members = [member for annotation in annotations for member in spec.members(annotation)]
        if isinstance(value, Mapping):
            kind = next((kind for member in members if (kind := spec.plugin_kind(member))), None)
            if kind is not None and isinstance(value.get("args"), Mapping):
                return {
                    **self._value(value),
                    "args": self._args(kind, str(value.get("plugin")), value["args"]),
                }
            beside = str(value.get("name") or value.get("key") or "")  # {name: X-Api-Key, value: …}
            return {
                key: self._argument(
                    beside if key == "value" and is_secret_name(beside) else key, item, _inner(members, key)
                )
                for key, item in value.items()
            }
        if isinstance(value, list):
            return [self._argument("", item, _inner(members, None)) for item in value]
        return self._mask(value) if Secret in members and str not in members else value

    def _value(self, value: Any) -> Any:
        return self._argument("", value, ())

    def _mask(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: self._mask(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._mask(item) for item in value]
        if not isinstance(value, str | int | float | date) or isinstance(value, bool):
            return value  # nothing, or a reference
        text = str(value)
        self._secret.add(text)
        self._redact.add_confidential((text,))
        self.masked += 1
        return MASK

    def _same(self, value: Any) -> Any:
        """``value`` with every text masked that is masked elsewhere."""
        if isinstance(value, Mapping):
            return {key: self._same(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._same(item) for item in value]
        return MASK if isinstance(value, str) and value in self._secret else value

    def _written(self, value: Any) -> Any:
        """``value`` as YAML holds it: what is no placeholder escaped, dates in ISO 8601, nothing that is unresolved."""
        if isinstance(value, Mapping):
            return {
                (key.replace("${{", "$${{") if isinstance(key, str) else key): self._written(item)
                for key, item in value.items()
                if item is not UNRESOLVED
            }
        if isinstance(value, list | tuple):
            return [self._written(item) for item in value if item is not UNRESOLVED]
        if isinstance(value, SecretText | SecretReference):
            parts = value.parts if isinstance(value, SecretText) else (value,)
            escaped = [part.replace("${{", "$${{") if isinstance(part, str) else str(part) for part in parts]
            return self._shown("".join(escaped))
        if isinstance(value, str):
            return self._shown(value.replace("${{", "$${{"))
        return value.isoformat() if isinstance(value, date) else value

    def _shown(self, text: str) -> str:
        shown = self.redact(text) if text not in self._secret else text
        if shown != text:
            self.masked += 1
        return _WHEN_A_RUN_STARTS.sub(r"${{ \1 }}", shown)


def _in_query(found: re.Match[str]) -> str:
    return f"{found[1]}{found[2]}={MASK}" if is_secret_name(found[2]) else found[0]


def _inner(members: Iterable[Any], key: Any) -> list[Any]:
    """The annotations of what stands under ``key`` in a value of one of the types; of an element, where it is ``None``."""
    found: list[Any] = []
    for member in members:
        inner = get_args(member)
        origin = get_origin(member)
        if hasattr(member, "model_fields"):
            found += [
                info.annotation for name, info in member.model_fields.items() if key in (name, info.alias)
            ]
        elif inner and isinstance(origin, type):
            found += inner[1:2] if issubclass(origin, Mapping) else inner[:1] if key is None else ()
    return found


def _given(found: Mapping[str, Any]) -> dict[str, Any]:
    """``found`` without what says nothing."""
    return {key: value for key, value in found.items() if value not in (None, "", (), [], {})}


def _retry(retry: Retry) -> Any:
    if retry == Retry(attempts=retry.attempts):
        return retry.attempts
    waits = {key: _number(value) for key, value in asdict(retry).items() if key != "on"}
    return _given({**waits, "on": retry.on})


def _number(value: float) -> float:
    return int(value) if value == int(value) else value
