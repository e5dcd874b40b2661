"""What a configuration says, as frozen values: the result of :func:`pipeline_flow.config.load`.

Hand-written classes and not pydantic: a thousand pipelines are read in a tenth of a second, and each value keeps its
node and so its place. Defaults are filled in; nothing here knows a plugin.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline_flow.config.source import Map, Node, Place, Seq, Sources
from pipeline_flow.constructor import quick
from pipeline_flow.secret import blot_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline_flow.errors import ConfigError, Position, Problem

DEFAULT_CONCURRENCY = 2
DEFAULT_PARALLELISM = 32
DEFAULT_MEMORY_LIMIT = 512 * 1024 * 1024


@quick
@dataclass(frozen=True, slots=True)
class Retry:
    """How often and when a step is tried again.

    ``attempts`` counts the first one too. Waits are seconds: ``wait`` before the second attempt, doubled each time up
    to ``max_wait``, plus up to ``jitter`` at random. ``on`` names the errors that may be tried again besides
    retryable ones: class names (``ConnectionError``, ``requests.Timeout``), ``timeout``, or ``all``.
    """

    attempts: int = 1
    wait: float = 1.0
    max_wait: float = 30.0
    jitter: float = 1.0
    on: tuple[str, ...] = ()


NO_RETRY = Retry()


@quick
@dataclass(frozen=True, slots=True)
class Step:
    """One plugin call as the configuration says it, with the top level's defaults filled in.

    ``id`` is the plugin's name, or ``name_2`` … where that is taken, unless the configuration gives one
    (``named``). ``broken`` tells that a problem in it has been reported, so that nothing more is said about its
    arguments.
    """

    id: str
    plugin: str
    node: Map = field(repr=False, compare=False)
    args: dict[str, Any] = field(default_factory=dict, repr=False)
    named: bool = False
    description: str = ""
    input: str | None = None
    on_bad_row: str = "fail"
    retry: Retry = NO_RETRY
    timeout: float | None = None
    broken: bool = False


@quick
@dataclass(frozen=True, slots=True)
class Phase:
    """The steps of a phase and what runs around them; ``place`` is where its key stands."""

    name: str
    steps: tuple[Step, ...]
    place: int = field(repr=False, compare=False)
    pre: tuple[Step, ...] = ()
    post: tuple[Step, ...] = ()
    merge: Step | None = None
    broken: bool = False


@quick
@dataclass(frozen=True, slots=True)
class Pipeline:
    """A pipeline; ``type`` is ``None`` where it shall follow from the phases. ``place`` is where its name stands.

    ``group`` is the name under which the pipeline stands with a ``matrix``, and ``matrix`` its combination.

    ``broken`` tells that a problem of shape has been reported in it: what is not there may only be unreadable.
    """

    name: str
    type: str | None
    phases: dict[str, Phase]
    node: Node = field(repr=False, compare=False)
    place: int = field(repr=False, compare=False)
    needs: tuple[str, ...] = ()
    description: str = ""
    broken: bool = False
    group: str = ""
    matrix: dict[str, Any] = field(default_factory=dict)


@quick
@dataclass(frozen=True, slots=True)
class SecretManager:
    """Where a secret comes from."""

    name: str
    plugin: str
    node: Map = field(repr=False, compare=False)
    args: dict[str, Any] = field(default_factory=dict, repr=False)
    id: str = ""
    broken: bool = False


@quick
@dataclass(frozen=True, slots=True)
class Origin:
    """Where the value of a variable comes from: ``how`` in words, the place of its name, and what stands there.

    ``node`` is ``None`` where the value was given with the call.
    """

    how: str
    place: int
    node: Node | None = None


@quick
@dataclass(frozen=True, slots=True)
class Plugins:
    """Where plugins come from besides this distribution, as :func:`pipeline_flow.core.discovery.catalog` takes it."""

    files: tuple[str, ...] = ()
    dirs: tuple[str, ...] = ()
    community: tuple[str, ...] = ()


@quick
@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration.

    ``connections`` are URLs by name, or the reference to the secret that holds one.
    ``memory_limit`` and ``spill_limit`` are bytes, ``timeout`` is seconds. ``problems`` is empty unless the caller
    asked for what could be read of a broken configuration; ``warnings`` stop nothing. ``confidential`` are the values of
    variables and of environment variables whose names say that they are secret.
    """

    name: str
    pipelines: dict[str, Pipeline]
    version: int = 1
    variables: dict[str, Any] = field(default_factory=dict, repr=False)
    secrets: dict[str, SecretManager] = field(default_factory=dict)
    connections: dict[str, Any] = field(default_factory=dict)
    plugins: Plugins = Plugins()
    concurrency: int = DEFAULT_CONCURRENCY
    parallelism: int = DEFAULT_PARALLELISM
    fail_fast: bool = False
    handoff: str = "auto"
    memory_limit: int = DEFAULT_MEMORY_LIMIT
    spill_limit: int | None = None
    timezone: str = "UTC"
    retry: Retry = NO_RETRY
    timeout: float | None = None
    profile: str | None = None
    origins: dict[str, Origin] = field(default_factory=dict, repr=False, compare=False)
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    confidential: tuple[str, ...] = field(default=(), repr=False, compare=False)
    root: Map | None = field(default=None, repr=False, compare=False)
    sources: Sources = field(default_factory=Sources, repr=False, compare=False)

    def position(self, path: Sequence[str | int], *, key: bool = False) -> Position | None:
        """Where the value at ``path`` stands, such as ``("pipelines", "orders", "needs", 0)``.

        Where the text ends before the path does (a placeholder gave the rest), the nearest place above it. With
        ``key`` the place of the last key instead of its value. ``None`` for a configuration without a text.
        """
        if self.root is None:
            return None
        return self.sources.position(place(self.root, path, key=key))

    def source_line(self, position: Position) -> str:
        """The line that ``position`` points into; what is secret by nature is masked in it."""
        return blot_line(self.sources.line(position))

    def problem(
        self,
        error: type[ConfigError],
        text: str,
        where: Place | None,
        *,
        hint: str = "",
        warning: bool = False,
    ) -> Problem:
        """A problem at a node or key of this configuration, with the code of ``error``."""
        return self.sources.problem(error, text, where, hint=hint, warning=warning)


def place(node: Node, path: Sequence[str | int], *, key: bool = False) -> Place:
    """The place at the end of ``path`` below ``node``; the nearest above it where the tree ends before."""
    found: Place = node
    current: Node | None = node
    for depth, segment in enumerate(path):
        if isinstance(current, Map):
            inner = current.items.get(segment)
            if inner is None:
                break
            last = depth == len(path) - 1
            found = current.keys[segment] if (key and last) else inner
        elif isinstance(current, Seq) and isinstance(segment, int) and 0 <= segment < len(current.items):
            found = inner = current.items[segment]
        else:
            break
        current = inner
    return found
