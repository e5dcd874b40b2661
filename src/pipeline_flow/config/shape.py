"""The tree → the models: every key and value of the language is looked at, and every problem of shape reported.

A walk written by hand. A declarative checker gave positions only through paths that had to be resolved a second time,
and pydantic alone took longer than everything between a text and its plan may take; here the node is at hand where
the problem is found. What can be read of a broken part is read, so that one mistake does not hide the next.
"""

from __future__ import annotations

import functools
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from pipeline_flow.config import matrix, schema, unit
from pipeline_flow.config.assemble import Assembled, assemble
from pipeline_flow.config.interpolate import UNRESOLVED, Interpolator, Run
from pipeline_flow.config.models import (
    DEFAULT_CONCURRENCY,
    DEFAULT_MEMORY_LIMIT,
    DEFAULT_PARALLELISM,
    NO_RETRY,
    Config,
    Origin,
    Phase,
    Pipeline,
    Plugins,
    Retry,
    SecretManager,
    Step,
)
from pipeline_flow.config.source import (
    MAX_PROBLEMS,
    Map,
    Node,
    Place,
    Scalar,
    Seq,
    Source,
    Sources,
    Template,
    parse,
    scalar,
)
from pipeline_flow.core.suggest import hint, nearest
from pipeline_flow.errors import (
    ConfigError,
    DuplicateKey,
    LimitExceeded,
    MissingKey,
    Problem,
    SecretNotAllowed,
    UnknownKey,
    UnresolvedReference,
    WrongType,
    WrongValue,
    by_place,
)
from pipeline_flow.secret import SecretReference, SecretText, confidential, holds_secret, references

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

T = TypeVar("T")

TYPES = ("ETL", "ELT", "ETLT")

_STEP_KEYS = frozenset(schema.STEP)
_PIPELINE_KEYS = frozenset(schema.PIPELINE)
_PHASE_KEYS = {name: frozenset(keys) for name, keys in schema.PHASE.items()}
_JUST_PLUGIN = frozenset(("plugin",))
_MISSING = object()


def load(
    source: Source,
    *,
    variables: Mapping[str, Any],
    environ: Mapping[str, str],
    run: Run | None,
    started_at: datetime,
    profile: str | None = None,
) -> Config:
    """Everything that ``source`` says, with the problems that were found; see :func:`pipeline_flow.config.load`."""
    return _Reader(source, variables, environ, run, started_at, profile).config()


class _Policies(NamedTuple):
    """What steps of a kind do where they say nothing else."""

    retry: Retry = NO_RETRY
    timeout: float | None = None
    on_bad_row: str = "fail"


class _Full(Exception):  # nobody reads five hundred problems
    pass


class _Reader:
    """Reads one configuration."""

    def __init__(
        self,
        source: Source,
        overrides: Mapping[str, Any],
        environ: Mapping[str, str],
        run: Run | None,
        started_at: datetime,
        profile: str | None = None,
    ) -> None:
        self._source = source
        self._overrides = overrides
        self._sources = Sources()
        self._problems: list[Problem] = []
        self._warnings: list[Problem] = []
        self._root = Map(0)
        self._zone: tuple[str, tzinfo] | None = None
        self._look_up = Interpolator(
            environ=environ,
            run=run,
            started_at=started_at,
            zone=lambda: self._timezone()[1],
            sources=self._sources,
            report=self._add,
        )
        self._whole = Assembled()
        self._profile = profile
        self._policies: dict[str, _Policies] = {}
        self._origins: dict[str, Origin] = {}

    def config(self) -> Config:
        """The configuration, or what can be read of it."""
        config = Config(self._default_name(), {})
        with suppress(_Full):
            self._whole = assemble(
                self._source, self._sources, profile=self._profile, text_of=self._text_of, report=self._add
            )
            self._root = self._whole.root
            if self._whole.complete and (self._root.items or not self._problems):
                config = self._read()
        return replace(
            config,
            # Each pipeline of a matrix is read by itself, and tells the same.
            problems=tuple(sorted(dict.fromkeys(self._problems), key=by_place)),
            warnings=tuple(self._warnings),
            confidential=tuple(
                dict.fromkeys((*self._look_up.confidential, *confidential(self._look_up.variables)))
            ),
            root=self._root,
            sources=self._sources,
        )

    def _default_name(self) -> str:
        return self._source.path.stem if self._source.path is not None else "pipelines"

    # ---------------------------------------------------------------------------------------------------- problems

    def _add(self, problem: Problem) -> None:
        self._problems.append(problem)
        if len(self._problems) == MAX_PROBLEMS:
            text = f"more than {MAX_PROBLEMS} problems; the others are not shown"
            self._problems.append(LimitExceeded.problem(text))
            raise _Full

    def _report(self, error: type[ConfigError], text: str, place: Place | None, advice: str = "") -> None:
        self._add(self._sources.problem(error, text, place, hint=advice))

    def _unknown(
        self, mapping: Map, known: Mapping[str, Any], what: str, aside: Mapping[str, str] | None = None
    ) -> None:
        listed = [name for name in known if name != "plugin_id"]
        for key, place in mapping.keys.items():
            if key not in known:
                advice = (aside or {}).get(key) or hint(str(key), listed, f"{what} has")
                self._report(UnknownKey, f"unknown key in {what}", place, advice)

    def _same_name(self, mapping: Map, name: str, place: Place) -> None:
        """Reports a name that stands twice because YAML tells ``1`` from ``"1"``, and a name does not."""
        first = self._sources.position(next(at for key, at in mapping.keys.items() if _key_text(key) == name))
        self._report(
            DuplicateKey,
            f"the name `{name}` stands twice in this mapping",
            place,
            f"the first one is in line {first.line}, column {first.column}; rename one of them",
        )

    # ---------------------------------------------------------------------------------------------------- top level

    def _read(self) -> Config:
        root = self._root
        for key, place in root.keys.items():
            if key not in schema.TOP and not (isinstance(key, str) and key.startswith("x-")):
                advice = hint(str(key), schema.TOP, "the top level has") + "; names of your own begin with x-"
                text = "unknown key at the top level: ignored"
                self._warnings.append(
                    self._sources.problem(UnknownKey, text, place, hint=advice, warning=True)
                )
        self._name_secrets()
        self._read_variables()
        self._look_up.connections = self._read_connections()
        version = self._setting(root, "version", _version, "1", 1)
        name = self._text(root, "name") or self._default_name()
        usual = _Policies(self._read_retry(root, NO_RETRY), self._read_timeout(root, None))
        self._policies = self._read_defaults(usual)
        timezone, _ = self._timezone()
        settings = {
            "concurrency": self._setting(
                root, "concurrency", _positive, "a whole number above 0", DEFAULT_CONCURRENCY
            ),
            "parallelism": self._setting(
                root, "parallelism", _positive, "a whole number above 0", DEFAULT_PARALLELISM
            ),
            "fail_fast": self._setting(root, "fail_fast", _boolean, "true or false", default=False),
            "handoff": self._setting(root, "handoff", _handoff, "auto or stage", "auto"),
            "memory_limit": self._setting(root, "memory_limit", unit.size, _SIZES, None)
            or default_memory_limit(),
            "spill_limit": self._setting(root, "spill_limit", unit.size, _SIZES, None),
        }
        return Config(
            name=name,
            version=version,
            timezone=timezone,
            retry=usual.retry,
            timeout=usual.timeout,
            profile=self._profile,
            origins=self._origins,
            variables=self._look_up.variables,
            connections=self._look_up.connections,
            plugins=self._read_plugins(),
            secrets=self._read_secrets(),
            pipelines=self._read_pipelines(),
            **settings,
        )

    def _timezone(self) -> tuple[str, tzinfo]:
        if self._zone is None:
            self._zone = ("UTC", UTC)  # also what `timezone: ${{ run.date }}` would find
            name = self._text(self._root, "timezone")
            if name is not None and name != "UTC":
                found = _zone_info(name)
                if found is not None:
                    self._zone = (name, found)
                else:
                    self._report(
                        WrongValue,
                        f"`{name}` is no time zone",
                        self._root.items["timezone"],
                        _zone_hint(name),
                    )
        return self._zone

    def _read_plugins(self) -> Plugins:
        found: dict[str, dict[str, None]] = {"files": {}, "dirs": {}, "community": {}}
        for mapping in self._whole.plugins:
            self._unknown(mapping, schema.PLUGINS, "plugins")
            found["community"] |= dict.fromkeys(self._texts(mapping, "community"))
            custom = self._optional_map(mapping, "custom")
            if custom is not None:
                self._unknown(custom, schema.CUSTOM, "plugins.custom")
                found["files"] |= dict.fromkeys(self._texts(custom, "files"))
                found["dirs"] |= dict.fromkeys(self._texts(custom, "dirs"))
        return Plugins(tuple(found["files"]), tuple(found["dirs"]), tuple(found["community"]))

    def _read_connections(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        mapping = self._optional_map(self._root, "connections")
        for key, node in () if mapping is None else mapping.items.items():
            name, place = _key_text(key), mapping.keys[key]  # type: ignore[union-attr] # a map, since it has items
            where: Node | None = node
            if isinstance(node, Map):
                self._unknown(node, schema.CONNECTION, "a connection")
                where = node.items.get("url")
                if where is None:
                    self._report(
                        MissingKey,
                        f"the connection `{name}` needs `url`",
                        place,
                        "write url: and where it is",
                    )
                    continue
            value = UNRESOLVED if isinstance(where, Seq) else self._look_up.value(where)  # type: ignore[arg-type]
            if isinstance(value, str | SecretReference | SecretText):
                found[name] = value
            elif value is not UNRESOLVED or isinstance(where, Seq):
                text = f"the connection `{name}` takes a URL, and this is {_found(where or node, value)}"
                self._report(WrongType, text, where or place, "for example duckdb:///warehouse.duckdb")
        return found

    def _read_defaults(self, usual: _Policies) -> dict[str, _Policies]:
        found = dict.fromkeys(schema.DEFAULTS, usual)
        mapping = self._optional_map(self._root, "defaults")
        if mapping is None:
            return found
        self._unknown(mapping, schema.DEFAULTS, "defaults")
        for kind in found:
            inner = self._optional_map(mapping, kind)
            if inner is not None:
                self._unknown(inner, schema.POLICIES, f"defaults.{kind}")
                found[kind] = _Policies(
                    self._read_retry(inner, usual.retry),
                    self._read_timeout(inner, usual.timeout),
                    self._setting(inner, "on_bad_row", _bad_row, "fail or skip", usual.on_bad_row),
                )
        return found

    # ---------------------------------------------------------------------------------------------------- variables

    def _read_variables(self) -> None:
        known: dict[str, None] = {}
        # One after the other: a later one may use the earlier value of its name.
        for mapping in self._whole.variables:
            found = self._look_up.with_keys(mapping) if mapping.templated else mapping
            names: set[str] = set()
            for key, node in found.items.items():
                name = _key_text(key)
                if name in names:
                    self._same_name(found, name, found.keys[key])
                    continue
                names.add(name)
                known[name] = None
                near, place = self._whole.replaced.get(name, (node, found.keys[key]))
                self._origins[name] = self._origin(name, near, place)
                self._look_up.variables[name] = self._variable(name, near, place)
        for name in self._overrides:
            if name not in known:
                text = f"--var {name}: there is no variable of this name"
                self._add(UnresolvedReference.problem(text, hint=hint(name, known, "variables")))

    def _origin(self, name: str, node: Node, place: int) -> Origin:
        if name in self._overrides:
            return Origin("given with --var", place)
        value = node
        if isinstance(node, Map) and self._declared(node) is not None:
            value = node.items.get("default", node)
        if name in self._whole.profile_names:
            return Origin(f"the profile `{self._profile}`", place, value)
        return Origin("a variable", place, value)

    def _variable(self, name: str, node: Node, place: Place) -> Any:
        declared = self._declared(node)
        given = self._overrides.get(name, _MISSING)
        if declared is None:
            if given is _MISSING:
                return self._look_up.value(node)
            return scalar(given) if isinstance(given, str) else given
        mapping, kind = declared
        if given is not _MISSING:
            text = f"--var {name}={given}"
            try:
                return _as_declared(given, kind, parse_text=True)
            except (TypeError, ValueError):
                self._add(
                    WrongValue.problem(
                        f"{text}: the variable takes {_DECLARED[kind]}",
                        hint=f"it is declared in {self._sources.position(place)}",
                    )
                )
                return UNRESOLVED
        if "default" not in mapping.items:
            self._report(
                UnresolvedReference,
                f"the variable `{name}` has no value: it has no default, and none was given",
                place,
                f"give one with --var {name}=…, or write a default",
            )
            return UNRESOLVED
        default = self._look_up.value(mapping.items["default"])
        if default is None or default is UNRESOLVED or holds_secret(default):
            return default
        try:
            return _as_declared(default, kind, parse_text=True)
        except (TypeError, ValueError):
            self._report(
                WrongValue,
                f"the default of `{name}` is not {_DECLARED[kind]}",
                mapping.items["default"],
                _EXAMPLES.get(kind, ""),
            )
            return UNRESOLVED

    def _declared(self, node: Node) -> tuple[Map, str] | None:
        """The declaration and its type, where ``node`` is one; any other mapping is a value, as in 1.0.8."""
        if (
            not isinstance(node, Map)
            or "type" not in node.items
            or not set(node.items) <= set(schema.VARIABLE)
        ):
            return None
        kind = node.items["type"]
        if not isinstance(kind, Scalar) or not isinstance(kind.value, str):
            return None
        if kind.value in _DECLARED:
            return node, kind.value
        near = _SYNONYMS.get(kind.value.casefold()) or nearest(kind.value, _DECLARED)
        if near is not None and "default" in node.items:
            listed = ", ".join(_DECLARED)
            self._report(
                WrongValue,
                f"`{kind.value}` is no type of a variable",
                kind,
                f"did you mean `{near}`?  types: {listed}",
            )
            return node, near
        return None

    # ------------------------------------------------------------------------------------------------------ secrets

    def _name_secrets(self) -> None:
        node = self._root.items.get("secrets")
        if isinstance(node, Map):
            self._look_up.secrets = {str(key): None for key in node.items}

    def _read_secrets(self) -> dict[str, SecretManager]:
        node = self._root.items.get("secrets")
        found: dict[str, SecretManager] = {}
        if not isinstance(node, Map):
            return found
        for key, item in node.items.items():
            name, place, before = str(key), node.keys[key], len(self._problems)
            if "${{" in name or "." in name:
                text = "a secret's name cannot hold " + ("a placeholder" if "${{" in name else "a `.`")
                self._report(
                    WrongValue, text, place, "a `.` leads to a key of the secret: ${{ secrets.name.key }}"
                )
                continue
            if name in found:
                self._same_name(node, name, place)
                continue
            mapping = self._map(item, f"the secret `{name}`", place, "write {plugin: …, args: {…}}")
            if mapping is None:
                continue
            self._unknown(mapping, schema.SECRET, "a secret")
            plugin = self._required(mapping, "plugin", "a secret", place)
            plugin_id = self._identifier(mapping)
            args = self._args(mapping)
            for reference in references(args):
                if reference.name not in found and reference.name in {str(each) for each in node.items}:
                    self._report(
                        SecretNotAllowed,
                        f"the secret `{name}` uses `{reference.name}`, which does not stand before it",
                        mapping.items["args"],
                        "a secret is fetched with the secrets that stand before it",
                    )
            if plugin is not None:
                broken = len(self._problems) > before
                found[name] = SecretManager(name, plugin, mapping, args, plugin_id or name, broken)
        return found

    # ---------------------------------------------------------------------------------------------------- pipelines

    def _read_pipelines(self) -> dict[str, Pipeline]:
        root = self._root
        if "pipelines" not in root.items:
            near = nearest("pipelines", [str(key) for key in root.items if key not in schema.TOP])
            advice = (
                f"did you mean `pipelines` by `{near}`?"
                if near
                else "write pipelines: and below it name: {phases: …}"
            )
            if not root.items:
                self._report(
                    MissingKey, f"{self._source.name} is empty: there is no `pipelines`", root, advice
                )
            else:
                self._report(MissingKey, "there is no `pipelines`", root, advice)
            return {}
        place = root.keys["pipelines"]
        node = root.items["pipelines"]
        if _is_null(node) or (node.__class__ is Map and not node.items):
            self._report(MissingKey, "there are no pipelines", place, "write name: {phases: …} below it")
            return {}
        mapping = self._map(node, "`pipelines`", place, "write name: {phases: …}, not a list")
        if mapping is None:
            return {}
        found: dict[str, Pipeline] = {}
        for key, item in mapping.items.items():
            name, where = key if key.__class__ is str else _key_text(key), mapping.keys[key]
            if not name.strip():
                self._report(WrongValue, "a pipeline needs a name", where)
                continue
            if item.__class__ is Map and "matrix" in item.items:
                self._read_matrix(name, item, where, found)
                continue
            if name in found and not found[name].group:
                self._same_name(mapping, name, where)
                continue
            self._keep(found, self._pipeline(name, item, where))
        return self._with_groups(found)

    def _keep(self, found: dict[str, Pipeline], pipeline: Pipeline) -> None:
        other = found.get(pipeline.name)
        if other is None:
            found[pipeline.name] = pipeline
            return
        first = self._sources.position(other.place)
        text = f"two pipelines are called `{pipeline.name}`"
        self._report(
            DuplicateKey,
            text,
            pipeline.place,
            f"the first one is in line {first.line}; give one another name",
        )

    def _read_matrix(self, name: str, mapping: Map, place: int, found: dict[str, Pipeline]) -> None:
        """Reads a pipeline once for each combination of its matrix."""
        node = mapping.items["matrix"]
        try:
            combinations = matrix.combinations(self._look_up.value(node))
        except matrix.Wrong as error:
            if error.text:
                self._report(WrongValue, error.text, node, error.hint)
            return
        for suffix, values in combinations:
            self._look_up.matrix = values
            try:
                pipeline = self._pipeline(f"{name}-{suffix}", mapping, place)
            finally:
                self._look_up.matrix = None
            self._keep(found, replace(pipeline, group=name, matrix=values))

    @staticmethod
    def _with_groups(found: dict[str, Pipeline]) -> dict[str, Pipeline]:
        """The pipelines with ``needs`` on a whole matrix as needs on all its pipelines."""
        groups: dict[str, list[str]] = {}
        for pipeline in found.values():
            if pipeline.group:
                groups.setdefault(pipeline.group, []).append(pipeline.name)
        if not groups:
            return found
        return {
            name: replace(
                pipeline,
                needs=tuple(
                    dict.fromkeys(each for need in pipeline.needs for each in groups.get(need, (need,)))
                ),
            )
            for name, pipeline in found.items()
        }

    def _pipeline(self, name: str, node: Node, place: int) -> Pipeline:
        before = len(self._problems)
        mapping = self._map(node, f"the pipeline `{name}`", place, "write phases: below it")
        if mapping is None:
            return Pipeline(name, None, {}, node, place, broken=True)
        items = mapping.items
        if not items.keys() <= _PIPELINE_KEYS:
            self._unknown(mapping, schema.PIPELINE, "a pipeline", _BELOW_PHASES)
        kind = None
        if "type" in items:
            kind = self._text(mapping, "type")
            if kind is not None and kind not in TYPES:
                self._report(
                    WrongValue,
                    f"`{kind}` is no type of a pipeline",
                    items["type"],
                    hint(kind.strip(), TYPES, "types"),
                )
                kind = None
        needs = self._texts(mapping, "needs") if "needs" in items else ()
        description = self._text(mapping, "description") or "" if "description" in items else ""
        phases: dict[str, Phase] = {}
        if "phases" in items:
            inner = self._map(
                items["phases"], "`phases`", mapping.keys["phases"], "write extract:, load: … below it"
            )
            if inner is not None:
                for phase, item in inner.items.items():
                    if phase in _PHASE_KEYS:
                        phases[phase] = self._phase(phase, item, inner.keys[phase])
                    else:
                        self._unknown(_single(inner, phase), schema.PHASES, "phases")
        else:
            self._report(
                MissingKey,
                f"the pipeline `{name}` has no `phases`",
                place,
                "write phases: with extract and load below it",
            )
        broken = len(self._problems) > before
        return Pipeline(name, kind, phases, node, place, needs, description, broken)

    def _phase(self, name: str, node: Node, place: int) -> Phase:
        before = len(self._problems)
        if name == "transform" and node.__class__ is Scalar and node.value is None:
            return Phase(name, (), place)
        mapping = self._map(node, f"the phase `{name}`", place, "write steps: below it")
        if mapping is None:
            return Phase(name, (), place, broken=True)
        items = mapping.items
        known = _PHASE_KEYS[name]
        if (
            "plugin" in items and "steps" not in items
        ):  # one step without a list, as 1.0.8's documentation writes it
            step, mapping = _parted(mapping, known)
            steps: tuple[Step, ...] = self._steps((step,), name)
            items = mapping.items
            self._unknown(mapping, schema.PHASE[name], f"the phase {name}")
        else:
            if not items.keys() <= known:
                self._unknown(mapping, schema.PHASE[name], f"the phase {name}")
            steps = self._list_of_steps(mapping, "steps", name, place, required=name != "transform")
        if len(items) == 1 and "steps" in items:
            return Phase(name, steps, place, broken=len(self._problems) > before)
        pre = self._list_of_steps(mapping, "pre", "pre", place)
        post = self._list_of_steps(mapping, "post", "post", place)
        merge = None
        if name == "extract" and not _is_null(items.get("merge")):
            inner = self._map(items["merge"], "`merge`", mapping.keys["merge"], "write {plugin: …}")
            if inner is not None:
                merge = next(iter(self._steps((inner,), "merge", mapping.keys["merge"])), None)
        return Phase(name, steps, place, pre, post, merge, len(self._problems) > before)

    def _list_of_steps(
        self, mapping: Map, key: str, phase: str, place: Place, *, required: bool = False
    ) -> tuple[Step, ...]:
        node = mapping.items.get(key)
        if node is None:
            if required:
                self._report(
                    MissingKey,
                    f"the phase `{phase}` has no `steps`",
                    place,
                    "write steps: and below it - plugin: name",
                )
            return ()
        if node.__class__ is not Seq:
            node = self._look_up.expand(node)
        if node.__class__ is Seq:
            items = node.items
            if required and not items:
                self._report(
                    MissingKey,
                    f"the phase `{phase}` has no step",
                    mapping.keys[key],
                    "write - plugin: name below it",
                )
            return self._steps(items, phase)
        if _is_null(node):
            if required:
                self._report(
                    MissingKey,
                    f"the phase `{phase}` has no step",
                    mapping.keys[key],
                    "write - plugin: name below it",
                )
        elif not _is_unresolved(node):
            self._report(
                WrongType,
                f"`{key}` takes a list, and this is {_found(node)}",
                node,
                "begin each step with `- `",
            )
        return ()

    def _steps(self, nodes: Iterable[Node], kind: str, place: Place | None = None) -> tuple[Step, ...]:
        usual = self._policies[kind]
        steps = [step for node in nodes if (step := self._step(node, usual, place)) is not None]
        if len(steps) > 1 and len({step.id for step in steps}) < len(steps):
            taken = {step.id for step in steps if step.named}
            for index, step in enumerate(steps):
                if step.named:
                    continue
                name, number = step.id, 1
                while name in taken:
                    number += 1
                    name = f"{step.id}_{number}"
                taken.add(name)
                steps[index] = replace(step, id=name)
        return tuple(steps)

    def _step(self, node: Node, usual: _Policies, place: Place | None = None) -> Step | None:
        before = len(self._problems)
        if node.__class__ is not Map or node.templated:
            found = self._map(node, "a step", node, "write - plugin: name")
            if found is None:
                return None
            node = found
        mapping: Map = node
        items = mapping.items
        plugin_node = items.get("plugin")
        if plugin_node.__class__ is Scalar and plugin_node.value.__class__ is str and plugin_node.value:
            name: str = plugin_node.value
            plugin: str | None = name
            if items.keys() == _JUST_PLUGIN:
                return Step(
                    name,
                    name,
                    mapping,
                    on_bad_row=usual.on_bad_row,
                    retry=usual.retry,
                    timeout=usual.timeout,
                )
        else:
            plugin = self._required(mapping, "plugin", "a step", place or mapping)
        if not items.keys() <= _STEP_KEYS:
            self._unknown(mapping, schema.STEP, "a step", _beside_args(mapping))
        step_id = self._identifier(mapping)
        args = self._args(mapping) if "args" in items else {}
        description = self._text(mapping, "description") or "" if "description" in items else ""
        chosen = self._text(mapping, "input") if "input" in items else None
        policy = usual.on_bad_row
        if "on_bad_row" in items:
            policy = self._setting(mapping, "on_bad_row", _bad_row, "fail or skip", policy)
        retry = self._read_retry(mapping, usual.retry) if "retry" in items else usual.retry
        timeout = self._read_timeout(mapping, usual.timeout) if "timeout" in items else usual.timeout
        if plugin is None:
            return None
        return Step(
            step_id or plugin,
            plugin,
            mapping,
            args,
            step_id is not None,
            description,
            chosen,
            policy,
            retry,
            timeout,
            len(self._problems) > before or (bool(self._problems) and _holds_unresolved(args)),
        )

    def _identifier(self, mapping: Map) -> str | None:
        items = mapping.items
        key = "id" if "id" in items else "plugin_id"
        if key not in items:
            return None
        if key == "id" and "plugin_id" in items:
            self._report(
                WrongValue,
                "`id` and `plugin_id` are two names of one key",
                mapping.keys["plugin_id"],
                "keep `id`",
            )
        found = self._text(mapping, key)
        if found is not None and (not found.strip() or any(ord(character) < 32 for character in found)):
            self._report(
                WrongValue, "an id needs at least one visible character, and none that are not", items[key]
            )
            return None
        return found

    def _args(self, mapping: Map) -> dict[str, Any]:
        node = mapping.items.get("args")
        if node is None:
            return {}
        value = self._look_up.value(node)
        if value is None:
            return {}
        if not isinstance(value, dict):
            if isinstance(value, SecretReference | SecretText):
                self._report(
                    SecretNotAllowed,
                    "`args` as a whole cannot be a secret",
                    node,
                    "name the arguments, and put the secret into one",
                )
            elif value is not UNRESOLVED:
                self._report(
                    WrongType,
                    f"`args` takes a mapping, and this is {_found(node)}",
                    node,
                    "write name: value below it",
                )
            return {}
        for key in value:
            if not isinstance(key, str):
                where = node.keys[key] if isinstance(node, Map) and key in node.keys else node
                self._report(
                    WrongType,
                    f"the name of an argument is text, and this is {_word(key)}",
                    where,
                    f'write "{_key_text(key)}":',
                )
        return value

    # ------------------------------------------------------------------------------------------- retry and timeout

    def _read_retry(self, mapping: Map, default: Retry) -> Retry:
        node = mapping.items.get("retry")
        if node is None:
            return default
        node = self._look_up.expand(node)
        if not isinstance(node, Map):
            attempts = self._setting(mapping, "retry", _positive, "how many attempts, or a mapping", None)
            return default if attempts is None else replace(default, attempts=attempts)
        if node.templated:
            node = self._look_up.with_keys(node)
        self._unknown(node, schema.RETRY, "retry")
        given: dict[str, Any] = {}
        if "attempts" in node.items:
            given["attempts"] = self._setting(node, "attempts", _positive, "a whole number above 0", None)
        for key in ("wait", "max_wait", "jitter"):
            if key in node.items:
                given[key] = self._setting(node, key, _wait, _DURATIONS, None)
        if "on" in node.items:
            given["on"] = self._texts(node, "on")
        given = {key: value for key, value in given.items() if value is not None}
        if "wait" in given and "max_wait" not in given:
            given["max_wait"] = max(default.max_wait, given["wait"])
        return replace(default, **given)

    def _read_timeout(self, mapping: Map, default: float | None) -> float | None:
        if "timeout" not in mapping.items:
            return default
        seconds: float | None = self._setting(mapping, "timeout", unit.duration, _DURATIONS, None)
        return seconds

    # --------------------------------------------------------------------------------------------------- the values

    def _map(self, node: Node, what: str, place: Place, advice: str = "") -> Map | None:
        """``node`` as a mapping, placeholders in its keys looked up; ``None``, and a problem, where it is none."""
        if node.__class__ is Template:
            node = self._look_up.expand(node)
        if node.__class__ is Map:
            mapping: Map = node
            return self._look_up.with_keys(mapping) if mapping.templated else mapping
        if not _is_unresolved(node):
            where = place if _is_null(node) else node
            found = "nothing stands below it" if _is_null(node) else f"this is {_found(node)}"
            self._report(WrongType, f"{what} is a mapping, and {found}", where, advice)
        return None

    def _optional_map(self, mapping: Map, key: str) -> Map | None:
        node = mapping.items.get(key)
        if node is None or _is_null(node):
            return None
        return self._map(node, f"`{key}`", mapping.keys[key])

    def _value(self, node: Node) -> Any:
        """The value of a scalar that is no secret; text that was looked up is read as a YAML scalar."""
        if isinstance(node, Map | Seq):
            return UNRESOLVED
        value = self._look_up.value(node)
        if isinstance(value, SecretReference | SecretText):
            self._report(
                SecretNotAllowed,
                "a secret cannot stand here: it would show",
                node,
                "use ${{ env.NAME }} or a variable",
            )
            return UNRESOLVED
        return value

    def _text(self, mapping: Map, key: str) -> str | None:
        """Text under ``key``, a number as it is written; ``None`` where it is missing, null or no text."""
        node = mapping.items.get(key)
        if node is None:
            return None
        if node.__class__ is Scalar and node.value.__class__ is str:
            text: str = node.value
            return text
        return self._text_of(node, key)

    def _text_of(self, node: Node, key: str) -> str | None:
        value = self._value(node)
        if isinstance(node, Map | Seq) or isinstance(value, dict | list):
            self._report(WrongType, f"`{key}` takes text, and this is {_found(node, value)}", node)
            return None
        if value is None or value is UNRESOLVED:
            return None
        if isinstance(value, str):
            return value
        if isinstance(value, date):
            return value.isoformat()
        return node.text if node.__class__ is Scalar else str(value)

    def _required(self, mapping: Map, key: str, what: str, place: Place) -> str | None:
        node = mapping.items.get(key)
        if node is None:
            self._report(MissingKey, f"{what} needs `{key}`", place, f"write {key}: and the plugin's name")
            return None
        before = len(self._problems)
        found = self._text_of(node, key)
        if (found is None or not found.strip()) and len(self._problems) == before:
            self._report(
                MissingKey,
                f"{what} needs `{key}`, and nothing stands here",
                mapping.keys[key],
                f"write {key}: and the plugin's name",
            )
            return None
        return found

    def _texts(self, mapping: Map, key: str) -> tuple[str, ...]:
        """One text, or a list of texts, under ``key``."""
        node = mapping.items.get(key)
        if node is None:
            return ()
        if node.__class__ is Template:
            node = self._look_up.expand(node)
        if node.__class__ is Seq:
            found = [self._text_of(item, key) for item in node.items]
            return tuple(dict.fromkeys(item for item in found if item is not None))
        if node.__class__ is Map:
            self._report(WrongType, f"`{key}` takes text or a list of text, and this is a mapping", node)
            return ()
        single = self._text_of(node, key)
        return () if single is None else (single,)

    def _setting(
        self, mapping: Map, key: str, convert: Callable[[Any], T], expected: str, default: Any
    ) -> Any:
        node = mapping.items.get(key)
        if node is None:
            return default
        value = self._value(node)
        if isinstance(node, Map | Seq) or isinstance(value, dict | list):
            self._report(WrongType, f"`{key}` takes {expected}, and this is {_found(node, value)}", node)
            return default
        if node.__class__ is Template and isinstance(value, str):
            value = scalar(value)  # an environment variable is always text
        if value is None or value is UNRESOLVED:
            return default
        try:
            return convert(value)
        except TypeError:
            self._report(WrongType, f"`{key}` takes {expected}, and this is {_word(value)}", node)
        except ValueError:
            self._report(WrongValue, f"`{key}` takes {expected}", node)
        return default


# ------------------------------------------------------------------------------------------------------- small parts

_DURATIONS = "seconds, or a duration such as 500ms, 30s, 1h30m"
_SIZES = "bytes, or a size such as 512MiB or 1GB"
_BELOW_PHASES = {name: f"`{name}` belongs under `phases`" for name in schema.PHASES}
_DECLARED = {
    "text": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "date": "a date",
    "timestamp": "a point in time",
    "list": "a list",
    "map": "a mapping",
}
_SYNONYMS = {
    "string": "text", "str": "text", "int": "integer", "float": "number", "double": "number", "decimal": "number",
    "bool": "boolean", "datetime": "timestamp", "array": "list", "dict": "map", "mapping": "map", "object": "map",
}  # fmt: skip
_EXAMPLES = {"date": "for example 2024-01-31", "timestamp": "for example 2024-01-31T12:00:00Z"}


def _beside_args(mapping: Map) -> dict[str, str]:
    listed = ", ".join(name for name in schema.STEP if name != "plugin_id")
    return {
        key: f"a step has: {listed}; what the plugin takes stands under `args`"
        for key in mapping.items
        if key not in schema.STEP and nearest(str(key), schema.STEP) is None
    }


def _single(mapping: Map, key: Any) -> Map:
    part = Map(mapping.span)
    part.items[key], part.keys[key], part.templated = mapping.items[key], mapping.keys[key], mapping.templated
    return part


def _parted(mapping: Map, phase_keys: frozenset[str]) -> tuple[Map, Map]:
    step, phase = Map(mapping.span), Map(mapping.span)
    for key, node in mapping.items.items():
        part = phase if key in phase_keys else step
        part.items[key], part.keys[key] = node, mapping.keys[key]
    return step, phase


def _is_null(node: Node | None) -> bool:
    return node is None or (node.__class__ is Scalar and node.value is None)


def _is_unresolved(node: Node) -> bool:
    return node.__class__ is Scalar and node.value is UNRESOLVED


def _holds_unresolved(value: Any) -> bool:
    """Whether a placeholder in ``value`` leads to a variable that has no value; that is reported where the variable is."""
    if isinstance(value, dict):
        return any(map(_holds_unresolved, value.values()))
    return any(map(_holds_unresolved, value)) if isinstance(value, list) else value is UNRESOLVED


def _key_text(key: Any) -> str:
    if key is None:
        return "null"
    return str(key).lower() if isinstance(key, bool) else str(key)


def _word(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "null"
    if isinstance(value, str):
        return "text"
    if isinstance(value, bool):
        return "true or false"
    return "a number" if isinstance(value, int | float) else type(value).__name__


def _found(node: Node, value: Any = _MISSING) -> str:
    if isinstance(node, Map):
        return "a mapping"
    if isinstance(node, Seq):
        return "a list"
    return _word(node.value if value is _MISSING else value)  # type: ignore[attr-defined] # the rest are scalars


def _version(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    if value != 1:
        raise ValueError
    return value


def _positive(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    if value < 1:
        raise ValueError
    return value


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _wait(value: Any) -> float:
    return 0.0 if value == 0 and not isinstance(value, bool) else unit.duration(value)


def _bad_row(value: Any) -> str:
    return _one_of(value, ("fail", "skip"))


def _handoff(value: Any) -> str:
    return _one_of(value, ("auto", "stage"))


def _one_of(value: Any, words: tuple[str, ...]) -> str:
    if not isinstance(value, str):
        raise TypeError
    if value not in words:
        raise ValueError
    return value


def _as_declared(value: Any, kind: str, *, parse_text: bool) -> Any:
    """``value`` as the declared type; text is read where ``parse_text`` says so."""
    if kind == "text":
        if isinstance(value, dict | list) or value is None:
            raise TypeError
        return value if isinstance(value, str) else _key_text(value)
    if isinstance(value, str) and parse_text:
        value = _parsed(value, kind)
    fits: dict[str, Callable[[Any], bool]] = {
        "integer": lambda v: isinstance(v, int) and not isinstance(v, bool),
        "number": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
        "boolean": lambda v: isinstance(v, bool),
        "date": lambda v: isinstance(v, date) and not isinstance(v, datetime),
        "timestamp": lambda v: isinstance(v, datetime),
        "list": lambda v: isinstance(v, list),
        "map": lambda v: isinstance(v, dict),
    }
    if not fits[kind](value):
        raise TypeError
    return value


def _parsed(text: str, kind: str) -> Any:
    if kind == "date":
        return unit.day(text)
    if kind == "timestamp":
        return unit.timestamp(text)
    if kind in ("list", "map"):
        return _flow_value(text)
    return scalar(text.strip())


def _flow_value(text: str) -> Any:
    """``[a, b]`` or ``{a: 1}`` as it would stand in the file."""
    tree = parse(Source(text, "--var"), Sources())
    if tree.problems or len(tree.documents) != 1:
        raise ValueError(text)
    return _plain(tree.documents[0])


def _plain(node: Node) -> Any:
    if isinstance(node, Map):
        return {key: _plain(item) for key, item in node.items.items()}
    if isinstance(node, Seq):
        return [_plain(item) for item in node.items]
    return node.value  # type: ignore[attr-defined] # the rest are scalars


def _zone_info(name: str) -> tzinfo | None:
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):  # no such zone; `../x`; `Europe` is a folder of the database
        return None


def _zone_hint(name: str) -> str:
    from zoneinfo import available_timezones

    near = nearest(name, sorted(available_timezones()))
    return f"did you mean `{near}`?" if near else "write an IANA name such as Europe/Warsaw"


@functools.cache
def default_memory_limit() -> int:
    """512 MiB, or a quarter of what the container may use if that is less; bytes."""
    limits = [DEFAULT_MEMORY_LIMIT]
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):  # no such file outside of Linux; "max" is no number
            limits.append(int(Path(file).read_text(encoding="ascii")) // 4)
    return min(limits)
