"""AWS Secrets Manager."""

from __future__ import annotations

import json
from typing import Any

from pydantic import Field

from pipeline_flow.errors import SecretUnavailable
from pipeline_flow.plugins.base import ISecretManager, PluginConfig


class AWSSecretManager(ISecretManager, plugin_name="aws_secret_manager"):
    """Reads a secret from AWS Secrets Manager; also called `aws_secrets_manager`.

    A secret whose text is a JSON mapping is one, and `${{ secrets.name.key }}` reads its values; `resource_id` is its ARN.
    Credentials come from where AWS's own tools look for them: the environment, `~/.aws`, the machine's role. Needs the
    extra `aws`.
    """

    class Config(PluginConfig):
        secret_name: str = Field(description="The secret's name or ARN.", examples=["prod/warehouse"])
        region: str | None = Field(
            default=None,
            description="The region; by default that of the environment.",
            examples=["eu-central-1"],
        )
        endpoint_url: str | None = Field(
            default=None, description="Another address of the service.", examples=["http://localhost:4566"]
        )

    config: Config

    @property
    def resource_id(self) -> str:
        """The secret's ARN."""
        return str(self._call("describe_secret")["ARN"])

    def __call__(self) -> str | dict[str, Any]:
        """The secret's text, or the mapping in it."""
        found = self._call("get_secret_value")
        if "SecretString" not in found:
            raise SecretUnavailable(
                f"the secret {self.config.secret_name} is binary", hint="store it as text, or as JSON"
            )
        text = str(found["SecretString"])
        try:
            value = json.loads(text)
        except ValueError:
            return text
        return value if isinstance(value, dict) else text

    def _call(self, operation: str) -> dict[str, Any]:
        from pipeline_flow import aws

        client = aws.client("secretsmanager", self.config.region, self.config.endpoint_url)
        found: dict[str, Any] = aws.answer(
            f"the secret {self.config.secret_name}",
            getattr(client, operation),
            SecretId=self.config.secret_name,
        )
        return found
