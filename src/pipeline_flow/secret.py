"""Secrets: references until the moment of use, and the redactor that stands before every sink.

A configuration holds :class:`SecretReference` (a name) and :class:`SecretText` (text around names). They are opened
when a run starts. Plugins that ask for a :class:`Secret` get the value in a wrapper that does not print.
"""

from __future__ import annotations

import base64
import binascii
import functools
import html
import json
import re
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MASK = "***"
_SHORTEST_REDACTED = 4  # characters; shorter values would mask half of every message
_SHORTEST_LINE = 12  # characters of a line of a secret of several lines
_SHORT_WORD = 8
_SHORTEST_BROKEN = 10  # characters; shorter ones would be found between two ordinary words


@dataclass(frozen=True, slots=True)
class SecretReference:
    """Where a secret will come from: the name under ``secrets:`` and, for secrets that are mappings, the key in it.

    ``origin`` is the position in the configuration as text, for messages.
    """

    name: str
    key: str | None = None
    origin: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"${{{{ secrets.{self.name}{'.' + self.key if self.key else ''} }}}}"


@dataclass(frozen=True, slots=True)
class SecretText:
    """Text with secrets in it, such as ``Bearer ${{ secrets.token }}``: literal parts and references in order."""

    parts: tuple[str | SecretReference, ...]

    def __str__(self) -> str:
        return "".join(str(part) for part in self.parts)

    def open(self, values: Callable[[SecretReference], Any]) -> str:
        """The text with every reference replaced by its value."""
        return "".join(part if isinstance(part, str) else str(values(part)) for part in self.parts)


class Secret:
    """A value that prints as ``***`` and refuses to be serialised. ``reveal()`` gives the value."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself. Call it at the moment of use and keep the result nowhere."""
        return self._value

    def __str__(self) -> str:
        return MASK

    def __repr__(self) -> str:
        return f"Secret({MASK!r})"

    def __format__(self, spec: str) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __bool__(self) -> bool:
        return bool(self._value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be serialised")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """Models take text for it, and whole numbers as their text."""
        from pydantic_core import core_schema

        def secret(value: Any) -> Secret:
            if isinstance(value, Secret):
                return value
            if isinstance(value, bool) or not isinstance(value, str | int):
                raise ValueError("takes text")  # noqa: TRY004 - what pydantic reports
            return cls(str(value))

        return core_schema.no_info_plain_validator_function(secret)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        return {"type": "string"}


def holds_secret(value: Any) -> bool:
    """Whether ``value``, or anything inside it, is a reference to a secret."""
    if isinstance(value, SecretReference | SecretText):
        return True
    if isinstance(value, dict):
        return any(holds_secret(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(holds_secret(item) for item in value)
    return False


def references(value: Any) -> Iterable[SecretReference]:
    """Every reference inside ``value``."""
    if isinstance(value, SecretReference):
        yield value
    elif isinstance(value, SecretText):
        yield from (part for part in value.parts if isinstance(part, SecretReference))
    elif isinstance(value, dict):
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from references(item)


def open_references(value: Any, values: Callable[[SecretReference], Any]) -> Any:
    """A copy of ``value`` (maps, lists, scalars) with every reference replaced by what ``values`` gives for it.

    A reference that stands alone keeps the type of its value; inside text it becomes text.
    """
    if isinstance(value, SecretReference):
        return values(value)
    if isinstance(value, SecretText):
        return value.open(values)
    if isinstance(value, dict):
        return {key: open_references(item, values) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [open_references(item, values) for item in value]
    return value


# ------------------------------------------------------------------------------------------- secret by nature

_SECRET_NAME = re.compile(
    r"(?:^|_)(?:passwords?|passwd|passphrase|pwd|secrets?|tokens?|credentials?|authorization|cookie"
    r"|(?:api|access|account|auth|private|secret|shared|signing|encryption)_?keys?)(?:_value|_base64)?$"
)
_NO_SECRET = re.compile(r"(?:^|_)(?:next|page|continuation|cursor|sync|max|min|num)_?(?:page_?)?tokens?$")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@functools.lru_cache(maxsize=4096)
def is_secret_name(name: str) -> bool:
    """Whether a name says that a secret stands under it: ``password``, ``X-Api-Key``, ``clientSecret``, ``DB_TOKEN``."""
    words = _HUMP.sub("_", name).replace("-", "_").replace(".", "_").lower()
    return _SECRET_NAME.search(words) is not None and _NO_SECRET.search(words) is None


def confidential(value: Any, *, named: bool = False) -> Iterator[str]:
    """The texts inside ``value`` that are secret by nature although they stand there in clear.

    Those under a name of :func:`is_secret_name`, passwords in URLs and connection strings, and values of such names in
    the query of a URL. With ``named`` the value itself stands under such a name.
    """
    if isinstance(value, dict):
        beside = value.get("name") or value.get("key")  # {name: X-Api-Key, value: …}
        for key, item in value.items():
            of_name = key == "value" and isinstance(beside, str) and is_secret_name(beside)
            yield from confidential(item, named=named or of_name or is_secret_name(str(key)))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from confidential(item, named=named)
    elif isinstance(value, str):
        if named:
            yield from _credentials(value)
        yield from _in_connection(value)
    elif isinstance(value, SecretText):
        for part in value.parts:
            if isinstance(part, str):
                yield from _in_connection(part)
    elif named and isinstance(value, int) and not isinstance(value, bool):
        yield str(value)


def _credentials(value: str) -> Iterator[str]:
    yield value
    scheme, _, rest = value.partition(" ")
    if not rest or not scheme.isalpha():
        return
    yield rest
    if scheme.lower() == "basic":
        try:
            pair = base64.b64decode(rest, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return
        yield pair.partition(":")[2]


_PASSWORD_PAIR = re.compile(
    r"""\b(?:password|passwd|pwd|passphrase|accountkey)\s*=\s*('(?:[^'\\]|\\.)*'|"[^"]*"|\{(?:[^}]|\}\})*\}|[^;\s&]+)""",
    re.IGNORECASE,
)
_UNSAFE_PASSWORD = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^:@/\s]*:(?P<password>\S+)@")


def _in_connection(value: str) -> Iterator[str]:
    if "=" in value:
        for found in _PASSWORD_PAIR.finditer(value):
            yield found[1].strip("'\"{}")
    if "://" not in value:
        return
    try:
        url = urlsplit(value.strip())
        password, query = url.password, parse_qsl(url.query)
        url.port  # noqa: B018 - it raises where what stands there is the beginning of a password
        names = [url.username] if url.scheme in ("http", "https") and password is None else []
    except ValueError:
        unsafe = _UNSAFE_PASSWORD.match(value.strip())
        password, query, names = (unsafe["password"] if unsafe is not None else None), [], []
    for text in (password, *names):
        if text:
            yield text
            yield unquote(text)
    for name, text in query:
        if is_secret_name(name):
            yield text
        elif "=" in text:  # a connection string inside of the URL
            yield from (found[1].strip("'\"{}") for found in _PASSWORD_PAIR.finditer(text))


# It begins at `://`, not at the scheme, to take time in proportion to the text. A password that should have been
# encoded may hold an `@`: it ends at the last one.
_USER_INFO = re.compile(
    # A password with a bare slash is no part of a URL as it should be, and a password all the same; but `//host:1/x@y` has none.
    r"""(?<!http)(?<!https)(?P<user>://[^/\s:@]*):(?!\d+/)(?P<password>(?:(?!://)[^\s"'])+)@"""
    r"|(?P<strict_user>://[^/\s:@]*):(?P<strict_password>[^/\s]+)@"
)
_LONE_USER = re.compile(r"://(?P<user>[^/\s:@?#]+)@")


def mask_url(text: str) -> str:
    """``text`` with the passwords of all URLs in it masked, and users without a password in those for HTTP: a token."""
    return _masked_urls(text, lambda _: MASK)


def _masked_urls(text: str, mask: Callable[[str], str]) -> str:
    def with_password(found: re.Match[str]) -> str:
        user = found["user"] or found["strict_user"]
        return f"{user}:{mask(found['password'] or found['strict_password'])}@"

    text = _USER_INFO.sub(with_password, text)

    def lone(found: re.Match[str]) -> str:
        scheme = found.string[max(0, found.start() - 5) : found.start()].lower()
        return f"://{mask(found['user'])}@" if scheme.endswith(("http", "https")) else found[0]

    return _LONE_USER.sub(lone, text)


_NAMED_VALUE = re.compile(
    r"""(?P<name>[A-Za-z_][\w.-]*)["']?\s*[:=]\s*(?P<value>"(?:[^"\\]|\\.)*"?|'(?:[^']|'')*'?|[^\s,}\]#'"&*|>][^,}\]#]*)"""
)


def blot_line(line: str) -> str:
    """A line of YAML with what is secret by nature under as many stars: columns stay where they are."""

    def blot(found: re.Match[str]) -> str:
        value = found["value"].rstrip()
        if not is_secret_name(found["name"]) or "${{" in value:
            return found[0]
        quoted = value[0] in "'\""
        closed = quoted and len(value) > 1 and value[-1] == value[0]
        start = found.start("value") - found.start() + quoted
        inner = len(value) - quoted - closed
        return f"{found[0][:start]}{'*' * inner}{found[0][start + inner :]}"

    line = _NAMED_VALUE.sub(blot, line)
    return _masked_urls(line, lambda value: "*" * len(value)) if "://" in line else line


# ----------------------------------------------------------------------------------------------- the redactor


class Redactor:
    """Replaces every known secret in a text by ``***``, as it is and as it looks in other notations.

    Those are: percent-encoding (once and twice, digits large and small), JSON and Python escapes, HTML, quoting for a
    shell, hexadecimal digits, base64 (also inside longer data, as Basic authentication makes it), and a text that was
    broken into several lines. The lines of a secret that has several (a private key) are secrets too.
    """

    def __init__(self) -> None:
        self._values: set[str] = set()
        self._words: set[str] = set()
        self._learned = 0
        self._pattern: re.Pattern[str] | None = None
        self._broken: re.Pattern[str] | None = None

    def add(self, value: Any) -> None:
        """Remembers ``value``; mappings and lists are taken apart. Texts under four characters are not remembered."""
        for text in _texts(value):
            if len(text) < _SHORTEST_REDACTED:
                continue
            self._values.add(text)
            lines = text.splitlines()
            if len(lines) > 1:
                self._values.update(
                    line.strip()
                    for line in lines
                    if len(line.strip()) >= _SHORTEST_LINE and "-----" not in line
                )

    def add_confidential(self, values: Iterable[str]) -> None:
        """Remembers what stood in clear in a configuration, as :func:`confidential` finds it.

        A short word among it (``postgres``) may be part of other words, and is masked only where it stands alone.
        """
        for text in values:
            if len(text) < _SHORT_WORD and text.isalnum():
                if len(text) >= _SHORTEST_REDACTED:
                    self._words.add(text)
            else:
                self.add(text)

    def __call__(self, text: str) -> str:
        """``text`` without any remembered secret and without passwords in URLs."""
        return self._masked(text, lambda _: MASK)

    def blot(self, text: str) -> str:
        """One line with every secret under as many stars as it has characters: columns stay where they are."""
        return self._masked(text, lambda found: "*" * len(found))

    def _masked(self, text: str, mask: Callable[[str], str]) -> str:
        self._learn()
        if self._pattern is not None:
            text = self._pattern.sub(lambda found: mask(found[0]), text)
        if self._broken is not None and ("\n" in text or "\\n" in text):
            text = _across_lines(self._broken, text)
        return _masked_urls(text, mask) if "://" in text else text

    def _learn(self) -> None:
        known = len(self._values) + len(self._words)
        if known == self._learned:
            return
        forms = {form for value in list(self._values) for form in _forms(value)}
        words = {form for word in list(self._words) for form in _forms(word)}
        parts = [_any_of(forms)] if forms else []
        if words:
            parts.append(rf"(?<![A-Za-z0-9])(?:{_any_of(words)})(?![A-Za-z0-9])")
        self._pattern = re.compile("|".join(parts))
        unbroken = {short for form in forms if len(short := "".join(form.split())) >= _SHORTEST_BROKEN}
        self._broken = re.compile(_any_of(unbroken)) if unbroken else None
        self._learned = known


def _texts(value: Any) -> Iterator[str]:
    """Every text inside ``value``; numbers are texts too."""
    if isinstance(value, Secret):
        value = value.reveal()
    if isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, bytes):
        yield value.decode("utf-8", "replace")
    elif value is not None and not isinstance(value, bool):
        yield str(value)


_ESCAPED_BYTE = re.compile(r"%(?:25)*[0-9A-F]{2}")
_ESCAPED_UNICODE = re.compile(r"\\+[uxU][0-9a-f]{2,8}")
_BACKSLASHES = re.compile(r"\\+")
_NOT_PLAIN_IN_SHELL = re.compile(r"[^\w@%+=:,./-]")


def _forms(text: str) -> set[str]:
    """Every notation in which ``text`` is looked for. One backslash stands for any number: each quoting doubles them."""
    raw = text.encode("utf-8", "surrogatepass")
    urls = {
        quote(text, safe="", errors="replace"),
        quote(text, errors="replace"),
        quote_plus(text, errors="replace"),
        "".join(f"%{byte:02X}" for byte in raw),
    }
    urls |= {quote(form, safe=safe) for form in urls for safe in ("", "/")}
    urls |= {_ESCAPED_BYTE.sub(lambda found: found[0].lower(), form) for form in urls}
    escaped = {
        text,
        html.escape(text),
        html.escape(text, quote=False),
        text.replace("'", "'\"'\"'"),  # in quotes for a shell
        text.replace("'", "'\\''"),
        _NOT_PLAIN_IN_SHELL.sub(r"\\\g<0>", text),
    }
    for _ in range(2):  # JSON in a text that Python quotes, or the other way round
        escaped |= {form for inner in escaped for form in _escapes(inner)}
    escaped |= {_ESCAPED_UNICODE.sub(_large_digits, form) for form in escaped}
    others = {repr(raw)[2:-1], raw.hex(), raw.hex().upper()}
    for plain in {raw, quote(text, safe="", errors="replace").encode()}:
        for encoded in _base64(plain):
            others |= {encoded, encoded.replace("+", "-").replace("/", "_")}
    single = {_BACKSLASHES.sub(r"\\", form) for form in urls | escaped | others}
    return {form for form in single if len(form) >= _SHORTEST_REDACTED}


def _escapes(text: str) -> set[str]:
    as_json = json.dumps(text)[1:-1]
    return {
        as_json,
        as_json.replace("/", "\\/"),
        json.dumps(text, ensure_ascii=False)[1:-1],
        repr(text)[1:-1],
        ascii(text)[1:-1],
        repr(f"{text}'\"")[1:-4],  # how it looks beside quotes of both kinds
    }


def _large_digits(found: re.Match[str]) -> str:
    start = len(found[0]) - len(found[0].lstrip("\\")) + 1
    return found[0][:start] + found[0][start:].upper()


def _base64(raw: bytes) -> Iterator[str]:
    """``raw`` in base64, and, for each place in longer data where it may stand, the characters that are its alone."""
    yield base64.b64encode(raw).decode()
    for before in range(3):
        text = base64.b64encode(b"\0" * before + raw + b"\0\0").decode()
        yield text[-(-8 * before // 6) : 8 * (before + len(raw)) // 6]


def _any_of(forms: Iterable[str]) -> str:
    """A pattern for any of ``forms``, longer ones first; grouped by their beginnings, or each would be tried everywhere."""
    groups: dict[str, dict[str, list[str]]] = {}
    for form in sorted(forms, key=lambda form: (-len(form), form)):
        groups.setdefault(form[0], {}).setdefault(form[1:3], []).append(form[3:])
    return "|".join(
        f"{_escaped(first)}(?:"
        + "|".join(f"{_escaped(start)}(?:{'|'.join(map(_escaped, rest))})" for start, rest in group.items())
        + ")"
        for first, group in groups.items()
    )


def _escaped(text: str) -> str:
    return r"\\+".join(re.escape(part) for part in text.split("\\"))


_GAP = re.compile(r"(?:\\*['\"])?[ \t]*(?:\r|\\+r)?(?:\n|\\+n)[ \t]*(?:b?\\*['\"])?|\s+")


def _across_lines(pattern: re.Pattern[str], text: str) -> str:
    """Masks what is a secret where spaces and breaks are taken out, as pprint, base64 and terminals break long texts."""
    pieces, starts, origins, length = [], [0], [0], 0
    for gap in _GAP.finditer(text):
        pieces.append(text[origins[-1] : gap.start()])
        length += len(pieces[-1])
        starts.append(length)
        origins.append(gap.end())
    joined = "".join([*pieces, text[origins[-1] :]])
    result, at = [], 0
    for found in pattern.finditer(joined):
        first = bisect_right(starts, found.start()) - 1
        last = bisect_right(starts, found.end() - 1) - 1
        result += [text[at : origins[first] + found.start() - starts[first]], MASK]
        at = origins[last] + found.end() - starts[last]
    return "".join([*result, text[at:]])


def redacted(value: Any, redact: Callable[[str], str]) -> Any:
    """Plain data with secrets masked text by text: in the whole a secret such as 2024 would also be found in numbers."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: redacted(item, redact) for key, item in value.items()}
    if isinstance(value, list):
        return [redacted(item, redact) for item in value]
    return value
