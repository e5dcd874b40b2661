"""Looks at a source and writes a configuration for it; see ``pipeline-flow init --from``.

The source is read by the plugin that the configuration names: what an installed plugin reads can be a source, and the
types are those that it finds.
"""

from __future__ import annotations

import glob
import itertools
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_flow.cli.reference import References
from pipeline_flow.core import discovery, inventory, spec
from pipeline_flow.core.suggest import hint
from pipeline_flow.data import grid
from pipeline_flow.errors import (
    InternalError,
    PipelineFlowError,
    RunFailed,
    SourceUnreadable,
    StepFailed,
    TargetUnwritable,
    UnknownPlugin,
)
from pipeline_flow.files import local, partition
from pipeline_flow.files import manifest as manifests
from pipeline_flow.flow import Flow
from pipeline_flow.sql import engine as engines
from pipeline_flow.sql import url as urls
from pipeline_flow.sql.quote import quote, split_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline_flow.core.inventory import Catalog
    from pipeline_flow.engine.preview import Sample

LOOKED_AT = 1_000_000
"""Rows of each source that its types come from."""

_PACKED = (".gz", ".zst")
_PLUGINS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".xlsx": "excel",
    ".avro": "avro",
}
_FOLDERS = ("csv", "parquet")  # what reads a folder with all that lies below, and by its manifest
_LOADS = {".csv": "csv", ".parquet": "parquet", ".jsonl": "jsonl"}
_DATABASES = {".duckdb": "duckdb", ".ddb": "duckdb", ".sqlite": "sqlite", ".sqlite3": "sqlite"}
_TARGETS = (
    "--to takes duckdb:///file.duckdb, sqlite:///file.db, postgresql:// and mariadb:// with user, host and database, "
    "a .parquet, .csv or .jsonl file, or a folder"
)
_COLUMNS = "columns"
_ON_TYPE_ERROR = "on_type_error"
_COLUMN = re.compile("column `(.+?)`")  # how messages name one
_TEXT = "VARCHAR"
# Schema, table, and whether the table is known without its schema.
_TABLES = {
    "duckdb": "select schema_name, table_name, schema_name = 'main' as plain from duckdb_tables() where not internal and database_name = current_database() "
    "union all select schema_name, view_name, schema_name = 'main' from duckdb_views() where not internal and database_name = current_database() "
    "order by all",
    "sqlite": "select 'main' as schema_name, name as table_name, 1 as plain from sqlite_master where type in ('table', 'view') "
    "and name not like 'sqlite\\_%' escape '\\' order by name",
    "postgresql": "select n.nspname::text as schema_name, c.relname::text as table_name, pg_table_is_visible(c.oid) as plain "
    "from pg_class c join pg_namespace n on n.oid = c.relnamespace "
    "where c.relkind in ('r', 'v', 'm', 'f', 'p') and not c.relispartition and n.nspname <> 'information_schema' "
    "and n.nspname not like 'pg\\_%' and has_table_privilege(c.oid, 'select') order by 1, 2",
    "mariadb": "select table_schema as schema_name, table_name as table_name, 1 as plain from information_schema.tables "
    "where table_schema = database() and table_type in ('BASE TABLE', 'SYSTEM VERSIONED', 'VIEW') order by 2",
}
_OURS = "_pipeline_flow"
_MOST_TABLES = 10_000
_MANY_TABLES = 20
"""Of a server with more than these, the tables that are wanted have to be named."""
_ALL = "*"


@dataclass(frozen=True, slots=True)
class Found:
    """A configuration as text, a step of it that is worth a look, and what has to be set before it runs."""

    text: str
    step: str
    to_set: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Source:
    """One table to be: its name, and the extract step that reads it."""

    name: str
    plugin: str
    args: dict[str, Any]
    schema: str = ""
    partitions: frozenset[str] = frozenset()  # columns that the names of folders say, and no file holds


def configuration(source: str, target: str, name: str | None = None, tables: Sequence[str] = ()) -> Found:
    """A configuration that loads ``source`` into ``target``.

    Args:
        source: a file, a pattern, a folder of files, the file of a DuckDB or SQLite database, or the URL of any database.
        target: the URL of a database, a file, or a folder.
        name: the project's name; that of the source by default.
        tables: those that are wanted of a database, ``table`` or ``schema.table``; ``*`` for all.

    Raises:
        PipelineFlowError: the source cannot be read, or there is no way into the target.
    """
    catalog = discovery.catalog()
    destination = _Target.of(target, catalog)
    destination.check_other_than(source)
    sources = _unique([_typed(item, catalog) for item in _sources(source, catalog, tables)])
    if destination.is_one_file and len(sources) > 1:
        names = ", ".join(item.name for item in sources)
        raise TargetUnwritable(
            f"{target} is one file, and {source} has {len(sources)} tables: {names}",
            hint="give a folder or a database, or one of them as the source",
        )
    references = References()
    loads = [destination.load(item, references) for item in sources]
    reads = [_referring(item.args, references) for item in sources]
    settings = {"secrets": references.secrets} if references.secrets else {}
    flow = Flow(name or _snake(_stem(source)), **settings)
    for item, read, (plugin, args) in zip(sources, reads, loads, strict=True):
        pipeline = flow.pipeline(item.name)
        pipeline.extract(item.plugin, id="source", args=read)
        pipeline.load(plugin, id="target", args=args)
    problems = [problem for problem in flow.validate() if not problem.warning]
    if problems:
        raise InternalError(f"the configuration has a problem: {problems[0]}")
    head = [
        f"# Made by pipeline-flow init from {_one_line(_shown(source))}.",
        "# Change what you like; `pipeline-flow validate` says whether it still fits.",
    ]
    if any("columns" in item.args for item in sources):
        head.append(
            "# `columns` holds the types that were found: a value that breaks its type is an error from now on."
        )
    head += [f"# Before it runs, {line}." for line in references.to_set]
    return Found(
        "\n".join([*head, "version: 1", flow.to_yaml()]),
        f"{sources[0].name}.extract.source",
        tuple(references.to_set),
    )


# ---------------------------------------------------------------------------------------------- sources


def _sources(text: str, catalog: Catalog, tables: Sequence[str] = ()) -> list[_Source]:
    scheme, separator, _ = text.partition("://")
    if separator:
        if urls.is_known(scheme):
            return _tables(text, tables)
        raise SourceUnreadable(
            f"init cannot look at {scheme}:// yet",
            hint="--from takes files, folders and databases: duckdb:///, sqlite:///, postgresql://, mariadb://; write the "
            "configuration by hand for others",
        )
    path = Path(text).expanduser()
    if path.is_dir() and not tables:
        return _of_folder(text, path, catalog)
    files = local.find(text)
    if len(files) == 1 and not _is_pattern(text):
        engine = _engine(files[0])
        if engine is not None:
            return _tables(f"{engine}:///{text}", tables)
    if tables:
        raise SourceUnreadable(f"--table goes with a database, and {text} is none")
    if len(files) == 1 and not _is_pattern(text):
        return [_file(text, files[0], catalog)]
    return _together(text, _stem(text), files, catalog)


def _is_pattern(text: str) -> bool:
    return glob.has_magic(text) and not Path(text).expanduser().exists()


def _of_folder(text: str, folder: Path, catalog: Catalog) -> list[_Source]:
    manifest = manifests.latest(folder)
    if manifest is not None:
        return [_whole(text, folder, [Path(entry.path) for entry in manifest.files])]
    names = [path for path in sorted(folder.iterdir()) if path.is_file() and _suffix(path) in _PLUGINS]
    below = (
        []
        if names
        else [path.relative_to(folder) for path in folder.glob("*/**/*") if _suffix(path) in _PLUGINS]
    )
    if below:
        return [_whole(text, folder, below)]
    if not names:
        known = ", ".join(_PLUGINS)
        raise SourceUnreadable(f"{text} has no files that init knows", hint=f"it knows {known}")
    found: list[_Source] = []
    for suffix, files in itertools.groupby(sorted(names, key=_ending), key=_ending):
        pattern = str(Path(text) / f"*{suffix}")
        found += _together(pattern, folder.resolve().name, list(files), catalog)
    return found


def _whole(text: str, folder: Path, files: Sequence[Path]) -> _Source:
    """A folder that one plugin reads as one table."""
    plugins = {_PLUGINS.get(_suffix(path)) for path in files}
    if len(plugins) > 1:
        raise SourceUnreadable(
            f"{text} has files of different kinds in the folders below",
            hint="give a pattern that matches one kind, such as 'data/**/*.csv'",
        )
    plugin = plugins.pop() if plugins else None
    if plugin not in _FOLDERS:
        raise SourceUnreadable(
            f"init can look at folders of {' and '.join(_FOLDERS)} files, and {text} has others",
            hint="give a pattern that matches them, such as 'data/**/*.jsonl'",
        )
    partitions = frozenset(name for path in files for name in partition.values_of(path.as_posix()))
    return _Source(_snake(folder.resolve().name), plugin, {"path": text}, partitions=partitions)


def _together(pattern: str, name: str, files: Sequence[Path], catalog: Catalog) -> list[_Source]:
    """One table of files with the same columns, or one of each."""
    each = [_file(str(path), path, catalog) for path in files]
    if len(each) == 1 or len({item.plugin for item in each}) > 1:
        return each
    columns = [list(_types(item, catalog)) for item in each]
    if any(names != columns[0] for names in columns):
        return each
    return [replace(each[0], name=_snake(name), args={**each[0].args, "path": _literal(pattern)})]


def _file(text: str, path: Path, catalog: Catalog) -> _Source:
    plugin = _PLUGINS.get(_suffix(path))
    if plugin is None:
        raise SourceUnreadable(f"init does not know what {text} is", hint=f"it knows {', '.join(_PLUGINS)}")
    if "path" not in {item.name for item in _arguments(inventory.EXTRACT, plugin, catalog)}:
        raise SourceUnreadable(f"init cannot look at {text}", hint=f"the plugin `{plugin}` takes no path")
    return _Source(_snake(_stem(text)), plugin, {"path": _literal(text)})


def _engine(path: Path) -> str | None:
    with path.open("rb") as file:
        head = file.read(16)
    if head == b"SQLite format 3\0":
        return "sqlite"
    return "duckdb" if head[8:12] == b"DUCK" else None


def _tables(url: str, wanted: Sequence[str] = ()) -> list[_Source]:
    database = urls.parse(url)
    listed = _sample("sql", {"url": _literal(url), "query": _TABLES[database.engine]}, _MOST_TABLES).table
    known: dict[str, _Source] = {}
    for row in grid.values(listed):
        schema, table = row["schema_name"], row["table_name"]
        if table.startswith(_OURS):
            continue
        parts = (table,) if row["plain"] else (schema, table)
        name = _identifier(*parts)
        read = {"table": name} if database.is_server else {"query": f"select * from {name}"}
        known[".".join(parts)] = _Source(
            _snake("_".join(parts)), "sql", {"url": url, **read}, "" if row["plain"] else schema
        )
    if not known:
        raise SourceUnreadable(f"{database if database.is_server else url} has no tables")
    if wanted and _ALL not in wanted:
        return [_table(database, known, name) for name in dict.fromkeys(wanted)]
    if database.is_server and len(known) > _MANY_TABLES and not wanted:
        raise SourceUnreadable(
            f"{database} has {len(known):,} tables: {', '.join(list(known)[:_MANY_TABLES])}, …",
            hint=f"name those that you want: --table {next(iter(known))} --table …; or all: --table '*'",
        )
    return list(known.values())


def _table(database: urls.Database, known: Mapping[str, _Source], name: str) -> _Source:
    """The table that is called so, with its schema or, where only one is, without."""
    text = ".".join(split_table(name))
    found = {text} & set(known) or {other for other in known if other.endswith(f".{text}")}
    if len(found) > 1:
        raise SourceUnreadable(f"{database} has several tables `{name}`: {', '.join(sorted(found))}")
    if not found:
        raise SourceUnreadable(f"{database} has no table `{name}`", hint=hint(name, known, "it has"))
    return known[found.pop()]


def _referring(args: Mapping[str, Any], references: References) -> dict[str, Any]:
    """The arguments of a step that reads as they stand in a configuration."""
    return {**args, "url": references.url(args["url"])} if "url" in args else dict(args)


def _shown(source: str) -> str:
    if "://" not in source:
        return source
    database = urls.parse(source)
    return str(database) if database.is_server else source


def _identifier(*parts: str) -> str:
    return ".".join(part if re.fullmatch("[a-z_][a-z0-9_]*", part) else quote(part) for part in parts)


# ---------------------------------------------------------------------------------------------- types


def _typed(source: _Source, catalog: Catalog) -> _Source:
    """The source with the types of its columns declared, where its plugin takes such a declaration."""
    declares = any(
        item.name == _COLUMNS and item.type_text.startswith("a mapping")
        for item in _arguments(inventory.EXTRACT, source.plugin, catalog)
    )
    if not declares:
        _sample(source.plugin, source.args, 1)  # whether it can be read at all
        return source
    types = {name: type_ for name, type_ in _types(source, catalog).items() if name not in source.partitions}
    _fitting(source, types, LOOKED_AT)
    return replace(source, args={**source.args, _COLUMNS: types})


def _types(source: _Source, catalog: Catalog) -> dict[str, str]:
    """The types that the plugin finds, by column: such as hold every value, where it offers to look at all of them."""
    names = {item.name for item in _arguments(inventory.EXTRACT, source.plugin, catalog)}
    widen = {_ON_TYPE_ERROR: "widen"} if _ON_TYPE_ERROR in names else {}
    found = _fitting(replace(source, args={**source.args, **widen}), {}, 1)
    if found.table is None:
        raise InternalError(f"the plugin `{source.plugin}` gives no rows")
    return dict(zip(found.table.column_names, found.types, strict=True))


def _fitting(source: _Source, declared: dict[str, str], limit: int) -> Sample:
    """Reads ``limit`` rows; a column of which a value breaks its type is declared as text."""
    while True:
        args = {**source.args, _COLUMNS: declared} if declared else source.args
        try:
            return _sample(source.plugin, args, limit)
        except PipelineFlowError as error:
            named = _COLUMN.search(str(error))
            if named is None or declared.get(named[1]) == _TEXT:
                raise
            declared[named[1]] = _TEXT


def _sample(plugin: str, args: dict[str, Any], rows: int) -> Sample:
    """The first rows of an extract step, read by the engine as a run would.

    Raises:
        PipelineFlowError: what the step said.
    """
    flow = Flow("init")
    flow.pipeline("look").extract(plugin, id="source", args=args).load("csv", path="never.csv")
    try:
        found = flow.preview("look.extract.source", rows=min(rows, _MOST_TABLES), limit_rows=rows)
    except RunFailed as group:
        raise _cause(group) from None
    return found.samples["source"]


def _cause(group: RunFailed) -> Exception:
    error: BaseException = group.exceptions[0]
    while isinstance(error, StepFailed) and error.__cause__ is not None:
        error = error.__cause__
    return (
        error
        if isinstance(error, PipelineFlowError)
        else SourceUnreadable(f"{type(error).__name__}: {error}")
    )


# ---------------------------------------------------------------------------------------------- targets


@dataclass(frozen=True, slots=True)
class _Target:
    """Where the tables go."""

    url: str = ""
    file: str = ""
    folder: str = ""
    plugin: str = ""

    @classmethod
    def of(cls, text: str, catalog: Catalog) -> _Target:
        scheme, separator, _ = text.partition("://")
        if separator:
            if not urls.is_known(scheme):
                raise TargetUnwritable(
                    f"init cannot write a configuration for {scheme}:// yet", hint=_TARGETS
                )
            _check_writable(text)
            return cls(url=text)
        path = Path(text)
        suffix = _suffix(path)
        if path.is_dir() or text.endswith("/") or not path.suffix:
            return cls(folder=text, plugin=_load_plugin("parquet", catalog))
        if suffix in _DATABASES:
            return cls(url=f"{_DATABASES[suffix]}:///{text}")
        if suffix in _LOADS:
            return cls(file=text, plugin=_load_plugin(_LOADS[suffix], catalog))
        raise TargetUnwritable(f"init does not know what {text} shall be", hint=_TARGETS)

    def check_other_than(self, source: str) -> None:
        """Refuses a database that would be read and replaced at once."""
        if self.url and "://" in source and urls.is_known(source.partition("://")[0]):
            if urls.parse(source).url == urls.parse(self.url).url:
                raise TargetUnwritable(
                    f"{_shown(source)} is the source and the target", hint="name another target"
                )
            return
        path = Path(source.partition("://")[2].removeprefix("/") if "://" in source else source)
        if self.url and path.exists() and local.canonical(path) == urls.parse(self.url).path:
            raise TargetUnwritable(f"{source} is the source and the target", hint="name another target")

    @property
    def is_one_file(self) -> bool:
        return bool(self.file)

    def load(self, source: _Source, references: References) -> tuple[str, dict[str, Any]]:
        """The plugin and the arguments of the load step."""
        if self.url:
            return "sql", {"url": references.url(self.url), "table": source.name, "mode": "replace"}
        path = self.file or str(Path(self.folder) / f"{source.name}.parquet")
        return self.plugin, {"path": _literal(path)}


def _check_writable(url: str) -> None:
    """Whether there is a way into a server, and tables may be made there. A file is made when it is needed."""
    database = urls.parse(url)
    if not database.is_server:
        return
    refusal = engines.of(database).probe(database).refusals.get("write", "")
    if refusal:
        raise TargetUnwritable(f"{database} may not be written: {refusal}")


def _load_plugin(name: str, catalog: Catalog) -> str:
    _arguments(inventory.LOAD, name, catalog)
    return name


def _arguments(kind: str, name: str, catalog: Catalog) -> tuple[spec.Argument, ...]:
    try:
        return spec.of(catalog.find(kind, name).cls).arguments
    except UnknownPlugin:
        known = catalog.names(kind)
        raise UnknownPlugin(
            f"no {kind} plugin `{name}` is installed", hint=hint(name, known, "there are")
        ) from None


# ---------------------------------------------------------------------------------------------- names


def _suffix(path: Path) -> str:
    """The ending that tells what a file is, without that of its packing."""
    name = path.name.lower()
    for packed in _PACKED:
        name = name.removesuffix(packed)
    return Path(name).suffix


def _ending(path: Path) -> str:
    """The ending as it is written, packing included."""
    return "".join(path.suffixes[-2:]) if path.suffix.lower() in _PACKED else path.suffix


def _stem(text: str) -> str:
    """What a source is called: its file's name without endings, or its folder's where the name is a pattern."""
    if "://" in text and urls.parse(text).is_server:
        return urls.parse(text).name
    path = Path(text.partition("://")[2] or text)
    name = path.name
    while Path(name).suffix.lower() in (*_PACKED, *_PLUGINS, *_DATABASES, ".db"):
        name = name[: -len(Path(name).suffix)]
    name = re.sub(r"[*?\[\]]+", "", name)
    return name if name.strip("-_. ") else path.absolute().parent.name


def _snake(text: str) -> str:
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text)
    return re.sub(r"\W+|_+", "_", words).strip("_").lower() or "data"


def _unique(sources: list[_Source]) -> list[_Source]:
    taken: set[str] = set()
    found = []
    for source in sources:
        name, number = source.name, 1
        while name in taken:
            number += 1
            name = f"{source.name}_{number}"
        taken.add(name)
        found.append(replace(source, name=name))
    return found


def _literal(text: str) -> str:
    """``text`` as it stands in a configuration: nothing in it is a placeholder."""
    return text.replace("${{", "$${{")


def _one_line(text: str) -> str:
    return " ".join(text.split())
