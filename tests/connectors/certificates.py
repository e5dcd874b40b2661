"""An authority of one's own and what it signs."""

from __future__ import annotations

import socket
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate's file, its key's, and that of the authority that signed it."""

    file: Path
    key: Path
    authority: Path


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def certificate(folder: Path, name: str, *names: str) -> Certificate:
    """A certificate for ``names`` (``DNS:db.example.com``, ``IP:127.0.0.1``) and its authority, in files that begin with ``name``."""
    made = Certificate(folder / f"{name}.crt", folder / f"{name}.key", folder / f"{name}-authority.crt")
    authority_key, request = folder / f"{name}-authority.key", folder / f"{name}.csr"
    _openssl(
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test authority",
        "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        "-keyout", str(authority_key), "-out", str(made.authority),
    )  # fmt: skip
    _openssl(
        "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test server",
        "-keyout", str(made.key), "-out", str(request),
    )  # fmt: skip
    extensions = folder / f"{name}.ext"
    extensions.write_text(f"subjectAltName={','.join(names)}\n", encoding="ascii")
    _openssl(
        "x509", "-req", "-in", str(request), "-CA", str(made.authority), "-CAkey", str(authority_key), "-CAcreateserial",
        "-days", "2", "-extfile", str(extensions), "-out", str(made.file),
    )  # fmt: skip
    return made


def local_name() -> str:
    """A name of this machine that does not look like one."""
    name = socket.gethostname()
    try:
        local = socket.gethostbyname(name).startswith("127.")
    except OSError:
        local = False
    if not local or name == "localhost":
        pytest.skip("this machine's name leads to no loopback address")
    return name
