"""Errors that leave the engine: nowhere in their chain does a secret show, whatever prints their traceback."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from pipeline_flow.errors import PipelineFlowError

if TYPE_CHECKING:
    from collections.abc import Callable

E = TypeVar("E", bound=BaseException)


def masked(error: E, redact: Callable[[str], str]) -> E:
    """``error`` with its texts, its notes, its causes and what it groups masked.

    Errors stay the objects that they are where their arguments hold their text; another one that shows a secret all the
    same is replaced by an error of the same name with the same traceback.
    """
    found: E = _masked(error, redact, {})
    return found


def _masked(error: Any, redact: Callable[[str], str], done: dict[int, Any]) -> Any:
    if error is None:
        return None
    if id(error) in done:
        return done[id(error)]
    done[id(error)] = error
    cause, context = error.__cause__, error.__context__
    hidden, notes = error.__suppress_context__, getattr(error, "__notes__", None)
    found = _itself(error, redact)
    if isinstance(found, BaseExceptionGroup):
        inner = tuple(_masked(each, redact, done) for each in found.exceptions)
        if any(new is not old for new, old in zip(inner, found.exceptions, strict=True)):
            found = found.derive(inner).with_traceback(error.__traceback__)
    if notes:
        found.__notes__ = [redact(str(note)) for note in notes]
    done[id(error)] = found
    found.__cause__ = _masked(cause, redact, done)
    found.__context__ = _masked(context, redact, done)
    found.__suppress_context__ = hidden
    return found


def _itself(error: BaseException, redact: Callable[[str], str]) -> BaseException:
    if not _shows(error, redact):
        return error
    try:
        error.args = tuple(redact(arg) if isinstance(arg, str) else arg for arg in error.args)
        if isinstance(error, PipelineFlowError):
            error.message, error.hint = redact(error.message), redact(error.hint)
    except Exception:  # noqa: BLE001 - an error with setters of its own
        return _stand_in(error, redact)
    return _stand_in(error, redact) if _shows(error, redact) else error


def _shows(error: BaseException, redact: Callable[[str], str]) -> bool:
    try:
        own = [] if isinstance(error, BaseExceptionGroup) else [repr(error)]  # a group's holds those inside
        texts = [str(error), *own, *(getattr(error, name, "") for name in ("message", "hint"))]
    except Exception:  # noqa: BLE001 - whatever an error's own `__str__` raises
        return True
    return any(isinstance(text, str) and redact(text) != text for text in texts)


def _stand_in(error: BaseException, redact: Callable[[str], str]) -> BaseException:
    kind = type(error)
    try:
        text = redact(str(error))
    except Exception:  # noqa: BLE001 - as above
        text = "(its text cannot be shown)"
    if isinstance(error, BaseExceptionGroup):  # its message cannot be changed
        return BaseExceptionGroup(redact(error.message), error.exceptions).with_traceback(error.__traceback__)
    same_name = type(kind.__name__, (Exception,), {"__module__": kind.__module__, "__doc__": kind.__doc__})
    made: BaseException = same_name(text)
    return made.with_traceback(error.__traceback__)
