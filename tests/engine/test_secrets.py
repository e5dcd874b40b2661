"""Secrets are fetched when a run starts: once each, at the same time, before the first step."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import pytest

from pipeline_flow import Context, events, extract
from pipeline_flow.engine import Orchestrator
from pipeline_flow.errors import SecretUnavailable
from pipeline_flow.events import Status
from pipeline_flow.plugins import ISecretManager
from pipeline_flow.testing import Simulation, block
from tests.engine.conftest import etl, step
from tests.engine.plugins import Journal


class Vault(ISecretManager, plugin_name="vault"):
    """Gives ``value`` after ``seconds``."""

    calls: ClassVar[list[str]] = []

    def __init__(
        self, plugin_id: str, value: Any = "opened", seconds: float = 0, fails: bool = False
    ) -> None:
        super().__init__(plugin_id)
        self.value, self.seconds, self.fails = value, seconds, fails

    @property
    def resource_id(self) -> str:
        return f"id of {self.id}"

    def __call__(self) -> Any:
        self.calls.append(self.id)
        block(self.seconds)
        if self.fails:
            raise PermissionError("the vault is closed")
        return self.value


@pytest.fixture(autouse=True)
def _fresh() -> None:
    Vault.calls.clear()


def _vault(**args: Any) -> dict[str, Any]:
    return {"plugin": "vault", "args": args}


def _loaded(journal: type[Journal]) -> list[Any]:
    return [detail for what, detail in journal.entries if what == "load got"]


def test_each_used_secret_is_fetched_once_and_all_at_the_same_time(journal: type[Journal]) -> None:
    secrets = {
        "a": _vault(seconds=1, value="A"),
        "b": _vault(seconds=2, value="B"),
        "unused": _vault(seconds=9),
    }
    extract = [step(value="${{ secrets.a }} and ${{ secrets.b }}, ${{ secrets.a }}")]
    simulation = Simulation()
    result = simulation.run(
        {"secrets": secrets, "pipelines": {"p": etl(extract=extract), "q": etl(extract=extract)}}
    )
    assert result.succeeded
    assert sorted(Vault.calls) == ["a", "b"]
    assert simulation.seconds == pytest.approx(2)
    assert _loaded(journal) == ["A and B, A"] * 2


def test_keys_of_a_mapping_its_types_and_the_resource_id(journal: type[Journal]) -> None:
    secrets = {"db": _vault(value={"user": "me", "port": 5432})}
    value = {
        "port": "${{ secrets.db.port }}",
        "text": "${{ secrets.db.user }}!",
        "id": "${{ secrets.db.resource_id }}",
        "all": "${{ secrets.db }}",
    }
    Simulation().run({"secrets": secrets, "pipelines": {"p": etl(extract=[step(value=value)])}})
    assert _loaded(journal) == [
        {"port": 5432, "text": "me!", "id": "id of db", "all": {"user": "me", "port": 5432}}
    ]


def test_a_secret_may_be_fetched_with_one_that_stands_before_it(journal: type[Journal]) -> None:
    secrets = {
        "first": _vault(value="key", seconds=1),
        "second": _vault(value="opened with ${{ secrets.first }}"),
    }
    Simulation().run(
        {"secrets": secrets, "pipelines": {"p": etl(extract=[step(value="${{ secrets.second }}")])}}
    )
    assert Vault.calls == ["first", "second"]
    assert _loaded(journal) == ["opened with key"]


def test_all_that_cannot_be_fetched_are_named_and_nothing_runs(journal: type[Journal]) -> None:
    secrets = {
        "closed": _vault(fails=True),
        "behind": _vault(value="${{ secrets.closed }}"),
        "map": _vault(value={"user": "me"}),
        "text": _vault(value="text"),
    }
    value = ["${{ secrets.behind }}", "${{ secrets.map.password }}", "${{ secrets.text.key }}"]
    simulation = Simulation()
    with pytest.raises(SecretUnavailable) as caught:
        simulation.run({"secrets": secrets, "pipelines": {"p": etl(extract=[step(value=value)])}})
    assert sorted(problem.text for problem in caught.value.problems) == [
        "the secret `closed` could not be fetched: PermissionError: the vault is closed",
        "the secret `map` has no key `password`",
        "the secret `text` is no mapping and has no key `key`",
    ]
    assert simulation.events == []
    assert journal.entries == []


def test_a_secret_manager_that_raises_cancelled_error_is_named_and_cancels_nothing(
    journal: type[Journal],
) -> None:
    class Cancelling(ISecretManager, plugin_name="cancelling"):
        async def __call__(self) -> Any:
            raise asyncio.CancelledError

    configuration = {
        "secrets": {"s": {"plugin": "cancelling"}},
        "pipelines": {"p": etl(extract=[step(value="${{ secrets.s }}")])},
    }
    with pytest.raises(SecretUnavailable, match="raised CancelledError although nothing was cancelled"):
        Simulation().run(configuration)


def test_only_the_secrets_of_selected_pipelines_are_fetched(journal: type[Journal]) -> None:
    secrets = {"a": _vault(), "b": _vault(fails=True)}
    pipelines = {
        "p": etl(extract=[step(value="${{ secrets.a }}")]),
        "q": etl(extract=[step(value="${{ secrets.b }}")]),
    }
    assert Simulation().run({"secrets": secrets, "pipelines": pipelines}, select=["p"]).succeeded
    assert Vault.calls == ["a"]


def test_a_stop_while_secrets_are_fetched_ends_the_run_as_cancelled(journal: type[Journal]) -> None:
    async def stop(orchestrator: Orchestrator) -> None:
        await asyncio.sleep(1)
        orchestrator.stop("SIGINT")

    simulation = Simulation(grace=2)
    configuration = {
        "secrets": {"slow": _vault(seconds=60)},
        "pipelines": {"p": etl(extract=[step(value="${{ secrets.slow }}")])},
    }
    result = simulation.run(configuration, meanwhile=stop)
    assert result.status is Status.CANCELLED
    assert result.pipelines["p"].status is Status.SKIPPED
    assert simulation.seconds == pytest.approx(3), (
        "the vault looks at no flag and is abandoned after the grace"
    )
    assert not simulation.recorder.of(events.PipelineStarted)


def test_a_long_secret_of_the_wrong_type_does_not_show_by_its_beginning(journal: type[Journal]) -> None:
    secret = "hunter2!" * 20
    pipeline = etl(extract=[step(fails="${{ secrets.s }}")])
    simulation = Simulation()
    result = simulation.run({"secrets": {"s": _vault(value=secret)}, "pipelines": {"p": pipeline}})
    assert result.pipelines["p"].failure.code == "plugin.wrong_argument"  # type: ignore[union-attr]
    assert "hunter2!" not in repr(simulation.events)


def test_secrets_are_masked_in_what_is_told(journal: type[Journal]) -> None:
    pipeline = etl(extract=[step(value=1, fails=1, error="echo ${{ secrets.s }}")])
    simulation = Simulation()
    result = simulation.run({"secrets": {"s": _vault(value="hunter2!")}, "pipelines": {"p": pipeline}})
    assert result.pipelines["p"].status is Status.FAILED
    assert "hunter2!" not in repr(simulation.events)
    assert "echo ***" in repr(simulation.events)
    assert "hunter2!" not in str(result.pipelines["p"].error)


def test_what_plugins_log_and_reject_is_masked_before_anybody_handles_it(
    journal: type[Journal], caplog: pytest.LogCaptureFixture
) -> None:
    @extract(name="talks_of_its_password")
    async def talks(context: Context, password: str) -> Any:
        context.logger.warning("it is %s", password)
        context.logger.warning("it is %(it)s", {"it": password})
        try:
            raise ValueError(password)
        except ValueError:
            context.logger.exception("failed")
        context.reject({"note": "x" * 180 + password}, "no reason")

    pipeline = etl(extract=[step("talks_of_its_password", password="hunter2-canary")])
    with caplog.at_level("INFO", "pipeline_flow.step"):
        result = Simulation().run({"pipelines": {"p": pipeline}})
    assert caplog.messages[:2] == ["it is ***", "it is ***"]
    assert caplog.messages[2].startswith("failed\nTraceback")
    assert caplog.messages[2].endswith("ValueError: ***")
    failure = result.step("p.extract.talks_of_its_password").failure
    assert failure is not None
    assert "hunter" not in failure.hint
    assert "***" in failure.hint
