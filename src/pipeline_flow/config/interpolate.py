"""``${{ … }}``: values that a configuration looks up.

========================== =========================================================================================
``env.NAME``               an environment variable, text; set to nothing is set
``variables.name``         a variable; ``variables.db.host`` and ``variables.hosts.0`` lead into maps and lists
``secrets.name``           a :class:`~pipeline_flow.secret.SecretReference`; ``secrets.name.key`` for a secret that is a mapping
``run.id``, ``run.key``    the run's id, and what it is a run for
``run.started_at``         when it started, in the configuration's time zone: text in ISO 8601
``run.date``               that day, text: ``2024-06-01``
``connections.name``       the URL of a connection
``matrix.name``            inside a pipeline with a ``matrix``: the value of this combination
========================== =========================================================================================

Behind ``||`` stands what is taken where the name before it is not there, or is null: another name, a number, true, false,
or text in quotes: ``${{ env.REGION || variables.region || 'eu' }}``.

A placeholder that is the whole string keeps the type of what it names; among other text it becomes text, written as
1.0.8 writes it (``str``); dates and times of declared variables in ISO 8601. What was looked up is text like any other: a ``${{`` in it is
never looked at. ``$${{`` stands for ``${{`` itself.
"""

from __future__ import annotations

import copy
import functools
import re
from dataclasses import dataclass, replace
from datetime import date, datetime, tzinfo
from typing import TYPE_CHECKING, Any, Protocol

from pipeline_flow.config.source import Map, Node, Place, Scalar, Sources, Template, graft, scalar, span
from pipeline_flow.core.suggest import hint, nearest
from pipeline_flow.errors import (
    ConfigError,
    DuplicateKey,
    MalformedReference,
    Problem,
    SecretNotAllowed,
    UnresolvedReference,
    WrongType,
)
from pipeline_flow.secret import SecretReference, SecretText, confidential, holds_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROOTS = ("env", "variables", "secrets", "connections", "matrix", "run")
RUN_NAMES = ("id", "key", "started_at", "date")

_OPENING = re.compile(r"\$?\$\{\{")


class _Unresolved:
    """Stands where a placeholder could not be looked up; the problem has been reported."""

    def __repr__(self) -> str:
        return "unresolved"

    def __deepcopy__(self, memo: object) -> _Unresolved:
        return self


UNRESOLVED: Any = _Unresolved()


class Run(Protocol):
    """What ``${{ run.… }}`` reads; :class:`pipeline_flow.core.context.Run` is one."""

    @property
    def id(self) -> str:
        """The run's id."""

    @property
    def key(self) -> str | None:
        """What the run is for, if anything."""

    @property
    def started_at(self) -> datetime:
        """When it started, with a time zone."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A value that stands in a placeholder, behind ``||``."""

    value: Any


@dataclass(frozen=True, slots=True)
class Reference:
    """One placeholder: its root (``variables``), the rest as written (``db.host``), and which ``${{`` of its text it is.

    ``otherwise`` is what stands behind its ``||``, if anything.
    """

    root: str
    name: str
    ordinal: int
    length: int
    otherwise: Reference | Literal | None = None

    def __str__(self) -> str:
        return f"{self.root}.{self.name}"


@dataclass(frozen=True, slots=True)
class Malformed:
    """A ``${{`` that cannot be read, and why."""

    reason: str
    hint: str
    ordinal: int
    length: int


@functools.lru_cache(maxsize=4096)
def split(text: str) -> tuple[str | Reference | Malformed, ...]:
    """The literal parts and the placeholders of ``text``, in order."""
    parts: list[str | Reference | Malformed] = []
    literal, at = "", 0
    for ordinal, opening in enumerate(_OPENING.finditer(text)):
        if opening.start() < at:  # inside the placeholder before it, which is malformed then
            continue
        literal += text[at : opening.start()]
        if opening.group().startswith("$$"):
            literal += "${{"
            at = opening.end()
            continue
        if literal:
            parts.append(literal)
            literal = ""
        closing = text.find("}}", opening.end())
        inner = text[opening.end() : closing if closing >= 0 else len(text)]
        if closing < 0 or "${{" in inner:
            parts.append(
                Malformed("`${{` without its `}}`", "close it, or write $${{ for the text itself", ordinal, 3)
            )
            at = opening.end()
            continue
        at = closing + 2
        parts.append(_reference(inner, ordinal, at - opening.start()))
    literal += text[at:]
    if literal or not parts:
        parts.append(literal)
    return tuple(parts)


def _reference(inner: str, ordinal: int, length: int) -> Reference | Malformed:
    if not inner.strip():
        return Malformed("an empty placeholder", "write ${{ variables.name }}", ordinal, length)
    found: Reference | Literal | None = None
    first, *others = _alternatives(inner)
    for expression in (*reversed(others), first):
        text = expression.strip()
        if expression is not first and _is_bare_word(text):
            return Malformed(
                f"`{_short(text)}` behind `||` is no name and no value",
                f"text stands in quotes there: '{_short(text)}'",
                ordinal,
                length,
            )
        read = _operand(text, ordinal, length, found)
        if isinstance(read, Malformed):
            return read
        found = read
    if isinstance(found, Reference):
        return found
    if not others:
        return Malformed(
            f"`{_short(inner)}` is not root.name", "write ${{ variables.name }}", ordinal, length
        )
    return Malformed(
        f"`{_short(inner)}` begins with a value",
        "a name comes first: ${{ env.NAME || 'value' }}",
        ordinal,
        length,
    )


def _is_bare_word(text: str) -> bool:
    return re.fullmatch(r"[\w-]+", text) is not None and isinstance(scalar(text), str) and text not in ROOTS


def _alternatives(inner: str) -> list[str]:
    """What ``||`` separates; inside quotes it separates nothing."""
    if "||" not in inner:
        return [inner]
    parts, quote, start, index = [], "", 0, 0
    while index < len(inner):
        character = inner[index]
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif inner.startswith("||", index):
            parts.append(inner[start:index])
            start = index = index + 2
            continue
        index += 1
    return [*parts, inner[start:]]


_QUOTED = re.compile(r"'(?P<single>(?:[^']|'')*)'|\"(?P<double>[^\"\\\\]*)\"")


def _operand(
    expression: str, ordinal: int, length: int, otherwise: Reference | Literal | None
) -> Reference | Literal | Malformed:
    if not expression:
        return Malformed("nothing stands behind `||`", "write a value, or '' for empty text", ordinal, length)
    quoted = _QUOTED.fullmatch(expression)
    if quoted is not None:
        single = quoted["single"]
        return Literal(quoted["double"] if single is None else single.replace("''", "'"))
    root, dot, name = expression.partition(".")
    value = scalar(expression)
    if not isinstance(value, str):
        return Literal(value)
    if re.search(r"[{}\n]", expression) or not re.fullmatch(r"[A-Za-z_][\w-]*", root):
        return Malformed(
            f"`{_short(expression)}` is not root.name", "write ${{ variables.name }}", ordinal, length
        )
    if root in ROOTS and (not dot or not name.strip()):
        return Malformed(f"`{root}` alone names nothing", f"write ${{{{ {root}.name }}}}", ordinal, length)
    return Reference(root, name, ordinal, length, otherwise)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 40 else f"{text[:39]}…"


class Interpolator:
    """Looks placeholders up and reports the ones that name nothing.

    Args:
        environ: the environment.
        run: the run, ``None`` where the configuration is only checked: its id and key are placeholders then.
        started_at: when the run started, or now, with a time zone.
        zone: gives the configuration's time zone when it is first needed.
        sources: the texts, for places.
        report: takes each problem.

    ``variables``, ``secrets`` and ``connections`` grow while the configuration is read; ``matrix`` is the combination of the pipeline that
    is being read, ``None`` outside of such a pipeline.
    """

    def __init__(
        self,
        *,
        environ: Mapping[str, str],
        run: Run | None,
        started_at: datetime,
        zone: Callable[[], tzinfo],
        sources: Sources,
        report: Callable[[Problem], None],
    ) -> None:
        self.variables: dict[str, Any] = {}
        self.secrets: dict[str, Any] = {}
        self.connections: dict[str, Any] = {}
        self.matrix: dict[str, Any] | None = None
        self.confidential: list[str] = []  # what was found in environment variables named like secrets
        self._environ = environ
        self._run = run
        self._started_at = started_at
        self._zone = zone
        self._sources = sources
        self._report = report

    # ---------------------------------------------------------------------------------------------- of the tree

    def value(self, node: Node) -> Any:
        """The plain data of ``node``: maps, lists, scalars, references to secrets. A fresh copy at each call."""
        kind = node.__class__
        if kind is Scalar:
            return node.value  # type: ignore[attr-defined]
        if kind is Template:
            return self.template(node)  # type: ignore[arg-type]
        if kind is Map:
            mapping: Map = node  # type: ignore[assignment]
            if mapping.templated:
                mapping = self.with_keys(mapping)
            return {key: self.value(item) for key, item in mapping.items.items()}
        return [self.value(item) for item in node.items]  # type: ignore[attr-defined]

    def expand(self, node: Node) -> Node:
        """``node``, or for a placeholder the tree of what it names."""
        if node.__class__ is not Template:
            return node
        return graft(self.template(node), node.span)

    def with_keys(self, mapping: Map) -> Map:
        """``mapping`` with the placeholders in its keys looked up."""
        result = Map(mapping.span)
        for key, item in mapping.items.items():
            place = mapping.keys[key]
            resolved = self._key(key, place)
            if resolved is UNRESOLVED:
                continue
            if resolved in result.items:
                first = self._sources.position(result.keys[resolved])
                self._problem(
                    DuplicateKey,
                    f"the key `{resolved}` stands twice in this mapping",
                    place,
                    f"the first one is in line {first.line}, column {first.column}; keep one of them",
                )
                continue
            result.items[resolved] = item
            result.keys[resolved] = place
        return result

    def _key(self, key: Any, place: int) -> Any:
        if not isinstance(key, str) or "${{" not in key:
            return key
        found = self.template(Template(key, key, place))
        if holds_secret(found):
            self._problem(SecretNotAllowed, "a key cannot hold a secret: keys show in messages", place)
            return UNRESOLVED
        if isinstance(found, dict | list):
            self._problem(
                WrongType, "a key must be text, and the placeholder names a list or a mapping", place
            )
            return UNRESOLVED
        return found

    def template(self, node: Template) -> Any:
        """What the text of ``node`` becomes; ``UNRESOLVED``, and problems reported, where it cannot."""
        parts = split(node.text)
        if len(parts) == 1:
            part = parts[0]
            return part if isinstance(part, str) else self._look_up(part, node)
        pieces: list[str | SecretReference] = []
        complete = True
        for part in parts:
            found = part if isinstance(part, str) else self._look_up(part, node)
            if found is UNRESOLVED:
                complete = False
            elif isinstance(found, str | SecretReference):
                pieces.append(found)
            elif isinstance(found, SecretText):
                pieces.extend(found.parts)
            elif found is None or holds_secret(found):
                what = "null" if found is None else "a list or mapping that holds a secret"
                self._problem(
                    WrongType, f"`{part}` is {what} and cannot stand inside text", self._place(part, node)
                )
                complete = False
            else:
                pieces.append(found.isoformat() if isinstance(found, date) else str(found))
        if not complete:
            return UNRESOLVED
        if any(isinstance(piece, SecretReference) for piece in pieces):
            return SecretText(tuple(pieces))
        return "".join(pieces)  # type: ignore[arg-type] # no reference among them

    # -------------------------------------------------------------------------------------------- one placeholder

    def _look_up(self, part: Reference | Malformed, node: Template) -> Any:
        if isinstance(part, Malformed):
            self._problem(MalformedReference, part.reason, self._place(part, node), part.hint)
            return UNRESOLVED
        return self._found(part, node)

    def _found(self, part: Reference, node: Template) -> Any:
        if part.otherwise is not None:
            found = self._tried(part, node)
            if found is not None and found is not UNRESOLVED:
                return found
            other = part.otherwise
            return other.value if isinstance(other, Literal) else self._found(other, node)
        finder = {
            "variables": self._variable,
            "env": self._env,
            "secrets": self._secret,
            "connections": self._connection,
            "matrix": self._of_matrix,
            "run": self._of_run,
        }.get(part.root)
        if finder is not None:
            return finder(part, node)
        return self._unresolved(
            part,
            node,
            f"`{part.root}` is nothing that a placeholder can name",
            hint(part.root, ROOTS, "there are") + "; write $${{ for the text itself",
        )

    def _tried(self, part: Reference, node: Template) -> Any:
        """What ``part`` names, and no problem where it names nothing: something stands behind its ``||``.

        An unknown root is no missing value but a mistake.
        """
        report, self._report = self._report, lambda _: None
        try:
            found = self._found(replace(part, otherwise=None), node)
        finally:
            self._report = report
        if found is UNRESOLVED and part.root not in ROOTS:
            self._found(replace(part, otherwise=None), node)
        return found

    def _connection(self, part: Reference, node: Template) -> Any:
        if part.name in self.connections:
            return self.connections[part.name]
        text = f"there is no connection `{part.name}` under `connections`"
        return self._unresolved(part, node, text, hint(part.name, self.connections, "connections"))

    def _of_matrix(self, part: Reference, node: Template) -> Any:
        if self.matrix is None:
            return self._unresolved(
                part, node, "there is no matrix here", "`matrix` stands in a pipeline, and is known inside it"
            )
        return self._walked(part, node, self.matrix, "the matrix has no", "the matrix has")

    def _variable(self, part: Reference, node: Template) -> Any:
        return self._walked(
            part, node, self.variables, "there is no variable", "variables defined before this"
        )

    def _walked(
        self, part: Reference, node: Template, names: dict[str, Any], none: str, known_as: str
    ) -> Any:
        """The value under a name, or at the end of a path below it; a copy."""
        if part.name in names:
            return copy.deepcopy(names[part.name])
        name, *path = part.name.split(".")
        if name not in names:
            return self._unresolved(part, node, f"{none} `{name}`", hint(name, names, known_as))
        value, walked = names[name], name
        for segment in path:
            if value is UNRESOLVED:
                return UNRESOLVED
            try:
                value = _step_into(value, segment)
            except LookupError:
                known = [str(key) for key in value] if isinstance(value, dict) else []
                what = (
                    f"a list of {len(value)}"
                    if isinstance(value, list)
                    else "a mapping"
                    if known
                    else _kind(value)
                )
                advice = hint(segment, known, f"`{walked}` has") if known else ""
                return self._unresolved(part, node, f"`{walked}` is {what} and has no `{segment}`", advice)
            walked = f"{walked}.{segment}"
        return copy.deepcopy(value)

    def _env(self, part: Reference, node: Template) -> Any:
        try:
            found = self._environ.get(part.name)
        except ValueError:  # a name that no environment can have
            found = None
        if found is not None:
            self.confidential += confidential({part.name: found})
            return found
        near = nearest(part.name, self._environ)
        advice = f"did you mean `{near}`?" if near else f"set it before the run: export {part.name}=…"
        return self._unresolved(part, node, f"the environment variable `{part.name}` is not set", advice)

    def _secret(self, part: Reference, node: Template) -> Any:
        name, _, key = part.name.partition(".")
        if name not in self.secrets:
            return self._unresolved(
                part,
                node,
                f"there is no secret `{name}` under `secrets`",
                hint(name, self.secrets, "secrets"),
            )
        return SecretReference(name, key or None, str(self._sources.position(self._place(part, node))))

    def _of_run(self, part: Reference, node: Template) -> Any:
        if part.name == "date":
            return self._started_at.astimezone(self._zone()).date().isoformat()
        if part.name == "started_at":
            return self._started_at.astimezone(self._zone()).isoformat(timespec="seconds")
        if part.name == "id":
            return self._run.id if self._run is not None else "<run.id>"
        if part.name == "key":
            key = self._run.key if self._run is not None else "<run.key>"
            return (
                key
                if key is not None
                else self._unresolved(part, node, "this run has no key", "start the run with a key")
            )
        return self._unresolved(
            part, node, f"a run has no `{part.name}`", hint(part.name, RUN_NAMES, "a run has")
        )

    # --------------------------------------------------------------------------------------------------- problems

    def _unresolved(self, part: Reference, node: Template, text: str, advice: str = "") -> Any:
        self._problem(UnresolvedReference, text, self._place(part, node), advice)
        return UNRESOLVED

    def _problem(self, error: type[ConfigError], text: str, place: Place, advice: str = "") -> None:
        self._report(self._sources.problem(error, text, place, hint=advice))

    def _place(self, part: Any, node: Template) -> Place:
        """Where the placeholder stands inside its string; the whole string where escapes hide it."""
        openings = list(_OPENING.finditer(self._sources.raw(node)))
        if len(openings) != len(_OPENING.findall(node.text)):
            return node
        start = (node.span >> 32) + openings[part.ordinal].start()
        return span(start, start + part.length)


def _step_into(value: Any, segment: str) -> Any:
    """One step of a path: a key of a map (also one that is a number), or an index of a list."""
    if isinstance(value, dict):
        if segment in value:
            return value[segment]
        if re.fullmatch(r"-?[0-9]{1,18}", segment):
            return value[int(segment)]
        raise LookupError(segment)
    if isinstance(value, list) and re.fullmatch(r"[0-9]{1,18}", segment):
        return value[int(segment)]
    raise LookupError(segment)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    words = {str: "text", int: "a number", float: "a number", type(None): "null", dict: "an empty mapping"}
    return words.get(type(value), type(value).__name__)
