"""Files as secrets, such as container platforms mount them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import Field

from pipeline_flow.errors import SecretUnavailable
from pipeline_flow.plugins.base import ISecretManager, PluginConfig


class FileSecret(ISecretManager, plugin_name="file"):
    """Reads a secret from a file: its text without the line break at the end, or a mapping where the file is one in JSON.

    The values of a mapping are read with `${{ secrets.name.key }}`.
    """

    class Config(PluginConfig):
        path: str = Field(
            description="The file. Relative paths start from the working folder.",
            examples=["/run/secrets/warehouse"],
        )

    config: Config

    @property
    def resource_id(self) -> str:
        """The file's path."""
        return self.config.path

    def __call__(self) -> str | dict[str, Any]:
        """The file's text, or the mapping in it."""
        path = Path(self.config.path).expanduser()
        try:
            text = path.read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            where = "" if path.is_absolute() else f"paths start from the working folder, {Path.cwd()}"
            raise SecretUnavailable(f"the file {self.config.path} does not exist", hint=where) from None
        except UnicodeDecodeError:
            raise SecretUnavailable(f"the file {self.config.path} is not UTF-8 text") from None
        except OSError as error:
            raise SecretUnavailable(f"the file {self.config.path} cannot be read: {error.strerror}") from None
        if text.lstrip().startswith("{"):
            try:
                value = json.loads(text)
            except ValueError:
                value = None  # a secret may begin with a brace
            if isinstance(value, dict):
                return value
        return text.removesuffix("\n").removesuffix("\r")
