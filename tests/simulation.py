"""Random runs of the real scheduler under virtual time: ``python -m tests.simulation --seeds 2000``.

Each seed makes a configuration (a random DAG; steps that wait, fail, are retried, time out; atomic and plain loads;
``fail_fast``; a stop from outside at a random moment), runs it, and checks the events against the execution rules.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from random import Random
from typing import Any

from pipeline_flow import events
from pipeline_flow.engine import Orchestrator, RunResult
from pipeline_flow.events import Event, Status
from pipeline_flow.testing import MemoryStore, Simulation, memory_store
from tests.engine import plugins
from tests.engine.conftest import step
from tests.engine.plugins import Journal

SECONDS = (0.0, 0.0, 0.1, 0.5, 1.0, 3.0)
PHASES = ("extract", "transform", "load", "transform_at_load")
ENDS = (events.PipelineFinished, events.PipelineSkipped)


@dataclass(frozen=True)
class Stopped(Event):
    """Written among the events when the run is stopped from outside."""


def configuration(random: Random) -> dict[str, Any]:
    """A random configuration."""
    names = [f"p{index}" for index in range(random.randint(1, 8))]
    random.shuffle(names)
    pipelines = {}
    for index, name in enumerate(names):
        needs = [other for other in names[:index] if random.random() < 0.3]
        pipelines[name] = {"phases": _phases(random, name), **({"needs": needs} if needs else {})}
    shuffled = list(pipelines.items())
    random.shuffle(shuffled)
    return {
        "concurrency": random.randint(1, 4),
        "parallelism": random.randint(1, 4),
        "fail_fast": random.random() < 0.2,
        "pipelines": dict(shuffled),
    }


def _phases(random: Random, name: str) -> dict[str, Any]:
    extracts = [_step(random, f"{name}e{i}") for i in range(random.randint(1, 4))]
    extract: dict[str, Any] = {"steps": extracts}
    if len(extracts) > 1:
        extract["merge"] = _step(random, f"{name}m")
    if random.random() < 0.2:
        extract["pre"] = [_step(random, f"{name}pre")]
    loads = [
        step("memory", f"{name}l{i}", table=f"{name}_{i}", store="sim")
        if random.random() < 0.5
        else _step(random, f"{name}l{i}")
        for i in range(random.randint(1, 3))
    ]
    phases = {"extract": extract, "load": {"steps": loads}}
    if random.random() < 0.5:
        phases["transform"] = {"steps": [_step(random, f"{name}t{i}") for i in range(random.randint(1, 2))]}
    if random.random() < 0.4:
        phases["transform_at_load"] = {"steps": [_step(random, f"{name}a")]}
    # What reaches a memory load must be rows: the last step before it gives them.
    last = (phases["transform"]["steps"] if "transform" in phases else [extract.get("merge", extracts[0])])[
        -1
    ]
    last["args"]["value"] = [{"x": 1}]
    return {phase: phases[phase] for phase in PHASES if phase in phases}


def _step(random: Random, key: str) -> dict[str, Any]:
    policies: dict[str, Any] = {}
    if random.random() < 0.3:
        named = random.choice([[], ["ValueError"], ["all"], ["timeout"]])
        policies["retry"] = {"attempts": random.randint(2, 3), "wait": 0.5, "on": named}
    if random.random() < 0.2:
        policies["timeout"] = random.choice([0.05, 0.7, 5])
    fails = random.choice([0] * 18 + [1, 2, 9])
    error = random.choice(["value", "retryable", "connection"])
    return step("wait", key, seconds=random.choice(SECONDS), fails=fails, error=error, key=key, **policies)


def simulate(seed: int) -> tuple[dict[str, Any], Simulation, RunResult, MemoryStore]:
    """Runs the configuration of a seed."""
    random = Random(seed)
    made = configuration(random)
    stop_at = random.choice([None, None, 0.0, 0.3, 1.7, 4.0])
    Journal.clear()
    plugins._Waits.calls.clear()
    simulation = Simulation(seed)

    async def stop(orchestrator: Orchestrator) -> None:
        if stop_at is not None:
            await asyncio.sleep(stop_at)
            simulation.recorder.events.append(Stopped(at=0))
            orchestrator.stop("stopped by the simulation")

    with memory_store("sim") as store:
        result = simulation.run(made, meanwhile=stop)
    return made, simulation, result, store


def check(
    made: dict[str, Any], simulation: Simulation, result: RunResult, store: MemoryStore
) -> Counter[str]:
    """Checks the events of a run against the rules and counts what happened in it.

    Raises:
        AssertionError: a rule is broken.
    """
    seen = simulation.events
    seen_counts = Counter(type(event).__name__ for event in seen)
    _check_ends(made, seen, result)
    _check_order(made, seen)
    _check_limits(made, seen)
    _check_stop(made, seen)
    _check_loads(seen, store)
    assert simulation.abandoned == 0, "every waiting step looks at its flag"
    return seen_counts


def _check_ends(made: dict[str, Any], seen: list[Event], result: RunResult) -> None:
    ends = Counter(event.pipeline for event in seen if isinstance(event, ENDS))
    assert ends == Counter(list(made["pipelines"])), "every pipeline ends once"
    assert isinstance(seen[-1], events.RunFinished)
    assert seen[-1].status is result.status
    for event in seen:
        if isinstance(event, events.PipelineFinished):
            assert result.pipelines[event.pipeline].status is event.status
    for name, pipeline in result.pipelines.items():
        if pipeline.status is Status.SUCCEEDED:
            assert all(item.status is Status.SUCCEEDED for item in pipeline.steps), name
        if pipeline.status is Status.FAILED:
            assert pipeline.failure is not None
            assert pipeline.failure.code != "internal.bug", pipeline.failure
            assert any(item.status is Status.FAILED for item in pipeline.steps), name
    starts, ends_of_steps = Counter[str](), Counter[str]()
    for event in seen:
        if isinstance(event, events.StepStarted):
            starts[str(event.address)] += 1
        elif isinstance(event, events.StepFinished | events.StepFailed | events.StepRetried):
            ends_of_steps[str(event.address)] += 1
    for address, count in starts.items():
        # A load that had staged is started anew with its group, so it may start more often than it ends.
        assert ends_of_steps[address] <= count, address
        if ".load." not in address:
            assert ends_of_steps[address] == count, address


def _check_order(made: dict[str, Any], seen: list[Event]) -> None:
    succeeded: set[str] = set()
    phase_of: dict[str, list[str]] = defaultdict(list)
    running_phase: dict[str, str | None] = {}
    for event in seen:
        if isinstance(event, events.PipelineStarted):
            needs = set(made["pipelines"][event.pipeline].get("needs", []))
            assert needs <= succeeded, f"{event.pipeline} started before {needs - succeeded}"
        elif isinstance(event, events.PipelineFinished) and event.status is Status.SUCCEEDED:
            succeeded.add(event.pipeline)
        elif isinstance(event, events.PhaseStarted):
            assert running_phase.get(event.pipeline) is None, "one phase at a time"
            running_phase[event.pipeline] = event.phase
            phase_of[event.pipeline].append(event.phase)
        elif isinstance(event, events.PhaseFinished):
            running_phase[event.pipeline] = None
        elif isinstance(event, events.StepStarted):
            assert running_phase[event.address.pipeline] == event.address.phase
    for name, phases in phase_of.items():
        expected = list(made["pipelines"][name]["phases"])
        assert phases == expected[: len(phases)], "phases run in their order"


def _check_limits(made: dict[str, Any], seen: list[Event]) -> None:
    pipelines: set[str] = set()
    steps: dict[str, set[str]] = defaultdict(set)
    for event in seen:
        if isinstance(event, events.PipelineStarted):
            pipelines.add(event.pipeline)
            assert len(pipelines) <= made["concurrency"]
        elif isinstance(event, events.PipelineFinished):
            pipelines.discard(event.pipeline)
        elif isinstance(event, events.StepStarted):
            running = steps[event.address.pipeline]
            running.add(str(event.address))
            sequential = event.address.phase in ("transform", "transform_at_load")
            assert len(running) <= (1 if sequential else made["parallelism"])
        elif isinstance(event, events.StepFinished | events.StepFailed | events.StepRetried):
            steps[event.address.pipeline].discard(str(event.address))
        elif isinstance(event, events.LoadAborted):
            steps[event.pipeline] -= {f"{event.pipeline}.load.{load}" for load in event.loads}


def _check_stop(made: dict[str, Any], seen: list[Event]) -> None:
    stopped = False
    for event in seen:
        if isinstance(event, Stopped):
            stopped = True
        if made["fail_fast"] and isinstance(event, events.PipelineFinished) and event.status is Status.FAILED:
            stopped = True
        if stopped:
            assert not isinstance(event, events.StepStarted | events.PipelineStarted), (
                "nothing starts after a stop"
            )


def _check_loads(seen: list[Event], store: MemoryStore) -> None:
    open_loads: set[str] = set()
    for what, table in store.history:
        if what == "staged":
            assert table not in open_loads, "a table is staged once at a time"
            open_loads.add(table)
        else:
            assert table in open_loads, f"{table} was {what} without being staged"
            open_loads.discard(table)
    assert not open_loads, "what was staged is committed or taken back"
    committed = {table for what, table in store.history if what == "committed"}
    assert committed == set(store.tables), "only what was committed is visible"
    for event in seen:
        if (
            isinstance(event, events.PhaseFinished)
            and event.phase == "load"
            and event.status is Status.SUCCEEDED
        ):
            assert not any(table.startswith(f"{event.pipeline}_") for table in open_loads)


def main() -> int:
    """Runs the seeds and prints what they covered; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    total: Counter[str] = Counter()
    for seed in range(options.first, options.first + options.seeds):
        try:
            total += check(*simulate(seed))
            if seed % 50 == 0:
                first, again = simulate(seed)[1], simulate(seed)[1]
                assert [type(e) for e in first.events] == [type(e) for e in again.events], (
                    "a seed repeats itself"
                )
        except Exception:
            sys.stderr.write(
                f"seed {seed} breaks a rule: python -m tests.simulation --first {seed} --seeds 1\n"
            )
            raise
    covered = ", ".join(f"{count:,} {name}" for name, count in sorted(total.items()))
    sys.stdout.write(f"{options.seeds:,} seeds, no rule broken: {covered}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
