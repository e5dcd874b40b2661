"""Break each execution rule in a copy of the package and see its tests fail: ``python -m tests.broken_rules``.

Each entry breaks one line of the rules in the smallest way. A rule whose break no test notices is not tested.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
TESTS = ("tests/engine", "tests/plan", "tests/compat/test_running.py")


class Break(NamedTuple):
    """A rule, and how to break it: in ``file``, ``old`` becomes ``new``."""

    rule: str
    file: str
    old: str
    new: str


BREAKS = [
    Break(
        "extract and load steps run concurrently",
        "engine/loading.py",
        "                group.create_task(item)\n",
        "                await asyncio.wait([group.create_task(item)])\n",
    ),
    Break(
        "merge gets all extracts",
        "engine/pipeline.py",
        "phase.merge.call_sync(self._data,",
        "phase.merge.call_sync(Values(list(self._data.items())[:1]),",
    ),
    Break(
        "each transform gets the previous one's output",
        "engine/pipeline.py",
        "            self._replace(result)\n",
        "            pass\n",
    ),
    Break(
        "transform at load runs after every load has committed",
        "engine/loading.py",
        "        if groups:\n            await _to_the_end(_commit(groups, committed))",
        "        if groups:\n            asyncio.get_running_loop().call_later(5, lambda: None)",
    ),
    Break(
        "what a post returns replaces the data",
        "engine/pipeline.py",
        "            if isinstance(after, Values) or not after.is_nothing:\n",
        "            if False:\n",
    ),
    Break(
        "None from a post leaves the data",
        "engine/pipeline.py",
        "            if isinstance(after, Values) or not after.is_nothing:\n",
        "            if True:\n",
    ),
    Break(
        "pre runs before the steps of extract",
        "engine/pipeline.py",
        "            await side_by_side([step.call_async(hold=False) for step in phase.pre])\n        if len(phase.steps) == 1:",
        "            pass\n        if len(phase.steps) == 1:",
    ),
    Break("a plugin of the wrong mode is refused", "plan/build.py", "mode != spec.ASYNC", "False"),
    Break("a sync phase refuses async plugins", "plan/build.py", "mode != spec.SYNC", "False"),
    Break(
        "async generators count as async",
        "core/spec.py",
        "            return ASYNC, True\n",
        "            return SYNC, True\n",
    ),
    Break(
        "a pipeline has a thread of its own",
        "engine/threads.py",
        "        return WorkerLane(self, self._grace)",
        "        self.only = getattr(self, 'only', None) or WorkerLane(self, self._grace)\n        return self.only",
    ),
    Break(
        "all sync plugins of a pipeline run in one thread",
        "engine/threads.py",
        "        if self._worker is None:\n            self._worker = self._threads.take()",
        "        self._worker = self._threads.take()",
    ),
    Break(
        "sync steps never run on the event loop",
        "engine/step.py",
        "            return self.lane.run(self.context.cancel_flag, in_thread)",
        "            return asyncio.sleep(0, in_thread())",
    ),
    Break(
        "phases run in their order",
        "engine/pipeline.py",
        "            for stretch in _stretches(self._phases):\n",
        "            for stretch in reversed(list(_stretches(self._phases))):\n",
    ),
    Break(
        "rows flow while extract still runs",
        "engine/value.py",
        "    if flow is None or not scope.threads.may_wait:",
        "    if True:",
    ),
    Break(
        "a phase is finished only after the one that feeds it",
        "engine/pipeline.py",
        "            return Step(scope, step, lane, slots, fed_by)",
        "            return Step(scope, step, lane, slots, None)",
    ),
    Break(
        "a failure while rows flow is told of the step that failed",
        "engine/step.py",
        "if data is not None and data.has_failed:",
        "if False:",
    ),
    Break(
        "`handoff: stage` keeps the phases apart",
        "plan/handoff.py",
        "        if choice == STAGE:",
        "        if False:",
    ),
    Break(
        "who reads a database does not wait for one",
        "plan/handoff.py",
        '    return "it is read from a database and written to one" if _holds(source, class_of) else ""',
        '    return ""',
    ),
    Break(
        "a step that is tried again has its data staged",
        "plan/handoff.py",
        "    if step.retry.attempts > 1:",
        "    if False:",
    ),
    Break(
        "a load that cannot roll back waits for all rows",
        "plan/handoff.py",
        "return _alone(step, class_of) if step.atomic else",
        "return _alone(step, class_of) if True else",
    ),
    Break(
        "what cannot roll back runs before the commits",
        "engine/loading.py",
        "        await side_by_side([step.call_async(pick(step), hold=False) for step in others])\n"
        "        if scope.stopping:  # a plugin may have taken the cancellation for itself\n            raise asyncio.CancelledError\n"
        "        if groups:\n            await _to_the_end(_commit(groups, committed))\n",
        "        if groups:\n            await _to_the_end(_commit(groups, committed))\n"
        "        await side_by_side([step.call_async(pick(step), hold=False) for step in others])\n",
    ),
    Break(
        "a failed load phase is rolled back",
        "engine/loading.py",
        "            await _to_the_end(_abort(groups))",
        "            pass",
    ),
    Break(
        "loads into one destination share one transaction",
        "engine/loading.py",
        "by_destination.setdefault(destination, [])",
        "by_destination.setdefault(f'{destination}{len(by_destination)}', [])",
    ),
    Break(
        "a pipeline starts the moment all it needs have succeeded",
        "engine/orchestrator.py",
        "        self._start_ready()\n\n    def _skip_dependents",
        "        if not self._running:\n            self._start_ready()\n\n    def _skip_dependents",
    ),
    Break(
        "a pipeline waits for all of its needs",
        "engine/orchestrator.py",
        "                if not unmet and dependent not in self._results:",
        "                if dependent not in self._results:",
    ),
    Break(
        "at most `concurrency` pipelines run at once",
        "engine/orchestrator.py",
        " and len(self._running) < self._plan.concurrency",
        "",
    ),
    Break(
        "two pipelines at once by default",
        "config/models.py",
        "DEFAULT_CONCURRENCY = 2",
        "DEFAULT_CONCURRENCY = 3",
    ),
    Break(
        "at most `parallelism` steps at once",
        "engine/pipeline.py",
        "            if len(phase.steps) + len(phase.pre) + len(phase.post) > parallelism:",
        "            if False:",
    ),
    Break(
        "32 steps at once by default",
        "config/models.py",
        "DEFAULT_PARALLELISM = 32",
        "DEFAULT_PARALLELISM = 16",
    ),
    Break(
        "unknown needs are errors",
        "plan/build.py",
        "                if need not in needs:",
        "                if False:",
    ),
    Break("cycles are errors", "plan/build.py", "in graph.cycles(needs):", "in ():"),
    Break(
        "a failure skips what needs it",
        "engine/orchestrator.py",
        "            self._skip_dependents(name, result.status)",
        "            pass",
    ),
    Break(
        "a failure stops only its own pipeline",
        "engine/orchestrator.py",
        "if result.status is Status.FAILED and self._plan.fail_fast:",
        "if result.status is Status.FAILED:",
    ),
    Break(
        "fail_fast stops all",
        "engine/orchestrator.py",
        "if result.status is Status.FAILED and self._plan.fail_fast:",
        "if False:",
    ),
    Break(
        "from Python a failed pipeline raises",
        "entrypoint.py",
        "    if raise_on_failure and result.status is Status.FAILED:",
        "    if False:",
    ),
    Break(
        "raise_on_failure=False does not raise",
        "entrypoint.py",
        "    if raise_on_failure and result.status is Status.FAILED:",
        "    if result.status is Status.FAILED:",
    ),
    Break(
        "a stop cancels what runs",
        "engine/orchestrator.py",
        "        for task in self._running.values():\n            task.cancel()",
        "",
    ),
    Break(
        "a sync step sees the flag",
        "engine/threads.py",
        "                flag.set()\n                with suppress",
        "                with suppress",
    ),
    Break(
        "a step that does not stop is abandoned",
        "engine/threads.py",
        "                self.abandoned = True\n",
        "",
    ),
    Break(
        "an abandoned step is never retried",
        "engine/step.py",
        "if wait is None or self.abandoned:",
        "if wait is None:",
    ),
    Break(
        "a thread that an async step left behind counts too",
        "engine/step.py",
        "            self._left_behind = self._left_behind or lane.abandoned\n",
        "",
    ),
    Break(
        "a retryable error is tried again",
        "engine/retry.py",
        "    if isinstance(error, RetryableError) or ALL in policy.on:",
        "    if ALL in policy.on:",
    ),
    Break(
        "other errors are tried again only where named",
        "engine/retry.py",
        "    return any(_is_named",
        "    return True or any(_is_named",
    ),
    Break(
        "a timeout ends an attempt",
        "engine/step.py",
        "                if self.plan.timeout is None:",
        "                if True:",
    ),
    Break(
        "an exception shows the plugin's own line",
        "engine/step.py",
        '        return f"{_shown_path(frame.filename)}:{frame.lineno}, in {frame.name}"',
        '        return ""',
    ),
]


def text_of(broken: Break) -> str:
    """The broken file.

    Raises:
        ValueError: what is to be broken does not stand there, or not once.
    """
    text = (ROOT / "src" / "pipeline_flow" / broken.file).read_text(encoding="utf-8")
    if text.count(broken.old) != 1:
        raise ValueError(
            f"{broken.rule}: {broken.file} holds the line to break {text.count(broken.old)} times, not once"
        )
    return text.replace(broken.old, broken.new)


def survives(broken: Break, folder: Path) -> bool:
    """Whether the tests pass although the rule is broken."""
    copy = folder / "src"
    shutil.copytree(ROOT / "src", copy, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "pipeline_flow" / broken.file).write_text(text_of(broken), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *TESTS]
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    return done.returncode == 0


def main() -> int:
    """Breaks the rules one by one; gives 1 where a break goes unnoticed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="rules whose text holds this")
    options = parser.parse_args()
    unnoticed = []
    chosen = [broken for broken in BREAKS if options.only in broken.rule]
    for broken in chosen:
        with tempfile.TemporaryDirectory() as folder:
            survived = survives(broken, Path(folder))
        sys.stdout.write(f"{'UNNOTICED' if survived else 'noticed  '}  {broken.rule}\n")
        sys.stdout.flush()
        if survived:
            unnoticed.append(broken.rule)
    sys.stdout.write(f"{len(chosen) - len(unnoticed)} of {len(chosen)} broken rules noticed\n")
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main())
