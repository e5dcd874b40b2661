"""What a program prints as a secret: the way to every secret store that has a command line."""

from __future__ import annotations

import json
import shlex
import subprocess
from typing import Any

from pydantic import Field, field_validator

from pipeline_flow.errors import SecretUnavailable
from pipeline_flow.plugins.base import ISecretManager, PluginConfig


class CommandSecret(ISecretManager, plugin_name="command"):
    """Runs a program and takes what it prints: its text without the line break at the end, or a mapping where that is JSON.

    The program is started as it is, without a shell. The values of a mapping are read with `${{ secrets.name.key }}`.
    What it prints is never shown; of what it writes to stderr, the last line is, where it fails.
    """

    class Config(PluginConfig):
        command: str | list[str] = Field(
            description="The program and its arguments, as a list or as a line that is split like a shell splits it.",
            examples=["vault kv get -field=url secret/warehouse", ["op", "read", "op://data/warehouse/url"]],
        )
        timeout: float = Field(
            default=30.0, gt=0, description="Seconds after which the program is ended.", examples=[10]
        )

        @field_validator("command")
        @classmethod
        def _is_command(cls, value: str | list[str]) -> str | list[str]:
            try:
                parts = shlex.split(value) if isinstance(value, str) else value
            except ValueError as error:
                raise ValueError(f"the command cannot be split: {error}") from None
            if not parts:
                raise ValueError("the command is empty")
            return value

    config: Config

    @property
    def resource_id(self) -> str:
        """The program."""
        return self._parts()[0]

    def _parts(self) -> list[str]:
        command = self.config.command
        return shlex.split(command) if isinstance(command, str) else list(command)

    def __call__(self) -> str | dict[str, Any]:
        """What the program prints."""
        program, *arguments = self._parts()
        try:
            done = subprocess.run(  # noqa: S603 - the configuration names the program; no shell is between
                [program, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=self.config.timeout,
                check=False,
            )
        except FileNotFoundError:
            raise SecretUnavailable(
                f"there is no program `{program}`", hint="install it, or name its path"
            ) from None
        except PermissionError:
            raise SecretUnavailable(f"the program `{program}` may not be started: no permission") from None
        except subprocess.TimeoutExpired:
            raise SecretUnavailable(
                f"the program `{program}` took longer than {self.config.timeout:g} s",
                hint="raise `timeout`; it may be waiting for an answer, and gets none",
            ) from None
        except OSError as error:
            raise SecretUnavailable(f"the program `{program}` cannot be started: {error.strerror}") from None
        if done.returncode:
            lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise SecretUnavailable(
                f"the program `{program}` ended with {done.returncode}" + (f": {lines[-1]}" if lines else "")
            )
        try:
            text = done.stdout.decode("utf-8")
        except UnicodeDecodeError:
            raise SecretUnavailable(f"what the program `{program}` prints is not UTF-8 text") from None
        return _mapping(text) or text.removesuffix("\n").removesuffix("\r")


def _mapping(text: str) -> dict[str, Any] | None:
    if not text.lstrip().startswith("{"):
        return None
    try:
        value = json.loads(text)
    except ValueError:  # a secret may begin with a brace
        return None
    return value if isinstance(value, dict) else None
