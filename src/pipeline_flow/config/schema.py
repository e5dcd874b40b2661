"""The keys of the language: level by level, with type, default and meaning.

The tables are what messages list, what the reader of configurations allows, and what the reference is made from.
"""

from __future__ import annotations

from typing import NamedTuple


class Key(NamedTuple):
    """One key: its type in plain words, its default as text (empty: none), and what it means."""

    name: str
    type: str
    default: str
    meaning: str


def _table(*keys: Key) -> dict[str, Key]:
    return {key.name: key for key in keys}


TOP = _table(
    Key("version", "1", "1", "the version of the language"),
    Key("name", "text", "the file's name", "the project; part of the identity of what it commits"),
    Key(
        "variables",
        "mapping",
        "",
        "values for ${{ variables.name }}: plain, or declared as {type, default, description}",
    ),
    Key("secrets", "mapping", "", "secrets for ${{ secrets.name }}: {plugin, args} of a secret manager"),
    Key(
        "connections",
        "mapping",
        "",
        "URLs of databases for ${{ connections.name }}: text, or {url, description}",
    ),
    Key("plugins", "mapping", "", "custom plugin files and folders, community plugins"),
    Key("concurrency", "whole number", "2", "how many pipelines run at once"),
    Key("parallelism", "whole number", "32", "how many steps of one pipeline run at once"),
    Key("fail_fast", "true or false", "false", "whether the first failed pipeline stops the run"),
    Key(
        "handoff",
        "auto | stage",
        "auto",
        "when the next phase begins: with the first rows where that is safe, or when all rows wait",
    ),
    Key(
        "memory_limit",
        "size",
        "512MiB, or a quarter of the container's memory",
        "memory for data that waits and databases inside the process",
    ),
    Key("spill_limit", "size", "as much as the disk holds", "disk space for data that waits"),
    Key("timezone", "IANA name", "UTC", "the zone of ${{ run.date }} and ${{ run.started_at }}"),
    Key("retry", "whole number or mapping", "1", "for every step that says nothing else"),
    Key("timeout", "duration", "none", "for every step that says nothing else"),
    Key("defaults", "mapping", "", "policies for the steps of a kind that say nothing else"),
    Key(
        "include",
        "text or list of text",
        "",
        "files whose variables, secrets, pipelines, plugins and defaults count too",
    ),
    Key("profiles", "mapping", "", "what `--profile NAME` lays over this file: variables, secrets, settings"),
    Key("pipelines", "mapping", "", "the pipelines by name"),
)

DEFAULTS = _table(
    Key("extract", "mapping", "", "for extract steps"),
    Key("merge", "mapping", "", "for merge"),
    Key("transform", "mapping", "", "for transform steps"),
    Key("load", "mapping", "", "for load steps"),
    Key("transform_at_load", "mapping", "", "for transform_at_load steps"),
    Key("pre", "mapping", "", "for steps under `pre`"),
    Key("post", "mapping", "", "for steps under `post`"),
)

POLICIES = _table(
    Key("on_bad_row", "fail | skip", "fail", "what happens when the plugin rejects a row"),
    Key("retry", "whole number or mapping", "the top level's", "how often the step is tried"),
    Key("timeout", "duration", "the top level's", "seconds for one attempt; null: no limit"),
)

PLUGINS = _table(
    Key("custom", "mapping", "", "files and folders with plugins of one's own"),
    Key("community", "list of text", "", "installed packages or plugins that must be there"),
)

CUSTOM = _table(
    Key("files", "list of text", "", "Python files with plugins; paths start from the working folder"),
    Key("dirs", "list of text", "", "folders whose *.py files hold plugins"),
)

SECRET = _table(
    Key("plugin", "text", "", "the secret manager"),
    Key("args", "mapping", "", "what the secret manager takes"),
    Key("id", "text", "the secret's name", "given to the secret manager as its id"),
    Key("plugin_id", "text", "", "another name of `id`"),
    Key("description", "text", "", "for people"),
)

CONNECTION = _table(
    Key("url", "text", "", "the database's URL; it may hold a secret"),
    Key("description", "text", "", "for people"),
)

VARIABLE = _table(
    Key(
        "type",
        "text | integer | number | boolean | date | timestamp | list | map",
        "",
        "how a value given with --var is read",
    ),
    Key("default", "any value", "", "the value where none is given; without one, --var must give it"),
    Key("description", "text", "", "for people"),
)

PIPELINE = _table(
    Key("type", "ETL | ELT | ETLT", "follows from the phases", "which phases there are"),
    Key("description", "text", "", "for people"),
    Key("needs", "text or list of text", "", "pipelines that must have succeeded before"),
    Key(
        "matrix",
        "mapping of lists, or list of mappings",
        "",
        "one pipeline for each combination, its values under ${{ matrix.name }}; `needs` on the name means all of them",
    ),
    Key("phases", "mapping", "", "extract, transform, load, transform_at_load"),
)

PHASES = _table(
    Key("extract", "mapping", "", "reads data; steps run concurrently"),
    Key("transform", "mapping", "", "changes data; steps run one after the other"),
    Key("load", "mapping", "", "writes data; steps run concurrently"),
    Key("transform_at_load", "mapping", "", "changes data in the destination; steps run one after the other"),
)

_STEPS = Key("steps", "list of steps", "", "the plugin calls")
_PRE = Key("pre", "list of steps", "", "runs before the steps")
_POST = Key("post", "list of steps", "", "runs after the steps, and sees the data")
_MERGE = Key("merge", "step", "", "makes one of what several extract steps read")

PHASE = {
    "extract": _table(_STEPS, _PRE, _POST, _MERGE),
    "transform": _table(_STEPS),
    "load": _table(_STEPS, _PRE, _POST),
    "transform_at_load": _table(_STEPS),
}

STEP = _table(
    Key("id", "text", "the plugin's name", "the step's name, unique in its phase"),
    Key("plugin", "text", "", "the plugin that is called"),
    Key("args", "mapping", "", "what the plugin takes"),
    Key("description", "text", "", "for people"),
    Key(
        "input",
        "text",
        "",
        "the extract step, or the table, whose data this step gets, where several travel on",
    ),
    Key("on_bad_row", "fail | skip", "fail", "what happens when the plugin rejects a row"),
    Key("retry", "whole number or mapping", "the top level's", "how often the step is tried"),
    Key("timeout", "duration", "the top level's", "seconds for one attempt; null: no limit"),
    Key("plugin_id", "text", "", "another name of `id`"),
)

RETRY = _table(
    Key("attempts", "whole number", "1", "how often a step is tried, the first time included"),
    Key("wait", "duration", "1s", "the wait before the second attempt; doubled each time"),
    Key("max_wait", "duration", "30s", "the longest wait"),
    Key("jitter", "duration", "1s", "up to so much is added to each wait, at random"),
    Key(
        "on",
        "text or list of text",
        "",
        "errors tried again besides retryable ones: class names, timeout, all",
    ),
)

LEVELS: dict[str, dict[str, Key]] = {
    "Top level": TOP,
    "`variables.<name>`, declared": VARIABLE,
    "`secrets.<name>`": SECRET,
    "`connections.<name>`": CONNECTION,
    "`defaults`": DEFAULTS,
    "`defaults.<kind>`": POLICIES,
    "`plugins`": PLUGINS,
    "`plugins.custom`": CUSTOM,
    "`pipelines.<name>`": PIPELINE,
    "`phases`": PHASES,
    **{f"`phases.{name}`": table for name, table in PHASE.items()},
    "A step": STEP,
    "`retry`": RETRY,
}
"""Every table by the level that it describes, in the order of the reference."""
