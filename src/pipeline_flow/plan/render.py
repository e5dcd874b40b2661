"""A plan as text for the terminal and as a Mermaid flowchart. Foreign text comes out printable and on its line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline_flow.core import text as words
from pipeline_flow.plan import graph, lanes
from pipeline_flow.plan.handoff import STAGE, STREAM

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pipeline_flow.plan.view import CommitView, PhaseView, PipelineView, PlanView, StepView

_WIDEST_DRAWING = 40  # columns; a graph with more lines beside each other than that is listed by level
_MOST_STEPS = 300  # nodes; Mermaid refuses more than 500 edges, and nobody reads them


_HANDOFFS = {
    STAGE: "the next phase begins when this one has ended; meanwhile its data waits",
    STREAM: "of large data the first rows reach the next phase while this one still runs",
}


# ---------------------------------------------------------------------------------------------- text


def text(view: PlanView, *, width: int | None = None, ascii_only: bool = False) -> str:
    """The plan for people.

    Args:
        view: what to show.
        width: how many columns of the terminal there are; ``None`` for as many as a line takes.
        ascii_only: whether only ASCII can be shown.
    """
    number = len(view.pipelines)
    name = f"{words.one_line(view.name)}: " if view.name else ""
    lines = [f"{name}{number} pipeline{'' if number == 1 else 's'}, at most {view.concurrency} at a time"]
    if view.secrets:
        listed = ", ".join(
            f"{words.one_line(item.name)} ({words.one_line(item.plugin)})" for item in view.secrets
        )
        lines.append(f"secrets, fetched before the first step: {listed}")
    used = {phase.handoff for pipeline in view.pipelines for phase in pipeline.phases}
    lines += [f"handoff: {name}: {meaning}" for name, meaning in _HANDOFFS.items() if name in used]
    lines += ["", *_graph(view, ascii_only)]
    for pipeline in view.pipelines:
        lines += ["", *_pipeline(pipeline)]
    if ascii_only:
        lines = [line.replace("→", "->").replace("…", "...") for line in lines]
    ellipsis = "..." if ascii_only else "…"
    if width is not None:
        lines = [words.shortened(line, width, ellipsis, middle=False) for line in lines]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _graph(view: PlanView, ascii_only: bool) -> list[str]:
    needs = {pipeline.name: pipeline.needs for pipeline in view.pipelines}
    drawn = list(lanes.draw(graph.order(needs), needs))
    widest = max((len(line) for line, _ in drawn), default=0)
    if widest > _WIDEST_DRAWING:
        return [
            f"{number:>4}  {words.one_line(name)}{_needs(needs[name])}"
            for number, names in enumerate(view.levels, 1)
            for name in names
        ]
    lines = []
    for line, name in drawn:
        shown = lanes.in_ascii(line) if ascii_only else line
        if name is None:
            lines.append(shown)
        else:
            lines.append(f"{shown:<{widest}} {words.one_line(name)}{_needs(needs[name])}")
    return lines


def _needs(names: Sequence[str]) -> str:
    return f"   needs {', '.join(map(words.one_line, names))}" if names else ""


def _pipeline(pipeline: PipelineView) -> list[str]:
    title = f"{words.one_line(pipeline.name)} ({pipeline.type})"
    lines = [f"{title}: {words.one_line(pipeline.description)}" if pipeline.description else title]
    if pipeline.needs:
        lines.append(
            f"  starts when {_and(pipeline.needs)} {'has' if len(pipeline.needs) == 1 else 'have'} succeeded"
        )
    for phase in pipeline.phases:
        lines += _phase(phase)
    return lines


def _phase(phase: PhaseView) -> list[str]:
    after = f", after {phase.waits_for[0]}" if phase.waits_for else ""
    plain = [step for step in phase.steps if step.role == "step"]
    mode = f": {len(plain)} steps {phase.mode}" if len(plain) > 1 else ""
    why = f" ({words.one_line(phase.why_staged)})" if phase.why_staged else ""
    handoff = f"; handoff: {phase.handoff}{why}" if phase.handoff else ""
    lines = [f"  {phase.name}{mode}{after}{handoff}"]
    names = max(words.width(words.one_line(step.id)) for step in phase.steps)
    plugins = max(words.width(_plugin(step)) for step in phase.steps)
    for step in phase.steps:
        lines.append(
            f"    {_padded(words.one_line(step.id), names)}  {_padded(_plugin(step), plugins)}  {_what(step)}"
        )
        lines += [f"      {note}" for note in _notes(step)]
    if len(phase.commits) == 1:
        lines.append(f"    commits to {_destination(phase.commits[0])} when everything before has succeeded")
    elif phase.commits:
        lines.append("    commits in this order when everything before has succeeded:")
        for number, commit in enumerate(phase.commits, 1):
            lines.append(f"      {number}. {_and(commit.loads)} → {_destination(commit)}")
    return lines


def _destination(commit: CommitView) -> str:
    return (
        "what only the run knows"
        if commit.destination is None
        else words.one_line(words.place(commit.destination))
    )


def _plugin(step: StepView) -> str:
    return words.one_line(step.plugin if step.role == "step" else f"{step.plugin} [{step.role}]")


def _what(step: StepView) -> str:
    taken = f"takes {_and(step.takes)}" if step.takes else ""
    parts = (words.one_line(step.about), taken, step.guarantee or "")
    return "  ".join(part for part in parts if part)


def _notes(step: StepView) -> list[str]:
    notes = [words.one_line(step.description)] if step.description else []
    facts = [] if step.origin == "built-in" else [_origin(step.origin)]
    facts += [step.caution] if step.caution else []
    if step.retry is not None:
        on = f" on {', '.join(step.retry.on)}" if step.retry.on else ""
        facts.append(f"up to {step.retry.attempts} attempts{on}")
    facts += [f"timeout {step.timeout:g} s"] if step.timeout is not None else []
    facts += [f"on_bad_row {step.on_bad_row}"] if step.on_bad_row != "fail" else []
    if step.waits_for and "." in step.waits_for[0] and step.waits_for != step.takes:
        facts.append(f"waits for {_and(step.waits_for)}")
    return [*notes, words.one_line("; ".join(facts))] if facts else notes


def _origin(origin: str) -> str:
    kind, _, where = origin.partition(" ")
    return f"{kind} {words.place(f'file://{where}') if where.startswith('/') else where}".rstrip()


def _and(names: Iterable[str]) -> str:
    shown = [words.one_line(name) for name in names]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def _padded(value: str, width: int) -> str:
    return value + " " * (width - words.width(value))


# ---------------------------------------------------------------------------------------------- Mermaid


def mermaid(view: PlanView) -> str:
    """The plan as a Mermaid flowchart: a box for each pipeline with its steps, or where there are too many, without."""
    steps = sum(len(phase.steps) for pipeline in view.pipelines for phase in pipeline.phases)
    lines = ["flowchart LR"]
    ids = {pipeline.name: f"p{number}" for number, pipeline in enumerate(view.pipelines)}
    for pipeline in view.pipelines:
        own = ids[pipeline.name]
        label = _label(f"{pipeline.name} ({pipeline.type})")
        if steps > _MOST_STEPS:
            lines.append(f"  {own}[{label}]")
            continue
        lines += [f"  subgraph {own}[{label}]", *_steps(pipeline, own), "  end"]
    lines += [
        f"  {ids[need]} --> {ids[pipeline.name]}" for pipeline in view.pipelines for need in pipeline.needs
    ]
    return "\n".join(lines) + "\n"


def _steps(pipeline: PipelineView, own: str) -> list[str]:
    ids: dict[str, str] = {}
    lines = []
    for phase in pipeline.phases:
        for step in phase.steps:
            address = f"{phase.name}.{step.id}"
            ids[address] = f"{own}s{len(ids)}"
            plugin = "" if step.plugin == step.id else f": {step.plugin}"
            lines.append(f"    {ids[address]}[{_label(f'{address}{plugin}')}]")
    before: list[str] = []
    for phase in pipeline.phases:
        for step in phase.steps:
            target = ids[f"{phase.name}.{step.id}"]
            if step.takes:
                lines += [f"    {ids[source]} --> {target}" for source in step.takes]
            else:
                sources = [item for item in step.waits_for if "." in item] or before
                lines += [f"    {ids[source]} -.-> {target}" for source in sources]
        before = [f"{phase.name}.{step.id}" for step in phase.steps if step.role == "step"]
    return lines


def _label(name: str) -> str:
    """A quoted label; what Markdown, HTML or Mermaid could take for their own becomes a character code."""
    shown = words.one_line(name)
    safe = "".join(
        character if character.isalnum() or character in " .,:-()_" else f"#{ord(character)};"
        for character in shown
    )
    return f'"{safe}"'
