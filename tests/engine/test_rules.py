"""DESIGN's execution rules, one test or more for each line, by the order of events under virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import pipeline_flow
from pipeline_flow import events
from pipeline_flow.engine import Orchestrator
from pipeline_flow.errors import ConfigError, RunFailed, StepFailed
from pipeline_flow.events import Status
from pipeline_flow.testing import Simulation, memory_store
from tests.engine import plugins
from tests.engine.conftest import elt, etl, step
from tests.engine.plugins import Journal


def _at(simulation: Simulation, kind: type[events.Event], **fields: Any) -> float:
    """When the one event of this class and these fields happened, in virtual seconds."""
    from pipeline_flow.testing.simulation import EPOCH

    (event,) = [
        event
        for event in simulation.events
        if isinstance(event, kind)
        and all(str(getattr(event, name)) == str(value) for name, value in fields.items())
    ]
    return round(event.at - EPOCH, 6)


def _problems(configuration: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        Simulation().run(configuration)
    return {problem.code: f"{problem.text} {problem.hint}" for problem in caught.value.problems}


# ---------------------------------------------------------------------------------------------- modes


def test_extract_steps_run_concurrently(journal: type[Journal]) -> None:
    steps = [step(id=f"e{i}", seconds=0.5) for i in range(20)]
    simulation = Simulation()
    result = simulation.run({"pipelines": {"p": etl(extract={"steps": steps, "merge": step()})}})
    assert result.succeeded
    assert simulation.seconds == pytest.approx(0.5)
    assert journal.most == 20


def test_load_steps_run_concurrently_and_all_get_the_same_data(journal: type[Journal]) -> None:
    loads = [step(id=f"l{i}", seconds=0.5) for i in range(5)]
    simulation = Simulation()
    simulation.run({"pipelines": {"p": etl(extract=[step(value={"a": 1})], load=loads)}})
    assert simulation.seconds == pytest.approx(0.5)
    got = [detail for what, detail in journal.entries if what == "load got"]
    assert len(got) == 5
    assert all(value is got[0] for value in got)


def test_merge_runs_once_when_all_extracts_are_there(journal: type[Journal]) -> None:
    extracts = [step(id="a", seconds=0.1, value=1), step(id="b", seconds=0.3, value=2)]
    simulation = Simulation()
    simulation.run({"pipelines": {"p": etl(extract={"steps": extracts, "merge": step(value="both")})}})
    merged = [detail for what, detail in journal.entries if what == "merge got"]
    assert merged == [{"a": 1, "b": 2}]
    assert list(merged[0]) == ["a", "b"]
    assert _at(simulation, events.StepStarted, address="p.extract.merge") == pytest.approx(0.3)
    assert ("load got", "both") in journal.entries


def test_transform_steps_run_one_after_the_other_each_on_the_output_of_the_one_before(
    journal: type[Journal],
) -> None:
    transforms = [step(id="t1", seconds=0.2, value="one"), step(id="t2", seconds=0.2, value="two")]
    simulation = Simulation()
    simulation.run({"pipelines": {"p": etl(extract=[step(value="zero")], transform=transforms)}})
    got = [detail for what, detail in journal.entries if what in ("transform got", "load got")]
    assert got == ["zero", "one", "two"]
    assert simulation.seconds == pytest.approx(0.4)


def test_transform_at_load_runs_one_after_the_other_after_every_load_has_committed(
    journal: type[Journal],
) -> None:
    with memory_store() as store:
        store.put("in", [{"x": 1}])
        pipeline = elt(
            extract=[step("memory", table="in")],
            load=[
                step("memory", "l1", table="out1"),
                step("memory", "l2", table="out2"),
                step("wait", "l3", seconds=1),
            ],
            at_load=[step(id="a1", seconds=0.1), step(id="a2", seconds=0.1)],
        )
        simulation = Simulation()
        simulation.run({"pipelines": {"p": pipeline}})
    names = [(type(event).__name__, str(getattr(event, "address", ""))) for event in simulation.events]
    committed = names.index(("LoadCommitted", ""))
    assert committed > names.index(("StepFinished", "p.load.l3"))
    assert committed < names.index(("StepStarted", "p.transform_at_load.a1"))
    assert names.index(("StepFinished", "p.transform_at_load.a1")) < names.index(
        ("StepStarted", "p.transform_at_load.a2")
    )


def test_pre_runs_before_and_post_after_the_steps_of_extract_and_load(journal: type[Journal]) -> None:
    phases = {
        "extract": {
            "pre": [step(id="pre1")],
            "steps": [step(id="e", value=1)],
            "post": [step(id="post1", value=None)],
        },
        "load": {"pre": [step(id="pre2")], "steps": [step(id="l")], "post": [step(id="post2")]},
    }
    Simulation().run({"pipelines": {"p": {"type": "ETL", "phases": phases}}})
    starts = [detail for what, detail in journal.entries if what == "start"]
    assert starts == ["pre1", "e", "post1", "pre2", "l", "post2"]


def test_what_a_post_returns_replaces_the_data_and_none_leaves_it(journal: type[Journal]) -> None:
    post = [step(id="p1", value="changed"), step(id="p2", value=None)]
    Simulation().run({"pipelines": {"p": etl(extract={"steps": [step(value="first")], "post": post})}})
    got = [(what, detail) for what, detail in journal.entries if what.endswith("got")]
    assert got == [("post got", "first"), ("post got", "changed"), ("load got", "changed")]


@pytest.mark.parametrize(
    ("pipeline", "remedy"),
    [
        (etl(extract=[step("sync_extract")]), "async_wrap"),
        (etl(transform=[step("async_transform")]), "def __call__"),
    ],
)
def test_a_plugin_of_the_wrong_mode_is_refused_with_the_remedy(pipeline: dict[str, Any], remedy: str) -> None:
    problems = _problems({"pipelines": {"p": pipeline}})
    assert remedy in problems["plugin.wrong_mode"]


def test_an_async_generator_counts_as_async(journal: type[Journal]) -> None:
    with memory_store() as store:
        pipeline = etl(extract=[step("pieces", rows=4)], load=[step("memory", table="out")])
        assert Simulation().run({"pipelines": {"p": pipeline}}).succeeded
        assert store.rows("out") == [{"n": 0}, {"n": 1}, {"n": 2}, {"n": 3}]


# ---------------------------------------------------------------------------------------------- threads


def test_twenty_blocking_transforms_do_not_queue(journal: type[Journal]) -> None:
    pipelines = {f"p{i}": etl(transform=[step(seconds=0.5)]) for i in range(20)}
    simulation = Simulation()
    simulation.run({"concurrency": 20, "pipelines": pipelines})
    assert simulation.seconds == pytest.approx(0.5)


def test_four_blocking_transforms_at_load_do_not_queue(journal: type[Journal]) -> None:
    pipelines = {f"p{i}": elt(at_load=[step(seconds=0.5)]) for i in range(4)}
    simulation = Simulation()
    simulation.run({"concurrency": 4, "pipelines": pipelines})
    assert simulation.seconds == pytest.approx(0.5)


def test_all_sync_plugins_of_a_pipeline_run_in_one_thread_that_is_not_the_event_loops(
    journal: type[Journal],
) -> None:
    pipeline = {
        "type": "ETLT",
        "phases": {
            "extract": {"steps": [step(id="a"), step(id="b")], "merge": step()},
            "transform": {"steps": [step(id="t1"), step(id="t2")]},
            "load": {"steps": [step()]},
            "transform_at_load": {"steps": [step()]},
        },
    }
    Simulation().run({"pipelines": {"p": pipeline}})
    threads = [detail for what, detail in journal.entries if what == "thread"]
    assert len(threads) == 4
    assert len(set(threads)) == 1
    assert threads[0] != "MainThread"


# ---------------------------------------------------------------------------------------------- phases


def test_a_phase_begins_when_the_one_before_has_ended(journal: type[Journal]) -> None:
    pipeline = etl(
        extract={"steps": [step(id="a", seconds=1), step(id="b", seconds=3)], "merge": step()},
        transform=[step(seconds=1)],
    )
    simulation = Simulation()
    simulation.run({"pipelines": {"p": pipeline}})
    assert _at(simulation, events.PhaseStarted, phase="transform") == 3
    assert _at(simulation, events.PhaseStarted, phase="load") == 4


def test_nothing_of_a_load_is_visible_when_transform_fails(journal: type[Journal]) -> None:
    with memory_store() as store:
        store.put("in", [{"x": 1}])
        pipeline = etl(
            extract=[step("memory", table="in")],
            transform=[step(fails=1)],
            load=[step("memory", table="out")],
        )
        assert not Simulation().run({"pipelines": {"p": pipeline}}).succeeded
        assert store.history == []
        assert "out" not in store.tables


def test_atomic_loads_commit_together_after_what_cannot_roll_back(journal: type[Journal]) -> None:
    with memory_store() as store:
        store.put("in", [{"x": 1}])
        pipeline = etl(
            extract=[step("memory", table="in")],
            load=[step("wait", "plain", seconds=1, fails=1), step("memory", "atomic", table="out")],
        )
        simulation = Simulation()
        result = simulation.run({"pipelines": {"p": pipeline}})
        assert result.pipelines["p"].status is Status.FAILED
        assert store.history == [("staged", "out"), ("aborted", "out")]
        assert any(isinstance(event, events.LoadAborted) for event in simulation.events)


def test_loads_into_one_destination_share_one_transaction(journal: type[Journal]) -> None:
    with memory_store() as store:
        store.put("in", [{"x": 1}])
        store.fail_on.add("second")
        loads = [step("memory", "a", table="first"), step("memory", "b", table="second")]
        Simulation().run({"pipelines": {"p": etl(extract=[step("memory", table="in")], load=loads)}})
        assert store.history == [("staged", "first"), ("aborted", "first")]
        store.fail_on.clear()
        simulation = Simulation()
        simulation.run({"pipelines": {"p": etl(extract=[step("memory", table="in")], load=loads)}})
        (committed,) = [event for event in simulation.events if isinstance(event, events.LoadCommitted)]
        assert committed.loads == ("a", "b")


@pytest.mark.parametrize(
    ("phases", "type_"),
    [
        ({"extract", "load"}, "ETL"),
        ({"extract", "transform", "load"}, "ETL"),
        ({"extract", "load", "transform_at_load"}, "ELT"),
        ({"extract", "transform", "load", "transform_at_load"}, "ETLT"),
        ({"extract", "load", "transform_at_load"}, "ETLT"),
    ],
)
def test_these_phases_make_a_pipeline_and_its_type_may_be_left_out(
    journal: type[Journal], phases: set[str], type_: str
) -> None:
    order = ("extract", "transform", "load", "transform_at_load")
    pipeline = {"phases": {name: {"steps": [step()]} for name in order if name in phases}}
    assert Simulation().run({"pipelines": {"p": pipeline}}).succeeded
    assert Simulation().run({"pipelines": {"p": {"type": type_, **pipeline}}}).succeeded


def test_phases_run_in_their_order_whatever_the_order_in_the_file(journal: type[Journal]) -> None:
    phases = {"load": {"steps": [step(id="l")]}, "extract": {"steps": [step(id="e")]}}
    Simulation().run({"pipelines": {"p": {"type": "ETL", "phases": phases}}})
    assert [detail for what, detail in journal.entries if what == "start"] == ["e", "l"]


@pytest.mark.parametrize(
    ("phases", "type_"),
    [
        ({"extract", "load", "transform_at_load"}, "ETL"),
        ({"extract", "transform", "load", "transform_at_load"}, "ELT"),
        ({"extract", "load"}, "ELT"),
        ({"extract", "load"}, "ETLT"),
        ({"load"}, "ETL"),
    ],
)
def test_phases_that_do_not_fit_the_type_are_refused(phases: set[str], type_: str) -> None:
    pipeline = {"type": type_, "phases": {name: {"steps": [step()]} for name in phases}}
    assert "config.phases_of_type" in _problems({"pipelines": {"p": pipeline}})


# ---------------------------------------------------------------------------------------------- the DAG


def test_a_pipeline_starts_the_moment_all_it_needs_have_succeeded(journal: type[Journal]) -> None:
    pipelines = {
        "a": etl(extract=[step(seconds=1)]),
        "b": etl(extract=[step(seconds=0.1)]),
        "c": etl(extract=[step(seconds=1)], needs="b"),
    }
    simulation = Simulation()
    simulation.run({"concurrency": 2, "pipelines": pipelines})
    assert _at(simulation, events.PipelineStarted, pipeline="c") == pytest.approx(0.1)
    assert simulation.seconds == pytest.approx(1.1)


def test_a_pipeline_waits_for_all_of_a_list_of_needs(journal: type[Journal]) -> None:
    pipelines = {
        "c": etl(needs=["a", "b"]),
        "a": etl(extract=[step(seconds=1)]),
        "b": etl(extract=[step(seconds=2)]),
    }
    simulation = Simulation()
    simulation.run({"pipelines": pipelines})
    assert _at(simulation, events.PipelineStarted, pipeline="c") == 2


def test_two_pipelines_run_at_once_by_default(journal: type[Journal]) -> None:
    pipelines = {f"p{i}": etl(extract=[step(seconds=1)]) for i in range(6)}
    simulation = Simulation()
    simulation.run({"pipelines": pipelines})
    assert simulation.seconds == pytest.approx(3)
    assert journal.most == 2


def test_two_runs_in_one_process_have_each_their_own_concurrency(journal: type[Journal]) -> None:
    pipelines = {f"p{i}": etl(extract=[step(seconds=1)]) for i in range(6)}
    first, second = Simulation(), Simulation()
    first.run({"concurrency": 3, "pipelines": pipelines})
    second.run({"concurrency": 6, "pipelines": pipelines})
    assert first.seconds == pytest.approx(2)
    assert second.seconds == pytest.approx(1)


def test_an_unknown_need_and_a_cycle_are_configuration_errors() -> None:
    problems = _problems({"pipelines": {"orders": etl(), "report": etl(needs="order")}})
    assert "did you mean `orders`?" in problems["config.unknown_needs"]
    cycle = {"a": etl(needs="c"), "b": etl(needs="a"), "c": etl(needs="b")}
    text = _problems({"pipelines": cycle})["config.cycle"]
    assert any(path in text for path in ("a → c → b → a", "b → a → c → b", "c → b → a → c"))


def test_at_most_parallelism_steps_of_a_pipeline_run_at_once(journal: type[Journal]) -> None:
    steps = [step(id=f"e{i}", seconds=1) for i in range(10)]
    simulation = Simulation()
    simulation.run({"parallelism": 4, "pipelines": {"p": etl(extract={"steps": steps, "merge": step()})}})
    assert journal.most == 4
    assert simulation.seconds == pytest.approx(3)


def test_at_most_thirty_two_steps_of_a_pipeline_run_at_once_by_default(journal: type[Journal]) -> None:
    steps = [step(id=f"e{i}", seconds=1) for i in range(100)]
    Simulation().run({"pipelines": {"p": etl(extract={"steps": steps, "merge": step()})}})
    assert journal.most == 32


# ---------------------------------------------------------------------------------------------- failures


def test_a_failure_stops_its_pipeline_and_skips_what_needs_it_and_everything_else_goes_on(
    journal: type[Journal],
) -> None:
    pipelines = {
        "bad": etl(
            extract={"steps": [step(id="boom", fails=1), step(id="slow", seconds=9)], "merge": step()}
        ),
        "child": etl(needs="bad"),
        "grandchild": etl(needs="child"),
        "other": etl(extract=[step(seconds=2)]),
        "after": etl(needs="other"),
    }
    simulation = Simulation()
    result = simulation.run({"pipelines": pipelines})
    assert {name: pipeline.status for name, pipeline in result.pipelines.items()} == {
        "bad": Status.FAILED,
        "child": Status.SKIPPED,
        "grandchild": Status.SKIPPED,
        "other": Status.SUCCEEDED,
        "after": Status.SUCCEEDED,
    }
    assert result.pipelines["child"].reason == "it needs `bad`, which failed"
    assert result.pipelines["grandchild"].reason == "it needs `child`, which was skipped"
    assert result.status is Status.FAILED
    assert simulation.seconds == pytest.approx(2), "the slow sibling was cancelled"
    assert not any(
        isinstance(e, events.PhaseStarted) and e.pipeline == "bad" and e.phase == "load"
        for e in simulation.events
    )


def test_a_failure_skips_a_chain_of_any_length(journal: type[Journal]) -> None:
    pipelines = {"p0": etl(extract=[step(fails=1)])}
    pipelines |= {f"p{number}": etl(needs=f"p{number - 1}") for number in range(1, 1500)}
    result = Simulation().run({"pipelines": pipelines})
    assert len(result.with_status(Status.SKIPPED)) == 1499
    assert result.pipelines["p1499"].reason == "it needs `p1498`, which was skipped"


def test_fail_fast_stops_all(journal: type[Journal]) -> None:
    pipelines = {
        "bad": etl(extract=[step(seconds=1, fails=1)]),
        "running": etl(extract=[step(seconds=9)]),
        "waiting": etl(),
    }
    simulation = Simulation()
    result = simulation.run({"fail_fast": True, "pipelines": pipelines})
    statuses = {name: pipeline.status for name, pipeline in result.pipelines.items()}
    assert statuses == {"bad": Status.FAILED, "running": Status.CANCELLED, "waiting": Status.SKIPPED}
    assert "fail_fast" in result.pipelines["running"].reason
    assert simulation.seconds == pytest.approx(1)


def test_an_exception_shows_pipeline_phase_step_and_the_plugins_own_line(journal: type[Journal]) -> None:
    result = Simulation().run({"pipelines": {"p": etl(transform=[step(id="t", fails=1)])}})
    failure = result.pipelines["p"].failure
    assert failure is not None
    assert failure.message == "ValueError: a bad value"
    assert "plugins.py:" in failure.line
    error = result.pipelines["p"].error
    assert (error.pipeline, error.phase, error.step) == ("p", "transform", "t")  # type: ignore[union-attr]


# ---------------------------------------------------------------------------------------------- retry, timeout


def test_a_retryable_error_is_tried_again_and_others_only_where_named(journal: type[Journal]) -> None:
    retry = {"attempts": 3, "wait": 1, "jitter": 0}
    for error, on, ends_well in (
        ("retryable", [], True),
        ("value", [], False),
        ("value", ["ValueError"], True),
        ("value", ["all"], True),
        ("connection", ["OSError"], True),
        ("connection", ["ValueError"], False),
    ):
        key = f"{error}{on}"
        pipeline = etl(extract=[step(fails=2, error=error, key=key, retry={**retry, "on": on})])
        simulation = Simulation()
        assert simulation.run({"pipelines": {"p": pipeline}}).succeeded is ends_well, key
        assert simulation.seconds == (3 if ends_well else 0), "waits of 1 and 2 seconds"


def test_retry_and_timeout_work_on_steps_of_every_kind(journal: type[Journal]) -> None:
    policy: dict[str, Any] = {"attempts": 2, "wait": 1, "jitter": 0, "on": ["timeout", "ValueError"]}

    def failing(name: str) -> dict[str, Any]:
        return step(id=name, fails=1, retry=policy)

    pipeline = {
        "type": "ETLT",
        "phases": {
            "extract": {
                "pre": [failing("pre")],
                "steps": [failing("a"), step(id="b")],
                "merge": failing("merge"),
                "post": [failing("post")],
            },
            "transform": {"steps": [failing("t")]},
            "load": {"pre": [failing("pre_l")], "steps": [failing("l")], "post": [failing("post_l")]},
            "transform_at_load": {"steps": [failing("at")]},
        },
    }
    simulation = Simulation()
    result = simulation.run({"pipelines": {"p": pipeline}})
    assert result.succeeded, result.pipelines["p"].failure
    assert len(simulation.recorder.of(events.StepRetried)) == 9

    for phase in ("extract", "transform", "load", "transform_at_load"):
        phases = {name: {"steps": [step()]} for name in ("extract", "transform", "load", "transform_at_load")}
        phases[phase] = {"steps": [step(seconds=60, timeout=2)]}
        simulation = Simulation()
        result = simulation.run({"pipelines": {"p": {"phases": phases}}})
        failure = result.pipelines["p"].failure
        assert failure is not None
        assert failure.code == "step.timeout", phase
        assert simulation.seconds == pytest.approx(2)


def test_defaults_of_retry_and_timeout_stand_at_the_top_level(journal: type[Journal]) -> None:
    simulation = Simulation()
    configuration = {
        "timeout": "3s",
        "retry": {"attempts": 2, "wait": 1, "jitter": 0, "on": ["timeout"]},
        "pipelines": {"p": etl(extract=[step(seconds=60)])},
    }
    result = simulation.run(configuration)
    assert result.pipelines["p"].failure.code == "step.timeout"  # type: ignore[union-attr]
    assert simulation.seconds == pytest.approx(7), "two attempts of 3 s and a wait of 1 s"


def test_a_retried_atomic_load_starts_its_whole_transaction_anew(journal: type[Journal]) -> None:
    with memory_store() as store:
        store.put("in", [{"x": 1}])
        store.fail_on.add("second")

        async def mend(_: Orchestrator) -> None:
            await asyncio.sleep(0.5)
            store.fail_on.clear()

        retry = {"attempts": 2, "wait": 1, "jitter": 0, "on": ["OSError"]}
        loads = [step("memory", "a", table="first"), step("memory", "b", table="second", retry=retry)]
        pipeline = etl(extract=[step("memory", table="in")], load=loads)
        assert Simulation().run({"pipelines": {"p": pipeline}}, meanwhile=mend).succeeded
        assert store.history == [
            ("staged", "first"),
            ("aborted", "first"),
            ("staged", "first"),
            ("staged", "second"),
            ("committed", "first"),
            ("committed", "second"),
        ]


# ---------------------------------------------------------------------------------------------- cancellation


async def _stop_after_a_second(orchestrator: Orchestrator) -> None:
    await asyncio.sleep(1)
    orchestrator.stop("SIGINT")


def test_a_stop_cancels_steps_rolls_loads_back_and_records_the_run_as_cancelled(
    journal: type[Journal],
) -> None:
    with memory_store() as store:
        store.put("in", [{"x": 1}])
        pipelines = {
            "loading": etl(
                extract=[step("memory", table="in")], load=[step("memory", "m", table="out"), step(seconds=9)]
            ),
            "extracting": etl(extract=[step(seconds=9)]),
            "waiting": etl(),
        }
        simulation = Simulation()
        result = simulation.run({"pipelines": pipelines}, meanwhile=_stop_after_a_second)
        assert result.status is Status.CANCELLED
        assert store.history == [("staged", "out"), ("aborted", "out")]
        statuses = {name: pipeline.status for name, pipeline in result.pipelines.items()}
        assert statuses == {
            "loading": Status.CANCELLED,
            "extracting": Status.CANCELLED,
            "waiting": Status.SKIPPED,
        }
        assert simulation.seconds == pytest.approx(1)


def test_a_sync_step_sees_the_flag_when_the_run_is_stopped(journal: type[Journal]) -> None:
    simulation = Simulation()
    result = simulation.run(
        {"pipelines": {"p": etl(transform=[step(seconds=60)])}}, meanwhile=_stop_after_a_second
    )
    assert result.status is Status.CANCELLED
    assert simulation.seconds == pytest.approx(1)
    assert simulation.abandoned == 0


def test_a_sync_step_that_does_not_stop_is_abandoned_after_the_grace_period(journal: type[Journal]) -> None:
    simulation = Simulation(grace=3)
    result = simulation.run(
        {"pipelines": {"p": etl(transform=[step("stubborn")])}}, meanwhile=_stop_after_a_second
    )
    assert result.status is Status.CANCELLED
    assert simulation.seconds == pytest.approx(4)
    assert simulation.abandoned == 1


@pytest.mark.parametrize("phase", ["extract", "transform"])
def test_an_abandoned_step_is_never_retried(journal: type[Journal], phase: str) -> None:
    """Neither in the pipeline's thread, nor in one that an asynchronous plugin waits for."""
    simulation = Simulation(grace=3)
    stubborn = [step("stubborn", timeout=1, retry={"attempts": 5, "on": ["all"]})]
    result = simulation.run({"pipelines": {"p": etl(**{phase: stubborn})}})
    assert result.pipelines["p"].failure.code == "step.timeout"  # type: ignore[union-attr]
    assert simulation.seconds == pytest.approx(4)
    assert not simulation.recorder.of(events.StepRetried)
    assert ["left behind" in notice.text for notice in simulation.recorder.of(events.Notice)] == [True]


# ---------------------------------------------------------------------------------------------- from Python


def test_from_python_a_failed_pipeline_raises_with_the_result_unless_told_not_to(
    journal: type[Journal],
) -> None:
    configuration = {"pipelines": {"bad": etl(extract=[step(fails=1)]), "good": etl()}}
    with pytest.raises(RunFailed) as caught:
        pipeline_flow.run(configuration)
    assert isinstance(caught.value, ExceptionGroup)
    assert [type(error) for error in caught.value.exceptions] == [StepFailed]
    assert caught.value.result.pipelines["good"].status is Status.SUCCEEDED  # type: ignore[attr-defined]
    journal.clear()
    plugins._Waits.calls.clear()
    result = pipeline_flow.run(configuration, raise_on_failure=False)
    assert result.status is Status.FAILED


# ---------------------------------------------------------------------------------------------- what goes wrong besides


def test_a_rollback_that_fails_is_a_warning_and_the_first_error_is_the_one_that_is_told(
    journal: type[Journal],
) -> None:
    """Nor is the load tried again, whose transaction may still be open."""
    with memory_store() as store:
        store.fail_on = {"out", "abort"}
        store.put("in", [{"a": 1}])
        load = step("memory", table="out", retry={"attempts": 3, "on": ["all"]})
        simulation = Simulation()
        result = simulation.run({"pipelines": {"p": etl(extract=[step("memory", table="in")], load=[load])}})
    failure = result.pipelines["p"].failure
    assert failure is not None
    assert failure.message == "OSError: the memory store was told to fail on out"
    (notice,) = simulation.recorder.of(events.Notice)
    assert notice.text == (
        "rolling back memory in memory://main failed: OSError: the memory store was told to fail on abort"
    )
    assert not simulation.recorder.of(events.LoadAborted)
    assert not simulation.recorder.of(events.StepRetried)


def test_the_event_of_a_cancelled_pipeline_says_why(journal: type[Journal]) -> None:
    simulation = Simulation()
    result = simulation.run(
        {"pipelines": {"p": etl(extract=[step(seconds=9)])}}, meanwhile=_stop_after_a_second
    )
    (finished,) = simulation.recorder.of(events.PipelineFinished)
    assert (finished.reason, result.pipelines["p"].reason, result.reason) == ("SIGINT",) * 3
