"""The language as JSON Schema (draft 7), with the arguments of the plugins: what editors complete and check with.

Made from the tables of the language and the specs of the plugins. Wherever a value is expected, a text with a
placeholder will do; what only a look at the whole can tell (`needs`, ids, variables) is left to ``validate``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pydantic.json_schema import GenerateJsonSchema

from pipeline_flow.config import schema as language
from pipeline_flow.config.assemble import NOT_IN_PROFILE
from pipeline_flow.core import inventory, spec
from pipeline_flow.plan.build import mode_faults
from pipeline_flow.plan.model import EXTRACT, PHASES, TRANSFORM
from pipeline_flow.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic_core import CoreSchema

    from pipeline_flow.config.schema import Key
    from pipeline_flow.core.inventory import Catalog
    from pipeline_flow.core.spec import Argument, Spec

Schema = dict[str, Any]

_PLACEHOLDER = r"\$\{\{"
_DURATION = r"^\s*([0-9]+(\.[0-9]+)?\s*(ms|s|m|h|d)\s*)+$"
_SIZE = r"^\s*[0-9]+(\.[0-9]+)?\s*([KkMmGgTt][Ii]?)?[Bb]\s*$"
_AS_TEXT = {  # texts that are read as such a value, too
    "integer": r"^\s*[-+]?[0-9]+(\.0*)?\s*$",
    "number": r"^\s*[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?\s*$",
    "boolean": r"^([tT][rR][uU][eE]|[fF][aA][lL][sS][eE]|[yY][eE][sS]|[nN][oO]|[oO][nN]|[oO][fF][fF]|[tTfFyYnN01])$",
}
_TEXT: Schema = {"type": ["string", "number", "boolean", "null"]}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}


def _or_placeholder(*schemas: Schema) -> Schema:
    return {"anyOf": [*schemas, _ref("placeholder")]}


_TEXTS: Schema = _or_placeholder(_TEXT, {"type": "array", "items": _TEXT})
_BY_TYPE: dict[str, Schema] = {
    "1": _or_placeholder({"enum": [1, None]}),
    "text": _TEXT,
    "text or list of text": _TEXTS,
    "list of text": _TEXTS,
    "IANA name": _TEXT,
    "whole number": _or_placeholder({"type": ["integer", "null"], "minimum": 1}),
    "true or false": _or_placeholder({"type": ["boolean", "null"]}),
    "size": _or_placeholder(
        {"type": ["integer", "null"], "minimum": 1}, {"type": "string", "pattern": _SIZE}
    ),
    "duration": _ref("duration"),
    "whole number or mapping": _ref("retry"),
    "any value": {},
    "mapping of lists, or list of mappings": _or_placeholder(
        {"type": "object", "minProperties": 1}, {"type": "array", "items": {"type": "object"}, "minItems": 1}
    ),
}
"""The schema of each type of :class:`~pipeline_flow.config.schema.Key`; mappings and steps are those of their place."""


def of(catalog: Catalog, *, closed: bool) -> Schema:
    """The schema of a configuration.

    Args:
        catalog: the plugins whose arguments are in it.
        closed: whether there are no others; else any name may stand under ``plugin``.
    """
    return _Maker(catalog, closed=closed).make()


class _Maker:
    def __init__(self, catalog: Catalog, *, closed: bool) -> None:
        self._catalog = catalog
        self._closed = closed
        self._definitions: Schema = {
            "placeholder": {"type": "string", "pattern": _PLACEHOLDER},
            "duration": _or_placeholder(
                {"type": ["number", "null"], "exclusiveMinimum": 0}, {"type": "string", "pattern": _DURATION}
            ),
        }

    def make(self) -> Schema:
        """The whole; definitions are made where they are first needed."""
        wait = _or_placeholder(
            {"type": ["number", "null"], "minimum": 0}, {"type": "string", "pattern": _DURATION}
        )
        retry = self._object(language.RETRY, dict.fromkeys(("wait", "max_wait", "jitter"), wait))
        self._definitions["retry"] = _or_placeholder({"type": ["integer", "null"], "minimum": 1}, retry)
        top: dict[str, Schema] = {
            "variables": self._map({"anyOf": [self._object(language.VARIABLE), {}]}, null=True),
            "secrets": self._map(self._step(inventory.SECRET_MANAGER, language.SECRET), null=True),
            "connections": self._map(
                _or_placeholder({"type": "string"}, self._object(language.CONNECTION, required=["url"])),
                null=True,
            ),
            "plugins": self._nullable(
                self._object(language.PLUGINS, {"custom": self._nullable(self._object(language.CUSTOM))})
            ),
            "defaults": self._nullable(
                self._object(
                    language.DEFAULTS,
                    dict.fromkeys(language.DEFAULTS, self._nullable(self._object(language.POLICIES))),
                )
            ),
        }
        settings = {name: key for name, key in language.TOP.items() if name not in NOT_IN_PROFILE}
        profile = self._object(settings, top, more={"^x-": {}})
        top["profiles"] = self._map(self._nullable(profile), null=True)
        top["pipelines"] = {**self._map(self._pipeline()), "minProperties": 1}
        whole = self._object(language.TOP, top)
        del whole["additionalProperties"]  # what is unknown there is only warned about
        return {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "title": "pipeline-flow",
            **whole,
            "definitions": self._definitions,
        }

    # ------------------------------------------------------------------------------------------- the language

    def _object(
        self,
        table: Mapping[str, Key],
        known: Mapping[str, Schema] | None = None,
        *,
        required: Iterable[str] = (),
        more: Schema | None = None,
    ) -> Schema:
        """A mapping with the keys of ``table``; ``known`` are the schemas of those that its types do not tell."""
        properties = {
            name: _told((known or {}).get(name) or _of_type(key.type), key) for name, key in table.items()
        }
        found: Schema = {
            "type": "object",
            "properties": properties,
            "patternProperties": {_PLACEHOLDER: {}, **(more or {})},
            "additionalProperties": False,
        }
        if required:
            found["required"] = list(required)
        return found

    @staticmethod
    def _map(values: Schema, *, null: bool = False) -> Schema:
        """A mapping of names to ``values``; they may come from a placeholder as well."""
        return {
            "type": ["object", "null"] if null else "object",
            "patternProperties": {_PLACEHOLDER: {}},
            "additionalProperties": values,
        }

    @staticmethod
    def _nullable(schema: Schema) -> Schema:
        return {**schema, "type": ["object", "null"]}

    def _pipeline(self) -> Schema:
        phases = self._object(
            language.PHASES, {name: self._phase(name) for name in PHASES}, required=("extract", "load")
        )
        found = self._object(language.PIPELINE, {"phases": phases}, required=["phases"])
        found["allOf"] = [
            _if_type("ETL", {"not": {"required": ["transform_at_load"]}}),
            _if_type("ELT", {"required": ["transform_at_load"], "not": {"required": ["transform"]}}),
            _if_type("ETLT", {"required": ["transform_at_load"]}),
        ]
        self._definitions["pipeline"] = found
        return _ref("pipeline")

    def _phase(self, name: str) -> Schema:
        table = language.PHASE[name]
        step = self._step(name, language.STEP)
        steps: Schema = {"type": "array", "items": step}
        known: dict[str, Schema] = {"steps": _or_placeholder(steps)}
        if name == TRANSFORM:
            steps["type"] = ["array", "null"]
        else:
            steps["minItems"] = 1
        for hook in (inventory.PRE, inventory.POST):
            if hook in table:
                inner = self._step(hook, language.STEP)
                known[hook] = _or_placeholder({"type": ["array", "null"], "items": inner})
        if inventory.MERGE in table:
            merge = self._step(inventory.MERGE, language.STEP)
            known[inventory.MERGE] = {"anyOf": [merge, {"type": "null"}, _ref("placeholder")]}
        whole = self._object(table, known, required=() if name == TRANSFORM else ["steps"])
        # One step without a list, as 1.0.8's documentation writes it.
        others = {key: item for key, item in known.items() if key != "steps"}
        single = {**self._step_of(name, language.STEP, others)}
        self._definitions[f"phase.{name}"] = {
            "type": ["object", "null"] if name == TRANSFORM else "object",
            "if": {"required": ["plugin"], "not": {"required": ["steps"]}},
            "then": single,
            "else": {**whole, "type": ["object", "null"]},
        }
        return _ref(f"phase.{name}")

    # --------------------------------------------------------------------------------------------- the plugins

    def _step(self, kind: str, table: Mapping[str, Key]) -> Schema:
        if f"step.{kind}" not in self._definitions:
            self._definitions[f"step.{kind}"] = {}  # a plugin may stand in the arguments of its own kind
            self._definitions[f"step.{kind}"] = self._step_of(kind, table)
        return _ref(f"step.{kind}")

    def _step_of(
        self, kind: str, table: Mapping[str, Key], beside: Mapping[str, Schema] | None = None
    ) -> Schema:
        known: dict[str, Schema] = {
            "plugin": self._names(kind),
            "args": _or_placeholder({"type": ["object", "null"]}),
        }
        if beside:
            table = {**table, **{name: language.PHASE[EXTRACT][name] for name in beside}}
        found = self._object(table, {**known, **(beside or {})}, required=["plugin"])
        found["not"] = {"required": ["id", "plugin_id"]}
        if by_plugin := self._by_plugin(kind):
            found["allOf"] = by_plugin
        return found

    def _names(self, kind: str) -> Schema:
        names = [name for name in self._catalog.names(kind) if self._spec(kind, name) is not None]
        open_ = {"type": ["string", "number", "boolean"], "not": {"enum": [""]}}
        return _or_placeholder(*([{"enum": names}] if names else []), *(() if self._closed else (open_,)))

    def _by_plugin(self, kind: str) -> list[Schema]:
        """For each plugin, what its arguments must be."""
        found: list[Schema] = []
        for name in self._catalog.names(kind):
            what = self._spec(kind, name)
            if what is None:
                continue
            then: Schema = {"properties": {"args": self._args(kind, name, what)}}
            if what.required:
                then["required"] = ["args"]
            found.append(
                {"if": {"properties": {"plugin": {"const": name}}, "required": ["plugin"]}, "then": then}
            )
        return found

    def _spec(self, kind: str, name: str) -> Spec | None:
        """What the plugin takes, or ``None`` where it cannot be used."""
        try:
            what = spec.of(self._catalog.find(kind, name).cls)
        except Exception:  # noqa: BLE001 - importing it ran somebody's code; `plugins list` tells
            return None
        return None if any(mode_faults(kind, name, what.mode)) else what

    def _args(self, kind: str, name: str, what: Spec) -> Schema:
        key = f"args.{kind}.{name}"
        found: Schema = {
            "type": "object" if what.required else ["object", "null"],
            "description": what.summary,
            "properties": {item.name: self._argument(item, key) for item in what.arguments},
            "patternProperties": {_PLACEHOLDER: {}},
            "additionalProperties": what.accepts_any,
        }
        if what.required:
            found["required"] = [item.name for item in what.arguments if item.required]
        self._definitions[key] = found
        return _or_placeholder(_ref(key))

    def _argument(self, argument: Argument, owner: str) -> Schema:
        found = self._value(argument.annotation, owner)
        told: Schema = {**found}
        if argument.description:
            told["description"] = argument.description
        if not argument.required and _is_plain(argument.default):
            told["default"] = argument.default
        if argument.examples:
            told["examples"] = list(argument.examples)
        return told

    def _value(self, annotation: Any, owner: str) -> Schema:
        members = spec.members(annotation)
        kind = next((kind for member in members if (kind := spec.plugin_kind(member))), None)
        if kind is not None:
            nested = self._nested(kind, spec.supplied_by(annotation))
            rest = [_of_type("any value")] if kind == "plugin" else []
            null = [{"type": "null"}] if type(None) in members else []
            return {"anyOf": [nested, *rest, *null, _ref("placeholder")]}
        if annotation is Any or any(spec.keeps_raw(member) for member in members):
            return {}
        try:
            adapter = spec.adapter_of(annotation)
            found = adapter.json_schema(
                ref_template=f"#/definitions/{owner}.{{model}}", schema_generator=_Generator
            )
        except Exception:  # noqa: BLE001 - what has no schema counts as any
            return {}
        for name, inner in found.pop("$defs", {}).items():
            self._definitions[f"{owner}.{name}"] = _widened(inner)
        widened: Schema = _widened(found)
        return widened

    def _nested(self, kind: str, supplied: tuple[str, ...]) -> Schema:
        """A plugin in the arguments of another one."""
        key = ".".join(("nested", kind, *supplied))
        if key in self._definitions:
            return _ref(key)
        self._definitions[key] = {}
        by_plugin = self._by_plugin(kind)
        if supplied:  # those that the outer plugin fills in are not required, and not allowed
            by_plugin = [self._without(item, supplied) for item in by_plugin]
        self._definitions[key] = {
            "type": "object",
            "properties": {
                "plugin": self._names(kind),
                "args": _or_placeholder({"type": ["object", "null"]}),
            },
            "required": ["plugin"],
            **({"allOf": by_plugin} if by_plugin else {}),
        }
        return _ref(key)

    def _without(self, item: Schema, supplied: tuple[str, ...]) -> Schema:
        reference = item["then"]["properties"]["args"]["anyOf"][0]["$ref"].removeprefix("#/definitions/")
        whole = self._definitions[reference]
        required = [name for name in whole.get("required", ()) if name not in supplied]
        inner = {
            **whole,
            "type": "object" if required else ["object", "null"],
            "properties": {
                name: value for name, value in whole["properties"].items() if name not in supplied
            },
            "required": required,
        }
        then: Schema = {"properties": {"args": _or_placeholder(inner)}}
        return {**item, "then": {**then, "required": ["args"]} if required else then}


# ------------------------------------------------------------------------------------------------------ small parts


def _of_type(words: str) -> Schema:
    """The schema of a type of the language, by its words."""
    if words in _BY_TYPE:
        return _BY_TYPE[words]
    if " | " in words:
        return _or_placeholder({"enum": [*words.split(" | "), None]})
    return {}


def _told(schema: Schema, key: Key) -> Schema:
    """``schema`` with what the key means; beside a reference draft 7 sees nothing else."""
    told = key.meaning + (f"; {key.default} by default" if key.default else "")
    return {"allOf": [schema], "description": told} if "$ref" in schema else {**schema, "description": told}


def _if_type(type_: str, phases: Schema) -> Schema:
    return {
        "if": {"properties": {"type": {"const": type_}}, "required": ["type"]},
        "then": {"properties": {"phases": phases}},
    }


class _Generator(GenerateJsonSchema):
    """Pydantic's own schema, made for what is written in YAML: what only code can tell is allowed."""

    def is_instance_schema(self, schema: Any) -> Schema:
        return {"type": ["string", "number"]} if schema["cls"] is Secret else {}

    def function_before_schema(self, schema: Any) -> Schema:
        return {"anyOf": [super().function_before_schema(schema), {"type": "string"}]}

    def function_wrap_schema(self, schema: Any) -> Schema:
        return {"anyOf": [super().function_wrap_schema(schema), {"type": "string"}]}

    def handle_invalid_for_json_schema(self, schema: CoreSchema, error_info: str) -> Schema:  # noqa: ARG002 - pydantic's
        return {}

    def emit_warning(self, kind: Any, detail: str) -> None:
        """Defaults that no JSON can hold are left out without a word."""


def _widened(schema: Any) -> Any:
    """Pydantic's schema, with a placeholder and what reads as a value of the type allowed wherever one is expected."""
    if isinstance(schema, list):
        return [_widened(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found: Schema = {}
    for key, value in schema.items():
        if key in ("title", "default", "discriminator"):
            continue
        if key in ("properties", "patternProperties"):
            found[key] = {name: _widened(inner) for name, inner in value.items()}
        elif key in ("enum", "const", "examples", "required", "type"):
            found[key] = value
        else:
            found["anyOf" if key == "oneOf" else key] = _widened(value)
    kind = str(found.get("type"))  # a list of types is one of ours
    told = {key: found.pop(key) for key in ("description", "examples") if key in found}
    if kind == "object":
        found["patternProperties"] = {_PLACEHOLDER: {}, **found.get("patternProperties", {})}
    if kind == "string" and not found.keys() & {"enum", "const", "pattern", "format"}:
        return {**found, "type": ["string", "number"], **told}
    if kind in _AS_TEXT:
        text: Schema = {"type": "string", "pattern": f"{_PLACEHOLDER}|{_AS_TEXT[kind]}"}
        return {"anyOf": [_of_number(found), text], **told}
    if kind in ("object", "array") or found.keys() & {"enum", "const", "pattern", "format"}:
        return {"anyOf": [found, _ref("placeholder")], **told}
    return {**found, **told}


def _of_number(found: Schema) -> Schema:
    """Numbers where true and false are meant: 0 and 1."""
    return {"enum": [True, False, 0, 1]} if found.get("type") == "boolean" else found


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    return value is None or (isinstance(value, str | int | float) and re.sub(r"\s", "", str(value)) != "nan")
