"""AWS Systems Manager's parameters."""

from __future__ import annotations

from pydantic import Field

from pipeline_flow.plugins.base import ISecretManager, PluginConfig


class SsmParameter(ISecretManager, plugin_name="aws_ssm"):
    """Reads a parameter from AWS Systems Manager's Parameter Store; a `SecureString` is decrypted.

    `resource_id` is its ARN. Credentials come from where AWS's own tools look for them. Needs the extra `aws`.
    """

    class Config(PluginConfig):
        parameter: str = Field(description="The parameter's name or ARN.", examples=["/prod/warehouse/url"])
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
        """The parameter's ARN."""
        return self._parameter()["ARN"]

    def __call__(self) -> str:
        """The parameter's value."""
        return self._parameter()["Value"]

    def _parameter(self) -> dict[str, str]:
        from pipeline_flow import aws

        client = aws.client("ssm", self.config.region, self.config.endpoint_url)
        found: dict[str, str] = aws.answer(
            f"the parameter {self.config.parameter}",
            client.get_parameter,
            Name=self.config.parameter,
            WithDecryption=True,
        )["Parameter"]
        return found
