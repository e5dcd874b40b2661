"""How a client says who it is. What is declared here reaches the origin of the base URL and no other."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from pipeline_flow.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterable


def _secret(value: Any) -> Any:
    if isinstance(value, Secret):
        return value
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError("takes text")  # noqa: TRY004 - what pydantic reports
    return Secret(str(value))


SecretText: TypeAlias = Annotated[Secret, BeforeValidator(_secret)]


class _Auth(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, arbitrary_types_allowed=True, populate_by_name=True
    )

    @property
    def words(self) -> str:
        """What is in use, for messages: never the secret."""
        raise NotImplementedError

    def headers(self) -> dict[str, str]:
        """The headers that carry it."""
        return {}

    def query(self) -> dict[str, str]:
        """The query keys that carry it."""
        return {}

    def secrets(self) -> Iterable[str]:
        """What must never be shown."""
        yield from self.headers().values()
        yield from self.query().values()


class Bearer(_Auth):
    """A token in the header ``Authorization: Bearer``."""

    type: Literal["bearer"]
    token: SecretText

    @property
    def words(self) -> str:
        """See :class:`_Auth`."""
        return "the bearer token"

    def headers(self) -> dict[str, str]:
        """See :class:`_Auth`."""
        return {"Authorization": f"Bearer {self.token.reveal()}"}

    def secrets(self) -> Iterable[str]:
        """See :class:`_Auth`."""
        yield self.token.reveal()


class Basic(_Auth):
    """A user name and a password in the header ``Authorization: Basic``."""

    type: Literal["basic"]
    username: SecretText
    password: SecretText = Secret("")

    @property
    def words(self) -> str:
        """See :class:`_Auth`."""
        return "the user name and password"

    def headers(self) -> dict[str, str]:
        """See :class:`_Auth`."""
        return {"Authorization": f"Basic {self._pair()}"}

    def secrets(self) -> Iterable[str]:
        """See :class:`_Auth`."""
        yield from (self.password.reveal(), self._pair())

    def _pair(self) -> str:
        text = f"{self.username.reveal()}:{self.password.reveal()}"
        return base64.b64encode(text.encode("utf-8")).decode("ascii")


class ApiKey(_Auth):
    """A key in a header or in the query."""

    type: Literal["api_key"]
    name: str = Field(min_length=1)
    value: SecretText
    place: Literal["header", "query"] = Field("header", alias="in")

    @property
    def words(self) -> str:
        """See :class:`_Auth`."""
        return f"the key `{self.name}` in the {self.place}"

    def headers(self) -> dict[str, str]:
        """See :class:`_Auth`."""
        return {self.name: self.value.reveal()} if self.place == "header" else {}

    def query(self) -> dict[str, str]:
        """See :class:`_Auth`."""
        return {self.name: self.value.reveal()} if self.place == "query" else {}


Auth: TypeAlias = Annotated[
    Annotated[Bearer | Basic | ApiKey, Field(discriminator="type")] | None,
    Field(
        description="Who asks: a bearer token, a user name with a password, or a key in a header or in the query. It is "
        "sent to the origin (scheme, host and port) of `base_url` and to no other.",
        examples=[{"type": "bearer", "token": "${{ secrets.api }}"}],
    ),
]
