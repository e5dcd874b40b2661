"""Everything that can go wrong, as one tree.

::

    PipelineFlowError
    ├── ConfigError                      the configuration or the call is wrong; nothing ran
    │   ├── YamlSyntax, TagNotAllowed, DuplicateKey, LimitExceeded
    │   ├── UnknownKey, MissingKey, WrongType, WrongValue
    │   ├── UnresolvedReference, MalformedReference, SecretNotAllowed
    │   ├── UnknownNeeds, NeedsCycle, DuplicateId, PhasesOfType, UnknownInput, UnknownSelection
    │   ├── TablesNeedMerge, SameTarget, NoSuchColumn, UnreadExtract
    │   ├── UnknownPlugin, AmbiguousPlugin, WrongMode, PluginNotImported, CommunityPluginMissing
    │   ├── UnknownArgument, MissingArgument, WrongArgument
    │   ├── FileUnreadable
    │   └── SecretUnavailable            found when a run starts, before its first step
    ├── RunError                         something failed while a pipeline ran
    │   ├── StepFailed                   where it happened, around what was raised there
    │   ├── StepTimeout
    │   ├── DataError
    │   │   ├── NotTabular, ConversionFailed, StreamConsumed, RowRejected
    │   │   ├── UnknownColumn, QualityGate
    │   │   ├── SourceUnreadable, SourceMalformed
    │   │   └── SpillFull
    │   ├── QueryFailed
    │   ├── OriginRefused
    │   ├── DestinationFailed
    │   │   └── TargetUnwritable
    │   └── RetryableError               may be tried again
    ├── RunFailed                        raised to Python callers; carries the result
    └── InternalError                    a bug of ours

Each class has a stable ``code`` and a docstring that explains it; the page of error codes is made from both. A
mistake in a configuration is a :class:`Problem`: plain data with the code of its class. Many problems travel in one
:class:`ConfigError`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a text: file, line and column, both counted from 1. ``length`` is how many characters to underline."""

    file: str
    line: int
    column: int
    length: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


_SUGGESTION = re.compile(r"(?:.*; )?did you mean `(.+?)`")


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a configuration: its code, where it is, what is wrong, and what to do.

    ``source_line`` is the text of the line, for display; ``position`` is ``None`` where no file is to blame (a
    command line option). ``warning`` marks what is worth saying but stops nothing.
    """

    code: str
    text: str
    position: Position | None = None
    hint: str = ""
    source_line: str = ""
    warning: bool = False

    @property
    def suggestion(self) -> str:
        """The right word that ``hint`` suggests, empty without one."""
        found = _SUGGESTION.match(self.hint)
        return found[1] if found else ""

    def __str__(self) -> str:
        where = f"{self.position}  " if self.position else ""
        return f"{where}{self.code}: {self.text}" + (f" ({self.hint})" if self.hint else "")

    def render(self) -> str:
        """The problem as shown on a terminal: place and code, the line with a caret, the hint."""
        head = f"{self.position}  {self.code}" if self.position else self.code
        if self.position is None or not self.source_line.strip():
            lines = [head, f"  {self.text}"]
        else:
            number = f"{self.position.line:>6}"
            line = self.source_line.expandtabs(1).rstrip()
            start = min(self.position.column - 1, len(line))
            width = max(1, min(self.position.length, len(line) - start))
            lines = [head, f"{number} | {line}", f"{' ' * 6} | {' ' * start}{'^' * width} {self.text}"]
        if self.hint:
            lines.append(self.hint)
        return "\n".join(lines)

    def as_dict(self) -> dict[str, object]:
        """Plain data for ``--json``."""
        return {
            "code": self.code,
            "file": self.position.file if self.position else None,
            "line": self.position.line if self.position else None,
            "column": self.position.column if self.position else None,
            "length": self.position.length if self.position else None,
            "text": self.text,
            "hint": self.hint,
            "suggestion": self.suggestion,
            "warning": self.warning,
        }


def by_place(problem: Problem) -> tuple[bool, str, int, int]:
    """The key that sorts problems by file, line and column; those without a place come last."""
    position = problem.position
    return (True, "", 0, 0) if position is None else (False, position.file, position.line, position.column)


class PipelineFlowError(Exception):
    """The root of all our errors.

    ``hint`` says what to do next; it is shown on a line of its own and is empty where there is nothing to advise.
    """

    code: ClassVar[str] = "error"

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message

    @classmethod
    def problem(
        cls,
        text: str,
        position: Position | None = None,
        *,
        hint: str = "",
        source_line: str = "",
        warning: bool = False,
    ) -> Problem:
        """A :class:`Problem` with the code of this class."""
        return Problem(cls.code, text, position, hint, source_line, warning)


# ---------------------------------------------------------------------------------------------- configuration


class ConfigError(PipelineFlowError):
    """The configuration or the call is wrong; nothing has run.

    ``problems`` holds every mistake that was found, in the order of their places.
    """

    code = "config.invalid"

    def __init__(self, problems: Iterable[Problem] | str = (), *, hint: str = "") -> None:
        if isinstance(problems, str):
            problems = (Problem(type(self).code, problems, hint=hint),)
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("\n\n".join(problem.render() for problem in self.problems), hint="")


class YamlSyntax(ConfigError):
    """The text is not valid YAML. Often an indentation, a missing colon, or an unquoted special character."""

    code = "config.yaml_syntax"


class TagNotAllowed(ConfigError):
    """YAML tags (``!name``) and merge keys (``<<``) are not part of the language: YAML is data here."""

    code = "config.tag_not_allowed"


class DuplicateKey(ConfigError):
    """A key stands twice in one mapping. YAML would silently keep one of the two values."""

    code = "config.duplicate_key"


class LimitExceeded(ConfigError):
    """The file is larger, deeper, or expands to more values through aliases than a configuration may."""

    code = "config.limit"


class UnknownKey(ConfigError):
    """A key that the language does not have at this place."""

    code = "config.unknown_key"


class MissingKey(ConfigError):
    """A key that must be there is not."""

    code = "config.missing_key"


class WrongType(ConfigError):
    """A value of another type than the key takes: text for a number, a mapping for a list, and so on."""

    code = "config.wrong_type"


class WrongValue(ConfigError):
    """A value of the right type that is not allowed here."""

    code = "config.wrong_value"


class UnresolvedReference(ConfigError):
    """A ``${{ … }}`` names something that does not exist: a variable, an environment variable, a secret."""

    code = "config.unresolved"


class MalformedReference(ConfigError):
    """The text between ``${{`` and ``}}`` cannot be read."""

    code = "config.malformed_reference"


class SecretNotAllowed(ConfigError):
    """A secret stands where its value would show or decide what runs: a name, an id, ``plugin`` or ``needs``."""

    code = "config.secret_not_allowed"


class UnknownNeeds(ConfigError):
    """``needs`` names a pipeline that is not there."""

    code = "config.unknown_needs"


class NeedsCycle(ConfigError):
    """Pipelines need each other in a circle, so none of them could start."""

    code = "config.cycle"


class DuplicateId(ConfigError):
    """Two steps of one phase have the same id."""

    code = "config.duplicate_id"


class PhasesOfType(ConfigError):
    """The phases do not fit the pipeline's ``type``.

    ETL has extract, transform (optional) and load; ELT has extract, load and transform_at_load; ETLT has all four,
    transform optional.
    """

    code = "config.phases_of_type"


class UnknownInput(ConfigError):
    """``input`` names no extract step, and no table that one hands on."""

    code = "config.unknown_input"


class UnknownSelection(ConfigError):
    """``--select`` matches no pipeline."""

    code = "config.unknown_selection"


class TablesNeedMerge(ConfigError):
    """Several extract steps without ``merge``, or one that hands on ``tables``, reach a plugin that takes one stream."""

    code = "config.tables_need_merge"


class SameTarget(ConfigError):
    """Two loads of one pipeline write the same file, or both replace the same table."""

    code = "config.same_target"


class NoSuchColumn(ConfigError):
    """A step names a column that cannot be there: the steps before it say themselves which columns leave them.

    Only columns that the configuration alone makes certain are checked, such as those of an explicit select list; nobody
    is asked.
    """

    code = "config.unknown_column"


class UnreadExtract(ConfigError):
    """An extract step whose data no step gets: every load picks another one with ``input``. A warning."""

    code = "config.unread_extract"


class FileUnreadable(ConfigError):
    """A file that the call or the configuration names cannot be read."""

    code = "config.file_unreadable"


class SecretUnavailable(ConfigError):
    """A secret could not be fetched when the run started. No step has run."""

    code = "secret.unavailable"


class UnknownPlugin(ConfigError):
    """No plugin of this kind has this name."""

    code = "plugin.unknown"


class AmbiguousPlugin(ConfigError):
    """Several plugins answer to this name and nothing says which is meant."""

    code = "plugin.ambiguous"


class WrongMode(ConfigError):
    """The plugin is synchronous where its phase needs an asynchronous one, or the other way round."""

    code = "plugin.wrong_mode"


class PluginNotImported(ConfigError):
    """A file of custom plugins, or an installed plugin package, could not be imported."""

    code = "plugin.not_imported"


class CommunityPluginMissing(ConfigError):
    """``plugins.community`` names a plugin that no installed package offers."""

    code = "plugin.not_installed"


class UnknownArgument(ConfigError):
    """``args`` holds an argument that the plugin does not take."""

    code = "plugin.unknown_argument"


class MissingArgument(ConfigError):
    """``args`` lacks an argument that the plugin must be given."""

    code = "plugin.missing_argument"


class WrongArgument(ConfigError):
    """An argument's value does not fit the type that the plugin declares for it."""

    code = "plugin.wrong_argument"


# ---------------------------------------------------------------------------------------------- while running


class RunError(PipelineFlowError):
    """Something failed while a pipeline ran."""

    code = "run.failed"


class StepFailed(RunError):
    """A step raised an error.

    ``pipeline``, ``phase`` and ``step`` say where; ``__cause__`` is what was raised; ``line`` is the line of the
    plugin's own file that raised it (``file.py:12, in __call__``), empty where the error came from our own code.
    """

    code = "step.failed"

    def __init__(
        self, message: str, *, pipeline: str, phase: str, step: str, line: str = "", hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.pipeline = pipeline
        self.phase = phase
        self.step = step
        self.line = line

    @property
    def address(self) -> str:
        """The step's address, ``pipeline.phase.step``."""
        return f"{self.pipeline}.{self.phase}.{self.step}"


class StepTimeout(RunError):
    """A step took longer than its ``timeout``."""

    code = "step.timeout"


class DataError(RunError):
    """The data is not what a step can take."""

    code = "data.invalid"


class NotTabular(DataError):
    """A value reached a step that takes rows and columns, and it has none."""

    code = "data.not_tabular"


class ConversionFailed(DataError):
    """A value could not be turned into the type that a plugin asks for, or a column's values into one type."""

    code = "data.conversion"


class StreamConsumed(DataError):
    """A stream of batches can be read once; something read it a second time."""

    code = "data.stream_consumed"


class RowRejected(DataError):
    """A step rejected a row and ``on_bad_row`` is ``fail``."""

    code = "data.row_rejected"


class UnknownColumn(DataError):
    """A step names a column that its data does not have, or has several times but for upper and lower case."""

    code = "data.unknown_column"


class QualityGate(DataError):
    """Data did not pass the checks of a `validate` step; nothing was loaded.

    The message names every check that failed, how many rows failed it, and some of them.
    """

    code = "data.quality"


class SourceUnreadable(DataError):
    """A source cannot be opened: it does not exist, or may not be read."""

    code = "data.source_unreadable"


class SourceMalformed(DataError):
    """A source was opened and is not what it says: broken CSV, a file that is no Parquet, a corrupt database."""

    code = "data.source_malformed"


class SpillFull(DataError):
    """The space for data that waits on disk is used up: the limit is reached, or the disk is full."""

    code = "data.spill_full"


class QueryFailed(RunError):
    """A database refused a query."""

    code = "sql.query_failed"


class OriginRefused(RunError):
    """A server's next-page link or redirect leads to an origin that the step does not name, or from https to http.

    Credentials belong to the origin (scheme, host, port) of `base_url`. Another origin is asked only where
    `allow_origins` lists it, and then without them.
    """

    code = "http.origin_refused"


class DestinationFailed(RunError):
    """A load could not be staged or committed. The destination is as it was before the run."""

    code = "load.failed"


class TargetUnwritable(DestinationFailed):
    """A load's target cannot be written: no permission, no such folder, no space."""

    code = "load.unwritable"


class RetryableError(RunError):
    """What a plugin raises when trying again may help.

    ``retry_after`` is how many seconds to wait first, where the plugin knows it (an HTTP ``Retry-After``).
    """

    code = "step.retryable"

    def __init__(self, message: str = "", *, retry_after: float | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class RunFailed(ExceptionGroup[Exception]):
    """At least one pipeline failed. Raised to Python callers; ``result`` is what happened to each pipeline."""

    code = "run.pipelines_failed"
    result: object

    def __new__(cls, message: str, errors: Sequence[Exception], result: object = None) -> Self:
        """A group of the pipelines' errors."""
        self = super().__new__(cls, message, errors)
        self.result = result
        return self

    def __init__(self, message: str, errors: Sequence[Exception], result: object = None) -> None:  # noqa: ARG002 - taken by __new__
        super().__init__(message, errors)

    def derive(self, excs: Sequence[Exception]) -> RunFailed:  # type: ignore[override] # it holds nothing else
        """Keeps the result when ``except*`` splits the group."""
        return RunFailed(self.message, excs, self.result)


class InternalError(PipelineFlowError):
    """Something happened that must not happen. It is a bug in pipeline-flow: please report it with the traceback."""

    code = "internal.bug"


def tree(root: type[PipelineFlowError] = PipelineFlowError) -> Iterator[type[PipelineFlowError]]:
    """Every class of the tree, parents first, in the order of the source."""
    yield root
    for child in root.__subclasses__():
        yield from tree(child)
