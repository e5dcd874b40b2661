"""Mistakes that have one right answer, mended in a file and in those that it includes: ``validate --fix``."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_flow import entrypoint
from pipeline_flow.config import fix
from pipeline_flow.config.source import encoded, read
from pipeline_flow.errors import ConfigError, TargetUnwritable
from pipeline_flow.files.local import reason
from pipeline_flow.files.replace import Replacement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pipeline_flow.config.fix import Fix
    from pipeline_flow.config.source import Source
    from pipeline_flow.errors import Problem

_ROUNDS = 10  # a mended word may show the mistakes below it
_ONE_BY_ONE = 50  # fixes that are tried alone, where all together do not help


@dataclass(slots=True)
class _State:
    """Texts by the name that problems call their file by, what was done to them, and what is still wrong."""

    texts: dict[str, str]
    done: list[Fix] = field(default_factory=list)
    problems: tuple[Problem, ...] = ()

    @property
    def wrong(self) -> int:
        return sum(not problem.warning for problem in self.problems)


class Fixing:
    """Looks for what can be mended, and writes it.

    Only what leaves fewer problems than before is kept. Warnings are no problems: a key of the top level that nothing
    reads may be somebody's own, and is mended only where that solves a problem.

    Args:
        file: the file that is checked.
        options: how it is checked; what :func:`pipeline_flow.entrypoint.prepare` takes.
    """

    def __init__(self, file: Path, **options: Any) -> None:
        self._source = read(str(file))
        self._options = options

    def run(self) -> list[Fix]:
        """What was mended and written, in the order in which it was found.

        Raises:
            TargetUnwritable: a file cannot be written; those before it are.
        """
        kept = self._checked(_State({self._source.name: self._source.text}))
        found = self._further(kept, lambda problem: not problem.warning)
        if found is kept:
            for single in self._fixes(kept, kept.problems)[:_ONE_BY_ONE]:
                found = self._better(found, self._applied(found, [single]))
        for problem in [item for item in found.problems if item.warning]:
            tried = self._applied(found, self._fixes(found, [problem]))
            found = self._better(found, self._further(tried, lambda item: not item.warning))
        if found is not kept:
            self._write(found)
        return found.done

    def _further(self, state: _State, wanted: Callable[[Problem], bool]) -> _State:
        """The best of the states that mending everything, again and again, leads to."""
        best = state
        for _ in range(_ROUNDS):
            fixes = self._fixes(state, filter(wanted, state.problems))
            if not fixes:
                break
            state = self._applied(state, fixes)
            best = self._better(best, state)
        return best

    @staticmethod
    def _better(first: _State, second: _State) -> _State:
        return second if second.wrong < first.wrong else first

    def _fixes(self, state: _State, problems: Iterable[Problem]) -> list[Fix]:
        chosen = list(problems)
        names = dict.fromkeys(problem.position.file for problem in chosen if problem.position is not None)
        return [item for name in names for item in fix.fixes(self._text(state, name), name, chosen)]

    def _text(self, state: _State, name: str) -> str:
        if name not in state.texts:
            state.texts[name] = read(Path(name)).text
        return state.texts[name]

    def _applied(self, state: _State, fixes: list[Fix]) -> _State:
        texts = dict(state.texts)
        for name in {item.position.file for item in fixes}:
            texts[name] = fix.applied(texts[name], [item for item in fixes if item.position.file == name])
        return self._checked(_State(texts, [*state.done, *fixes]))

    def _checked(self, state: _State) -> _State:
        try:
            prepared = entrypoint.prepare(self._as_source(state), thorough=False, **self._options)
        except ConfigError as error:
            state.problems = error.problems
        else:
            state.problems = prepared.warnings
        return state

    def _as_source(self, state: _State) -> Source:
        own = self._source.name
        instead = {Path(name).resolve(): text for name, text in state.texts.items() if name != own}
        return replace(self._source, text=state.texts[own], instead=instead)

    def _write(self, state: _State) -> None:
        for name in dict.fromkeys(item.position.file for item in state.done):
            write(Path(name), state.texts[name])


def write(file: Path, text: str) -> None:
    """Puts ``text`` in the place of what ``file`` holds, in its encoding, as a whole or not at all.

    Raises:
        TargetUnwritable: the system refused; the file is as it was.
    """
    content = encoded(text, file.read_bytes())
    new = Replacement(file)
    try:
        new.path.write_bytes(content)
        new.commit()
    except OSError as error:
        raise TargetUnwritable(f"{file} cannot be written: {reason(error)}") from None
    finally:
        new.abort()
