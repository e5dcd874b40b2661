"""A `.env` file as secrets."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from pipeline_flow.core.suggest import hint
from pipeline_flow.errors import SecretUnavailable
from pipeline_flow.plugins.base import ISecretManager, PluginConfig


class DotenvSecret(ISecretManager, plugin_name="dotenv"):
    """Reads a secret from a file of lines `NAME=value`.

    With `variable` the secret is that value; without it the secret is a mapping, and `${{ secrets.name.KEY }}` reads one
    value. Values may stand in quotes; `$NAME` in a value is not replaced.
    """

    class Config(PluginConfig):
        path: str = Field(
            default=".env",
            description="The file. Relative paths start from the working folder.",
            examples=[".env.prod"],
        )
        variable: str | None = Field(
            default=None, description="The one name whose value is the secret.", examples=["WAREHOUSE_URL"]
        )

    config: Config

    @property
    def resource_id(self) -> str:
        """The file's path."""
        return self.config.path

    def __call__(self) -> str | dict[str, str]:
        """The value, or all values by name."""
        from dotenv import dotenv_values

        path = Path(self.config.path).expanduser()
        if not path.is_file():
            where = "" if path.is_absolute() else f"paths start from the working folder, {Path.cwd()}"
            raise SecretUnavailable(f"the file {self.config.path} does not exist", hint=where)
        try:
            found = dotenv_values(path, interpolate=False, encoding="utf-8-sig")
        except UnicodeDecodeError:
            raise SecretUnavailable(f"the file {self.config.path} is not UTF-8 text") from None
        except OSError as error:
            raise SecretUnavailable(f"the file {self.config.path} cannot be read: {error.strerror}") from None
        values = {name: value for name, value in found.items() if value is not None}
        if self.config.variable is None:
            return values
        if self.config.variable not in values:
            raise SecretUnavailable(
                f"the file {self.config.path} has no `{self.config.variable}`",
                hint=hint(self.config.variable, values, "it has"),
            )
        return values[self.config.variable]
