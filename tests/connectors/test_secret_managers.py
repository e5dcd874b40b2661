"""Where secrets come from, each asked as a run asks it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipeline_flow.errors import SecretUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.connectors.conftest import Bench


def manager(bench: Bench, name: str, **args: Any) -> Any:
    return bench.plugin("secret_manager", name, **args)


# -------------------------------------------------------------------------------------------------------------- dotenv


def test_a_dotenv_file_is_a_mapping_or_one_of_its_values(bench: Bench) -> None:
    Path(".env").write_text("# a comment\nexport A=1\nB='two words'\nC=\"x$A\"\nEMPTY=\nNOTHING\n")
    assert manager(bench, "dotenv")() == {"A": "1", "B": "two words", "C": "x$A", "EMPTY": ""}
    assert manager(bench, "dotenv", variable="B")() == "two words"


def test_a_missing_dotenv_file_and_a_missing_name_are_told(bench: Bench) -> None:
    with pytest.raises(SecretUnavailable, match=".env does not exist"):
        manager(bench, "dotenv")()
    Path(".env").write_text("WAREHOUSE_URL=x\n")
    with pytest.raises(SecretUnavailable, match="has no `WAREHOUSE_ULR`") as caught:
        manager(bench, "dotenv", variable="WAREHOUSE_ULR")()
    assert "did you mean `WAREHOUSE_URL`" in caught.value.problems[0].hint


# ------------------------------------------------------------------------------------------------------------- command


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_what_a_program_prints_is_the_secret(bench: Bench) -> None:
    assert manager(bench, "command", command=python("print('s3cret')"))() == "s3cret"
    assert manager(bench, "command", command=f"{sys.executable} -c \"print('a b')\"")() == "a b"
    assert manager(bench, "command", command=python('print(\'{"user": "me", "n": 1}\')'))() == {
        "user": "me",
        "n": 1,
    }
    assert manager(bench, "command", command=python("print('{no json')"))() == "{no json"


def test_no_shell_reads_the_command(bench: Bench) -> None:
    code = "import sys; print(sys.argv[1])"
    assert manager(bench, "command", command=[*python(code), "$HOME; echo x"])() == "$HOME; echo x"


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (["no-such-program-here"], "there is no program `no-such-program-here`"),
        (
            python("import sys; print('hunter2'); sys.stderr.write('a\\nlocked\\n'); sys.exit(3)"),
            "ended with 3: locked",
        ),
        (python("import sys; sys.stdout.buffer.write(b'\\xff')"), "not UTF-8"),
    ],
)
def test_a_program_that_fails_is_told_without_what_it_printed(
    bench: Bench, command: list[str], text: str
) -> None:
    with pytest.raises(SecretUnavailable) as caught:
        manager(bench, "command", command=command)()
    assert text in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_program_that_waits_for_ever_is_ended(bench: Bench) -> None:
    with pytest.raises(SecretUnavailable, match="longer than 0.2 s"):
        manager(bench, "command", command=python("import threading; threading.Event().wait()"), timeout=0.2)()


def test_a_command_that_cannot_be_split_is_found_beforehand(bench: Bench) -> None:
    assert "cannot be split" in bench.faults("secret_manager", "command", command="echo 'x")[0]
    assert "is empty" in bench.faults("secret_manager", "command", command="")[0]


# ----------------------------------------------------------------------------------------------------------------- AWS

REGION = "eu-central-1"


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    import boto3
    from moto import mock_aws

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.delenv("AWS_REGION", raising=False)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    with mock_aws():
        yield boto3


@pytest.mark.parametrize("name", ["aws_secret_manager", "aws_secrets_manager"])
def test_aws_secrets_are_text_or_mappings_and_have_an_arn(bench: Bench, aws: Any, name: str) -> None:
    client = aws.client("secretsmanager", region_name=REGION)
    arn = client.create_secret(Name="plain", SecretString="s3cret")["ARN"]
    client.create_secret(Name="json", SecretString=json.dumps({"user": "me", "port": 5432}))
    client.create_secret(Name="number", SecretString="12")
    assert manager(bench, name, region=REGION, secret_name="plain")() == "s3cret"
    assert manager(bench, name, region=REGION, secret_name="plain").resource_id == arn
    assert manager(bench, name, region=REGION, secret_name="json")() == {"user": "me", "port": 5432}
    assert manager(bench, name, region=REGION, secret_name="number")() == "12"


def test_aws_parameters_are_decrypted(bench: Bench, aws: Any) -> None:
    client = aws.client("ssm", region_name=REGION)
    client.put_parameter(Name="/prod/url", Value="s3cret", Type="SecureString")
    found = manager(bench, "aws_ssm", region=REGION, parameter="/prod/url")
    assert found() == "s3cret"
    assert found.resource_id.endswith(":parameter/prod/url")


def test_what_aws_refuses_is_told_in_plain_words(bench: Bench, aws: Any) -> None:
    client = aws.client("secretsmanager", region_name=REGION)
    client.create_secret(Name="binary", SecretBinary=b"x")
    for name, args, text in [
        (
            "aws_secret_manager",
            {"region": REGION, "secret_name": "nowhere"},
            "the secret nowhere does not exist",
        ),
        ("aws_secret_manager", {"region": REGION, "secret_name": "binary"}, "is binary"),
        ("aws_secret_manager", {"secret_name": "x"}, "no AWS region is known"),
        ("aws_ssm", {"region": REGION, "parameter": "/nowhere"}, "the parameter /nowhere does not exist"),
    ]:
        with pytest.raises(SecretUnavailable, match=text):
            manager(bench, name, **args)()


def test_an_aws_that_cannot_be_reached_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(SecretUnavailable, match="the secret x cannot be read: Could not connect"):
        manager(
            bench, "aws_secret_manager", region=REGION, secret_name="x", endpoint_url="http://127.0.0.1:9"
        )()


def test_without_the_package_it_says_what_to_install(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(SecretUnavailable, match="not installed") as caught:
        manager(bench, "aws_ssm", region=REGION, parameter="/x")()
    assert "pipeline-flow[aws]" in caught.value.problems[0].hint
