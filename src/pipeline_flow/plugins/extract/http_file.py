"""Files on a web server as a source."""

from __future__ import annotations

import hashlib
import inspect
import re
import secrets
import shutil
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, field_validator

from pipeline_flow.core.spec import Supplied, Unbuilt
from pipeline_flow.errors import PipelineFlowError, SourceMalformed, WrongArgument
from pipeline_flow.http import client as http
from pipeline_flow.http import field
from pipeline_flow.http.auth import Auth
from pipeline_flow.plugins.base import NESTED, IExtractPlugin, PluginConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    import pyarrow as pa

    from pipeline_flow.data import BatchStream
    from pipeline_flow.http.client import Answer

_MAX_BYTES = 10 * 1024**3
_PIECE = 4 * 1024 * 1024
_PACKINGS = {"gzip": "gzip", "x-gzip": "gzip", "zstd": "zstd", "br": "brotli"}
_PACKED_NAMES = {"gzip": (".gz", ".tgz"), "zstd": (".zst",), "brotli": (".br",)}
_MAGIC = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd"}
_SHA256 = re.compile(r"sha256:[0-9a-fA-F]{64}")


class HttpFileExtract(IExtractPlugin, plugin_name="http_file"):
    """Downloads files and reads them with another extract plugin.

    The files lie in the run's private folder while they are read. A file that is packed itself (`.gz`, `.zst`) stays so for
    its reader; packing that is only the server's way to send it is undone.

    Credentials belong to the origin of `url`: its scheme, host and port. A redirect elsewhere is refused unless
    `allow_origins` lists it, and then followed without them.
    """

    class Config(PluginConfig):
        url: str | list[str] = Field(
            description="The address of a file, or a list of addresses; they are read in this order.",
            examples=["https://example.com/data/orders.csv.gz"],
        )
        reader: Annotated[
            IExtractPlugin | Unbuilt,
            Supplied("path"),
            NESTED,
            Field(
                description="The extract plugin that reads the files, with its `args`; `path` is filled in.",
                examples=[{"plugin": "csv", "args": {"delimiter": ";"}}],
            ),
        ]
        headers: field.Headers = Field(default_factory=dict)
        auth: Auth = None
        checksum: str | list[str] | None = Field(
            default=None,
            description="What the file must be, as `sha256:` and 64 hexadecimal digits; for several files a list in their order.",
            examples=["sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
        )
        max_bytes: int = Field(
            _MAX_BYTES, ge=1, description="How many bytes one file may have.", examples=[1_000_000]
        )
        timeout: field.Timeout = http.TIMEOUT
        attempts: field.Attempts = http.ATTEMPTS
        rate_limit: field.RateLimit = None
        allow_origins: field.AllowOrigins = Field(default_factory=list)

        @field_validator("url")
        @classmethod
        def _some(cls, value: str | list[str]) -> str | list[str]:
            if not value:
                raise ValueError("name at least one file")
            return value

        @field_validator("checksum")
        @classmethod
        def _sha256(cls, value: str | list[str] | None) -> str | list[str] | None:
            for item in [value] if isinstance(value, str) else value or []:
                if not _SHA256.fullmatch(item):
                    raise ValueError(f"{item!r} is not sha256: and 64 hexadecimal digits")
            return value

    streams: ClassVar[bool] = True
    holds_database: ClassVar[bool] = False
    config: Config

    async def __call__(self) -> BatchStream:
        """The rows of all files."""
        run = self.context.to_thread
        folder: Path = await run(self._new_folder)
        try:
            files = await self._download(folder)
            return await self._read(folder, files)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _new_folder(self) -> Path:
        folder = self.context.resources.folder() / f"http-{secrets.token_hex(6)}"
        folder.mkdir(mode=0o700)
        return folder

    # ------------------------------------------------------------------------------------------ downloading

    def _settings(self, urls: list[str]) -> http.Settings:
        from pipeline_flow.http import link

        config = self.config
        others = [url for url in urls if link.parse(url, "url").origin != link.parse(urls[0], "url").origin]
        if others and (config.auth is not None or config.headers):
            raise WrongArgument(
                f"`auth` and `headers` belong to one origin, and `url` names several: {link.shown(others[0])}",
                hint="write a step for each",
            )
        return http.Settings(
            base_url=urls[0],
            headers=config.headers,
            auth=config.auth,
            timeout=config.timeout,
            retrying=http.Retrying(attempts=config.attempts),
            rate=config.rate_limit,
            allow_origins=[*config.allow_origins, *others],
            accept="*/*",
            argument="url",
        )

    async def _download(self, folder: Path) -> dict[Path, str]:
        """Each file with its URL as it may be shown."""
        config, run = self.config, self.context.to_thread
        urls = [config.url] if isinstance(config.url, str) else config.url
        checksums = [config.checksum] if isinstance(config.checksum, str) else config.checksum or []
        if checksums and len(checksums) != len(urls):
            raise WrongArgument(f"`checksum` names {len(checksums)} files, and `url` {len(urls)}")
        files: dict[Path, str] = {}
        async with http.Client(self.context, await run(self._settings, urls)) as client:
            for number, url in enumerate(urls):
                raw = folder / f"{number}.part"
                answer = await client.download(url, raw, limit=config.max_bytes)
                shown = client.shown(url)
                place = folder / _name(url, answer.url, number if len(urls) > 1 else None)
                await run(self._unpack, raw, place, answer, shown)
                if checksums:
                    await run(_check, place, checksums[number], shown)
                files[place] = shown
        return files

    def _unpack(self, raw: Path, place: Path, answer: Answer, shown: str) -> None:
        """Undoes what the server did to send the file, and nothing that belongs to the file."""
        encoding = answer.headers.get("content-encoding", "").strip().lower()
        if encoding in ("", "identity") or _belongs_to_file(raw, place, encoding):
            raw.rename(place)
            return
        if encoding not in _PACKINGS:
            raise SourceMalformed(f"{shown} is sent packed as {encoding!r}, which was not asked for")
        import pyarrow as pa

        size = 0
        try:
            with _unpacked(raw, encoding) as source, place.open("wb") as target:
                while piece := source.read(_PIECE):
                    self.context.check()
                    size += len(piece)
                    if size > self.config.max_bytes:
                        raise SourceMalformed(
                            f"{shown} is larger than {self.config.max_bytes:,} bytes",
                            hint="raise `max_bytes`",
                        )
                    target.write(piece)
        except (pa.ArrowException, OSError) as error:
            raise SourceMalformed(f"{shown} is not packed as its server says: {error}") from None
        raw.unlink()

    # ------------------------------------------------------------------------------------------ reading

    async def _read(self, folder: Path, files: dict[Path, str]) -> BatchStream:
        from pipeline_flow.data import BatchStream, adapt

        names = {str(path): shown for path, shown in files.items()}
        unbuilt = self.config.reader
        assert isinstance(unbuilt, Unbuilt)  # the spec makes it so
        try:
            given = list(names)
            reader = unbuilt.build(path=given[0] if len(given) == 1 else given)
            reader.context = self.context
            result = reader()
            if inspect.isawaitable(result):
                result = await result
            inner = adapt.to_stream(result)
            schema = await inner.ready()
        except PipelineFlowError as error:
            _rename(error, names)
            raise
        column = unbuilt.args.get("file_column")

        def batches() -> Iterator[pa.RecordBatch]:
            try:
                with inner:
                    for batch in inner:
                        yield _with_urls(batch, column, names)
            except PipelineFlowError as error:
                _rename(error, names)
                raise

        async def async_batches() -> AsyncIterator[pa.RecordBatch]:
            try:
                async with inner:
                    async for batch in inner:
                        yield _with_urls(batch, column, names)
            except PipelineFlowError as error:
                _rename(error, names)
                raise

        def close() -> None:
            inner.close()
            shutil.rmtree(folder, ignore_errors=True)

        return BatchStream(schema, async_batches() if inner.is_async else batches(), on_close=close)


def _name(url: str, final: str, number: int | None) -> str:
    """A name for the file that ends as the URL's path does, by which readers know what is packed."""
    import httpx2

    last = httpx2.URL(url).path.rpartition("/")[2]
    if "." not in last:
        last = httpx2.URL(final).path.rpartition("/")[2] or last
    safe = re.sub(r"[^\w.-]+", "_", last).strip(".")[-100:] or "file"
    return safe if number is None else f"{number + 1}-{safe}"


def _belongs_to_file(raw: Path, place: Path, encoding: str) -> bool:
    """Whether the packing that a header names is the file's own: servers say so of files ending in .gz.

    If there is another packing below it, the header told the truth.
    """
    codec = _PACKINGS.get(encoding, "")
    if not place.name.lower().endswith(_PACKED_NAMES.get(codec, ())):
        return False
    import pyarrow as pa

    magic = _MAGIC.get(codec, b"")
    try:
        with _unpacked(raw, encoding) as source:
            return not magic or source.read(len(magic)) != magic
    except (pa.ArrowException, OSError):
        return True


def _unpacked(raw: Path, encoding: str) -> Any:
    import pyarrow as pa

    return pa.CompressedInputStream(pa.OSFile(str(raw), "rb"), _PACKINGS[encoding])


def _check(path: Path, checksum: str, shown: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != checksum.partition(":")[2].lower():
        raise SourceMalformed(f"{shown} is not the file that `checksum` names: it has sha256:{found}")


def _rename(error: PipelineFlowError, names: dict[str, str]) -> None:
    """Speaks of the URLs instead of our copies."""
    for path, shown in names.items():
        error.message, error.hint = error.message.replace(path, shown), error.hint.replace(path, shown)


def _with_urls(batch: pa.RecordBatch, column: str | None, names: dict[str, str]) -> pa.RecordBatch:
    """The column with the files' names, if the reader makes one, with the URLs."""
    if column is None or column not in batch.schema.names:
        return batch
    import pyarrow as pa

    index = batch.schema.get_field_index(column)
    coded = batch.column(index).dictionary_encode()
    texts = pa.array([names.get(text, text) for text in coded.dictionary.to_pylist()], coded.dictionary.type)
    return batch.set_column(index, batch.schema.field(index), texts.take(coded.indices))
