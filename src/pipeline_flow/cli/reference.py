"""The URLs of servers as a configuration holds them: a password is a secret that an environment variable holds."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from pipeline_flow.sql import url as urls


@dataclass(slots=True)
class References:
    """The passwords that a configuration must not hold, each under the name of a secret."""

    _passwords: dict[str, str] = field(default_factory=dict)
    _owners: dict[str, str] = field(default_factory=dict)

    def url(self, text: str) -> str:
        """A server's URL with a reference where its password stands; other text as it is, nothing in it a placeholder.

        Raises:
            WrongArgument: the URL cannot be read.
        """
        database = urls.parse(text)
        if database.password is None:
            return text.replace("${{", "$${{")
        scheme, _, rest = text.partition("://")
        address, slash, tail = rest.partition("/")
        credentials, _, place = address.rpartition("@")
        user, _, password = credentials.partition(":")
        name = self._name(database.name, password)
        self._owners[name] = f"{database.user} in {database}"
        before, after = (
            part.replace("${{", "$${{") for part in (f"{scheme}://{user}", f"{place}{slash}{tail}")
        )
        return f"{before}:${{{{ secrets.{name} }}}}@{after}"

    def _name(self, database: str, password: str) -> str:
        words = re.sub(r"[^a-z0-9]+", "_", database.lower()).strip("_") or "database"
        first = name = f"{words if words[0].isalpha() else f'db_{words}'}_password"
        number = 1
        while self._passwords.setdefault(name, password) != password:
            number += 1
            name = f"{first}_{number}"
        return name

    @property
    def secrets(self) -> dict[str, dict[str, object]]:
        """What stands under ``secrets``."""
        return {
            name: {"plugin": "env", "args": {"variable": name.upper()}} for name in sorted(self._passwords)
        }

    @property
    def to_set(self) -> list[str]:
        """What has to be set before a run, a line for each."""
        return [
            f"set {name.upper()} to the password of {owner}, as the URL has it (%40 for @)"
            for name, owner in sorted(self._owners.items())
        ]
