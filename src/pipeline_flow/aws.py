"""Calls of AWS's services, and what their refusals mean in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline_flow.errors import SecretUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

_REASONS = {
    "ResourceNotFoundException": (
        "does not exist",
        "names and regions are told apart by upper and lower case",
    ),
    "ParameterNotFound": (
        "does not exist",
        "a name begins with `/` where the parameter stands in a hierarchy",
    ),
    "AccessDeniedException": ("may not be read: access denied", "the role needs the right to read it"),
    "DecryptionFailure": ("cannot be decrypted", "the role needs the right to use its KMS key"),
    "UnrecognizedClientException": ("may not be read: AWS does not know these credentials", ""),
    "InvalidClientTokenId": ("may not be read: AWS does not know these credentials", ""),
    "ExpiredTokenException": ("may not be read: the credentials have expired", "log in again"),
}


def client(service: str, region: str | None, endpoint_url: str | None) -> Any:
    """A client of one service; it retries as AWS's own tools do.

    Raises:
        SecretUnavailable: the extra is not installed, or no region is known.
    """
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import NoRegionError
    except ImportError:
        raise SecretUnavailable(
            "AWS needs a package that is not installed", hint='pip install "pipeline-flow[aws]"'
        ) from None
    try:
        config = Config(connect_timeout=10, read_timeout=20, retries={"mode": "standard", "max_attempts": 4})
        return boto3.client(service, region_name=region, endpoint_url=endpoint_url, config=config)
    except NoRegionError:
        raise SecretUnavailable("no AWS region is known", hint="give `region`, or set AWS_REGION") from None


def answer(what: str, call: Callable[..., Any], **arguments: Any) -> Any:
    """What ``call`` gives for ``arguments``; ``what`` names the thing in messages.

    Raises:
        SecretUnavailable: AWS refused, or cannot be reached.
    """
    from botocore import exceptions

    try:
        return call(**arguments)
    except exceptions.ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        reason, advice = _REASONS.get(code, (f"cannot be read: {code or error}", ""))
        raise SecretUnavailable(f"{what} {reason}", hint=advice) from None
    except exceptions.NoCredentialsError:
        raise SecretUnavailable(
            f"{what} may not be read: there are no AWS credentials",
            hint="set AWS_ACCESS_KEY_ID, or use a role",
        ) from None
    except exceptions.BotoCoreError as error:
        raise SecretUnavailable(f"{what} cannot be read: {error}") from None
