"""Documents, included files and a profile → one mapping, with every key at the place that it came from.

What may stand in several places: ``variables`` (a nearer one takes the place of a farther one: the profile's before
the file's own, those before the included ones), ``secrets``, ``pipelines`` and ``plugins`` (joined; a name that stands
twice is a problem with both places). Any other key stands once, and a profile replaces it.
"""

from __future__ import annotations

import glob
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_flow.config import schema
from pipeline_flow.config.source import Map, Node, Place, Scalar, Seq, Source, Sources, Template, parse, read
from pipeline_flow.core.suggest import hint
from pipeline_flow.errors import (
    ConfigError,
    DuplicateKey,
    FileUnreadable,
    LimitExceeded,
    Problem,
    UnknownKey,
    UnresolvedReference,
    WrongType,
    WrongValue,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_SEVERAL = ("variables", "secrets", "connections", "pipelines", "plugins")
_INCLUDED = frozenset((*_SEVERAL, "defaults", "include", "version"))
NOT_IN_PROFILE = frozenset(("version", "include", "profiles", "pipelines", "plugins"))
_MOST_FILES = 1000
_MAGIC = frozenset("*?[")


@dataclass(slots=True)
class Assembled:
    """The whole configuration as one mapping.

    ``variables`` are the mappings to read in their order; ``replaced`` holds, by name, the variables that take the place
    of farther ones, and the mapping that each stands in. ``plugins`` are the mappings under ``plugins``, and
    ``profiles`` the names of the profiles that there are. ``complete`` tells that every text was read to its end.
    """

    root: Map = field(default_factory=lambda: Map(0))
    variables: list[Map] = field(default_factory=list)
    replaced: dict[str, tuple[Node, int]] = field(default_factory=dict)
    plugins: list[Map] = field(default_factory=list)
    profiles: tuple[str, ...] = ()
    profile_names: frozenset[str] = frozenset()
    complete: bool = True


def assemble(
    source: Source,
    sources: Sources,
    *,
    profile: str | None,
    text_of: Callable[[Node, str], str | None],
    report: Callable[[Problem], None],
) -> Assembled:
    """Reads ``source`` and what it includes.

    Args:
        source: the file that was named.
        sources: takes every text, for places.
        profile: the name of the profile to lay over it.
        text_of: gives the text of a scalar under a key, its placeholders looked up.
        report: takes each problem.
    """
    return _Assembler(source, sources, text_of, report).assemble(profile)


@dataclass(slots=True)
class _File:
    """One file's documents, and whether it is the file that was named."""

    documents: list[Map]
    own: bool
    seen: dict[Any, int] = field(default_factory=dict)


class _Assembler:
    def __init__(
        self,
        source: Source,
        sources: Sources,
        text_of: Callable[[Node, str], str | None],
        report: Callable[[Problem], None],
    ) -> None:
        self._source = source
        self._sources = sources
        self._text_of = text_of
        self._add = report
        self._found = Assembled()
        self._open: list[Path] = []  # the files that include what is being read
        self._done: dict[Path, None] = {}
        self._files: list[_File] = []

    def _report(self, error: type[ConfigError], text: str, place: Place | None, advice: str = "") -> None:
        self._add(self._sources.problem(error, text, place, hint=advice))

    def assemble(self, profile: str | None) -> Assembled:
        self._read(self._source)
        if (
            not self._found.complete
        ):  # of half a text nothing is said: what is missing may stand in the other half
            return self._found
        root = self._found.root
        farther: list[Map] = []
        own: list[Map] = []
        united: dict[str, list[Map]] = {"secrets": [], "connections": [], "pipelines": []}
        for file in self._files:
            variables = own if file.own else farther
            for document in file.documents:
                if file.own and not root.span:
                    root.span = document.span
                self._take(document, file, {"variables": variables, "plugins": self._found.plugins, **united})
        for key, maps in united.items():
            if maps:
                root.items[key] = self._union(maps, key)
        self._found.variables = [*farther, *own]
        if self._found.variables:
            root.items["variables"] = self._union(self._found.variables, "variables")
        for mapping in own if farther else ():
            self._found.replaced |= {
                str(name): (node, mapping.keys[name]) for name, node in mapping.items.items()
            }
        self._lay_over(profile)
        return self._found

    # ------------------------------------------------------------------------------------------------------- files

    def _read(self, source: Source) -> None:
        tree = parse(source, self._sources)
        for problem in tree.problems:
            self._add(problem)
        self._found.complete = self._found.complete and tree.complete
        documents = []
        for document in tree.documents:
            if isinstance(document, Map):
                documents.append(document)
                self._include(document, source)
                continue
            self._report(
                WrongType,
                f"a configuration is a mapping, and this is {_word(document)}",
                document,
                "begin with `pipelines:`",
            )
        self._files.append(_File(documents, source is self._source))

    def _include(self, document: Map, source: Source) -> None:
        node = document.items.get("include")
        if node is None:
            return
        folder = source.path.parent if source.path is not None else Path()
        for item in node.items if isinstance(node, Seq) else [node]:
            text = None if isinstance(item, Map | Seq) else self._text_of(item, "include")
            if isinstance(item, Map | Seq):
                self._report(
                    WrongType, f"`include` takes a path or a list of paths, and this is {_word(item)}", item
                )
            try:
                for path in () if not text else self._paths(folder, text, item):
                    self._include_file(path, item)
            except (
                OSError,
                ValueError,
                RuntimeError,
            ) as error:  # no path: too long, a null character, ~nobody
                reason = getattr(error, "strerror", None) or error
                self._report(FileUnreadable, f"this is no path that can be read: {reason}", item)

    def _paths(self, folder: Path, text: str, place: Node) -> Iterable[Path]:
        path = folder / Path(text).expanduser()
        if not _MAGIC.intersection(text) or path.exists():
            return (path,)
        found = sorted(Path(match) for match in glob.glob(str(path), recursive=True))  # noqa: PTH207 - takes absolute patterns too
        if not found:
            self._report(
                FileUnreadable,
                f"no file matches `{text}`",
                place,
                f"paths start from the including file's folder, {folder.resolve()}",
            )
        return found

    def _include_file(self, path: Path, place: Node) -> None:
        full = path.resolve()
        if self._source.path is not None and not self._open:
            self._open.append(self._source.path.resolve())
        if full in self._open:
            names = [item.name for item in [*self._open[self._open.index(full) :], full]]
            self._report(WrongValue, f"files include each other in a circle: {' → '.join(names)}", place)
            return
        if full in self._done:  # two files may share a third
            return
        self._done[full] = None
        if len(self._done) > _MOST_FILES:
            self._report(LimitExceeded, f"more than {_MOST_FILES} files are included", place)
            return
        try:
            text = self._source.instead.get(full)
            source = read(path) if text is None else Source(text, str(path), path)
        except ConfigError as error:
            for problem in error.problems:
                self._report(FileUnreadable, problem.text, place, problem.hint)
            return
        self._open.append(full)
        self._read(source)
        self._open.pop()

    # -------------------------------------------------------------------------------------------------------- keys

    def _take(self, document: Map, file: _File, kept: dict[str, list[Map]]) -> None:
        """Puts the keys of ``document`` into the whole."""
        root = self._found.root
        for key, node in document.items.items():
            place = document.keys[key]
            if not file.own and key not in _INCLUDED and not str(key).startswith("x-"):
                self._report(
                    WrongValue,
                    f"`{key}` stands in an included file",
                    place,
                    "an included file holds variables, secrets, pipelines, plugins and defaults; "
                    "the rest stands in the file that is run",
                )
                continue
            once = key not in ("variables", "secrets", "connections", "include")
            if once and key in file.seen and (file.own or not str(key).startswith("x-")):
                self._report_twice(str(key), file.seen[key], place)
                continue
            file.seen.setdefault(key, place)
            if key in kept:
                self._unite(kept[str(key)], node, place, str(key))
            elif key in root.items and key in ("defaults", "version"):
                if key == "defaults":
                    self._report_twice("defaults", root.keys[key], place)
            else:
                root.items.setdefault(key, node)
            root.keys.setdefault(key, place)

    def _unite(self, maps: list[Map], node: Node, place: Place, what: str) -> None:
        if isinstance(node, Map):
            maps.append(node)
        elif what == "pipelines":
            self._found.root.items[what] = node  # its reader says what is wrong with it
        elif not _is_null(node):
            self._report(
                WrongType,
                f"`{what}` takes a mapping, and this is {_word(node)}",
                place,
                f"write {what}: and below it name: value",
            )

    def _union(self, maps: list[Map], what: str) -> Map:
        if len(maps) == 1:
            return maps[0]
        union = Map(maps[0].span)
        for mapping in maps:
            for key, node in mapping.items.items():
                if key in union.items and what == "pipelines":
                    self._report_twice(str(key), union.keys[key], mapping.keys[key], "pipeline")
                    continue
                union.items[key] = node
                union.keys[key] = mapping.keys[key]
            union.templated = union.templated or mapping.templated
        return union

    def _report_twice(self, name: str, first: int, place: int, what: str = "key") -> None:
        before, here = self._sources.position(first), self._sources.position(place)
        where = f"in line {before.line}" if before.file == here.file else f"in {before}"
        advice = (
            "only `variables` and `secrets` may stand in several"
            if what == "key"
            else "give one another name"
        )
        stands = "stands in two documents of this file" if what == "key" else "stands in two places"
        self._report(
            DuplicateKey, f"the {what} `{name}` {stands}", place, f"the first one is {where}; {advice}"
        )

    # ----------------------------------------------------------------------------------------------------- profile

    def _lay_over(self, name: str | None) -> None:
        root = self._found.root
        node = root.items.get("profiles")
        if isinstance(node, Map):
            self._found.profiles = tuple(str(key) for key in node.items)
            self._check_profiles(node)
        elif node is not None and not _is_null(node):
            self._report(WrongType, f"`profiles` takes a mapping, and this is {_word(node)}", node)
        if name is None:
            return
        chosen = node.items.get(name) if isinstance(node, Map) else None
        if chosen is None:
            advice = hint(name, self._found.profiles, "profiles")
            self._add(
                UnresolvedReference.problem(
                    f"--profile {name}: there is no profile of this name", hint=advice
                )
            )
            return
        if not isinstance(chosen, Map):
            return
        for key, item in chosen.items.items():
            if key in NOT_IN_PROFILE or key not in schema.TOP:
                continue
            if key == "variables" and isinstance(item, Map):
                self._found.replaced |= {
                    str(each): (value, item.keys[each]) for each, value in item.items.items()
                }
                self._found.profile_names = frozenset(str(each) for each in item.items)
                self._found.variables.insert(0, self._unknown_before(item))
            elif key in ("secrets", "connections") and isinstance(item, Map):
                there = root.items.get(key)
                maps = [there, item] if isinstance(there, Map) else [item]
                root.items[key] = self._union(maps, str(key))
                root.keys.setdefault(key, chosen.keys[key])
            else:
                root.items[key] = item
                root.keys[key] = chosen.keys[key]

    def _unknown_before(self, profile: Map) -> Map:
        """The profile's variables that take nobody's place: they come first, so that all others may use them."""
        known = {str(name) for mapping in self._found.variables for name in mapping.items}
        new = Map(profile.span)
        for key, node in profile.items.items():
            if str(key) not in known:
                new.items[key], new.keys[key] = node, profile.keys[key]
        new.templated = profile.templated
        return new

    def _check_profiles(self, profiles: Map) -> None:
        known = [key for key in schema.TOP if key not in NOT_IN_PROFILE]
        for name, profile in profiles.items.items():
            if not isinstance(profile, Map):
                if not _is_null(profile):
                    text = f"the profile `{name}` is a mapping, and this is {_word(profile)}"
                    self._report(WrongType, text, profile, "write variables: or another key below it")
                continue
            for key, place in profile.keys.items():
                if key in NOT_IN_PROFILE:
                    text = f"`{key}` cannot stand in a profile"
                    self._report(WrongValue, text, place, f"a profile has: {', '.join(known)}")
                elif key not in known and not str(key).startswith("x-"):
                    self._report(
                        UnknownKey, "unknown key in a profile", place, hint(str(key), known, "a profile has")
                    )


def _is_null(node: Node) -> bool:
    return isinstance(node, Scalar) and node.value is None


def _word(node: Node) -> str:
    if isinstance(node, Map):
        return "a mapping"
    if isinstance(node, Seq):
        return "a list"
    value = getattr(node, "value", None)
    if isinstance(node, Template) or isinstance(value, str):
        return "text"
    if value is None:
        return "null"
    return "true or false" if isinstance(value, bool) else "a number"
