"""Environment variables as secrets."""

from __future__ import annotations

import os

from pydantic import Field

from pipeline_flow.core.suggest import nearest
from pipeline_flow.errors import SecretUnavailable
from pipeline_flow.plugins.base import ISecretManager, PluginConfig


class EnvSecret(ISecretManager, plugin_name="env"):
    """Reads a secret from an environment variable."""

    class Config(PluginConfig):
        variable: str = Field(description="The variable's name.", examples=["WAREHOUSE_URL"])

    config: Config

    @property
    def resource_id(self) -> str:
        """The variable's name."""
        return self.config.variable

    def __call__(self) -> str:
        """The variable's value."""
        value = os.environ.get(self.config.variable)
        if value is None:
            near = nearest(self.config.variable, os.environ)
            raise SecretUnavailable(
                f"the environment variable `{self.config.variable}` is not set",
                hint=f"did you mean `{near}`?" if near else "set it before the run",
            )
        return value
