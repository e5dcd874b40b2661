"""Arguments that the plugins for HTTP share, in the same words everywhere."""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field

from pipeline_flow.http.auth import SecretText

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OURS = ("host", "content-length", "transfer-encoding", "connection")
_PER = {"s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*/\s*(s|min|m|h)")


def _headers(value: dict[str, Any]) -> dict[str, Any]:
    for name, secret in value.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} cannot be the name of a header")
        if name.lower() in _OURS:
            raise ValueError(f"the header {name} is set by the client itself")
        text = secret.reveal()
        if not text.isprintable() or not text.isascii():
            raise ValueError(f"the header {name} holds characters that a header cannot hold")
    return value


def _rate(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
        return float(value)
    found = _RATE.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None or float(found[1]) <= 0:
        raise ValueError("write requests per time, such as 10/s, 600/min or 1000/h")
    return float(found[1]) / _PER[found[2]]


Headers: TypeAlias = Annotated[
    dict[str, SecretText],
    AfterValidator(_headers),
    Field(
        description="Headers of every request to the origin of `base_url`; another origin never gets them.",
        examples=[{"X-Tenant": "shop"}],
    ),
]

RateLimit: TypeAlias = Annotated[
    float | None,
    BeforeValidator(_rate),
    Field(
        description="How often the server may be asked, all steps of the run together: requests per second, or 10/s, "
        "600/min, 1000/h.",
        examples=["10/s"],
    ),
]

Timeout: TypeAlias = Annotated[
    float,
    Field(
        gt=0,
        description="Seconds to wait for a connection, and for each further piece of an answer.",
        examples=[60],
    ),
]

Attempts: TypeAlias = Annotated[
    int,
    Field(
        ge=1,
        le=100,
        description="How often one request is tried before the step fails: after 429, 502, 503 and 504, lost "
        "connections and timeouts, with growing pauses or after what `Retry-After` says. Pages that were read stay read.",
        examples=[8],
    ),
]

AllowOrigins: TypeAlias = Annotated[
    list[str],
    Field(
        description="Other origins (scheme, host, port) that next-page links and redirects may lead to. They are asked "
        "without credentials, cookies and headers of this step. All others are refused.",
        examples=[["https://cdn.example.com"]],
    ),
]
