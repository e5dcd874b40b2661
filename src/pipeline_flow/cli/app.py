"""The commands and their options. What they do is imported when they are called, so that ``--help`` is quick."""

from __future__ import annotations

import os
import sys
import traceback
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
import typer.core

from pipeline_flow import __version__
from pipeline_flow.cli import exit as exits
from pipeline_flow.cli import streams

app = typer.Typer(
    name="pipeline-flow",
    help="Data pipelines as one YAML file and one command.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
plugins_app = typer.Typer(
    help="The plugins that pipelines can use.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(plugins_app, name="plugins")
connection_app = typer.Typer(
    help="The databases that pipelines can reach.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(connection_app, name="connection")

File = Annotated[Path, typer.Argument(metavar="FILE", help="The YAML file.", show_default=False)]
Variables = Annotated[
    list[str],
    typer.Option(
        "--var", metavar="NAME=VALUE", help="Override a variable; may be repeated.", show_default=False
    ),
]
Select = Annotated[
    list[str],
    typer.Option(
        "--select",
        "-s",
        metavar="NAME",
        help="Run only this pipeline; `+name` with all it needs, `name*` a pattern; may be repeated.",
        show_default=False,
    ),
]
Profile = Annotated[
    str | None,
    typer.Option(
        "--profile",
        metavar="NAME",
        help="Lay this profile of the file over it; PIPELINE_FLOW_PROFILE says it too.",
        show_default=False,
    ),
]
EnvFile = Annotated[
    Path | None,
    typer.Option(
        "--env-file",
        metavar="FILE",
        help="Add the lines NAME=value of FILE to the environment; what is set there already stays.",
        show_default=False,
    ),
]
PluginsOf = Annotated[
    Path | None,
    typer.Option(
        "--file", "-f", help="Also the custom plugins that this YAML file names.", show_default=False
    ),
]


class Progress(StrEnum):
    """What is shown while a run works."""

    AUTO = "auto"
    LIVE = "live"
    PLAIN = "plain"
    NONE = "none"


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pipeline-flow {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Data pipelines as one YAML file and one command."""


@app.command()
def run(
    file: File,
    select: Select = [],  # noqa: B006 - typer copies it
    var: Variables = [],  # noqa: B006 - typer copies it
    profile: Profile = None,
    env_file: EnvFile = None,
    concurrency: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="How many pipelines run at once.", show_default=False),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Write events to stdout, one JSON object per line.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show every event.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show only warnings and failures.")] = False,
    progress: Annotated[
        Progress,
        typer.Option(
            help="What is shown while the run works: a live table, plain lines, only warnings and failures (`none`), "
            "or the table on a terminal and lines elsewhere (`auto`)."
        ),
    ] = Progress.AUTO,
) -> None:
    """Run the pipelines of FILE."""
    from pipeline_flow.cli import run as command

    if verbose and quiet:
        raise typer.BadParameter("--verbose and --quiet exclude each other")
    if json and progress is not Progress.AUTO:
        raise typer.BadParameter("--json writes every event; leave --progress out")
    options = command.Options(
        select=tuple(select),
        variables=_variables(var),
        profile=_profile(profile, env_file),
        env_file=env_file,
        concurrency=concurrency,
        json=json,
        level=1 if verbose else -1 if quiet else 0,
        progress=progress,
    )
    _end(command.run(file, options))


@app.command()
def validate(
    file: File,
    select: Select = [],  # noqa: B006 - typer copies it
    var: Variables = [],  # noqa: B006 - typer copies it
    profile: Profile = None,
    env_file: EnvFile = None,
    json: Annotated[
        bool, typer.Option("--json", help="Write the problems to stdout as one JSON object.")
    ] = False,
    fix: Annotated[
        bool,
        typer.Option(
            "--fix",
            help="First mend what has one right answer, in FILE and in what it includes; the rest stays byte for byte.",
        ),
    ] = False,
) -> None:
    """Check FILE without running or connecting to anything."""
    from pipeline_flow.cli import validate as command

    options = command.Options(
        select=tuple(select),
        variables=_variables(var),
        profile=_profile(profile, env_file),
        json=json,
        fix=fix,
    )
    _end(command.validate(file, options))


@app.command()
def fmt(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="The YAML files.", show_default=False)],
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; name the files that would change, exit code 1.")
    ] = False,
) -> None:
    """Take spaces at the ends of lines, other systems' line ends and runs of empty lines out of each FILE.

    Comments and values stay byte for byte.
    """
    from pipeline_flow.cli import fmt as command

    _end(command.fmt(files, check=check))


@app.command()
def plan(
    file: File,
    select: Select = [],  # noqa: B006 - typer copies it
    var: Variables = [],  # noqa: B006 - typer copies it
    profile: Profile = None,
    env_file: EnvFile = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="As a Mermaid flowchart.")] = False,
    svg: Annotated[
        Path | None,
        typer.Option(
            "--svg", metavar="FILE", help="Draw the pipelines into an SVG file.", show_default=False
        ),
    ] = None,
) -> None:
    """Show what a run of FILE would do, without running or connecting to anything."""
    from pipeline_flow.cli import plan as command

    if json + mermaid + (svg is not None) > 1:
        raise typer.BadParameter("--json, --mermaid and --svg exclude each other")
    form = command.Form(json=json, mermaid=mermaid, svg=svg)
    chosen = _profile(profile, env_file)
    _end(command.plan(file, form, select=tuple(select), variables=_variables(var), profile=chosen))


class _Config(typer.core.TyperCommand):
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """``config explain FILE PATH`` is another way to write ``config FILE --explain PATH``."""
        words = [number for number, word in enumerate(args[1:], 1) if not word.startswith("-")]
        if args[:1] == ["explain"] and words[:2] == [1, 2]:
            args = [args[1], "--explain", *args[2:]]
        return super().parse_args(ctx, args)


@app.command(cls=_Config)
def config(
    file: File,
    explain: Annotated[
        str | None,
        typer.Option(
            "--explain",
            metavar="PATH",
            help="Instead tell where one value comes from: keys with dots between them, or a step's address and a key, "
            "such as orders.load.warehouse.args.url.",
            show_default=False,
        ),
    ] = None,
    var: Variables = [],  # noqa: B006 - typer copies it
    profile: Profile = None,
    env_file: EnvFile = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Show FILE as it counts: every placeholder looked up, defaults, profile, included files and matrices applied.

    Secrets stay references; passwords and the like that stand in the file are masked. `config explain FILE PATH` is
    another way to write `config FILE --explain PATH`.
    """
    from pipeline_flow.cli import config as command

    variables, chosen = _variables(var), _profile(profile, env_file)
    if explain is None:
        _end(command.config(file, variables=variables, profile=chosen, json=json))
    if json:
        raise typer.BadParameter("--explain has no --json")
    _end(command.explain(file, explain, variables=variables, profile=chosen))


@app.command()
def schema(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE", help="Also the custom plugins that this YAML file names.", show_default=False
        ),
    ] = None,
    profile: Profile = None,
    env_file: EnvFile = None,
) -> None:
    """Print the JSON Schema of the language, with the arguments of the plugins, for editors.

    Without FILE any name may stand under `plugin`; with it only those of plugins that are there.
    """
    from pipeline_flow.cli import schema as command

    _end(command.schema(file, _profile(profile, env_file)))


@app.command()
def explain(
    code: Annotated[
        str | None,
        typer.Argument(
            metavar="CODE", help="The code of a message, such as config.unknown_key.", show_default=False
        ),
    ] = None,
) -> None:
    """Explain an error code; without one, list them all."""
    from pipeline_flow.cli import explain as command

    _end(command.explain(code))


@app.command()
def init(
    template: Annotated[
        str | None,
        typer.Argument(metavar="TEMPLATE", help="The template; csv by default.", show_default=False),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--dir",
            metavar="FOLDER",
            help="Where the project is written; here by default.",
            show_default=False,
        ),
    ] = None,
    listing: Annotated[bool, typer.Option("--list", help="List the templates.")] = False,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="SOURCE",
            help="Write a configuration for data that is there: a CSV, JSON or Parquet file, a pattern, a folder, "
            "a DuckDB or SQLite database, postgresql://user:password@host/database, mariadb://….",
            show_default=False,
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="TARGET",
            help="Where that data goes: duckdb:///file.duckdb, sqlite:///file.db, "
            "postgresql://user:password@host/database, mariadb://…, a .parquet, .csv or .jsonl file, a folder.",
            show_default=False,
        ),
    ] = None,
    tables: Annotated[
        list[str],
        typer.Option(
            "--table",
            metavar="TABLE",
            help="A table of a database, with --from; may be repeated. All by default, up to 20 of a server; * for all.",
            show_default=False,
        ),
    ] = [],  # noqa: B006 - typer copies it
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The project's name, with --from.", show_default=False),
    ] = None,
    output: Annotated[
        str,
        typer.Option("--output", "-o", metavar="FILE", help="The file to write, with --from; - for stdout."),
    ] = "pipelines.yaml",
) -> None:
    """Write a project to begin with. Nothing is overwritten."""
    from pipeline_flow.cli import init as command

    if listing:
        _end(command.list_all())
    if source is None:
        if target is not None or name is not None or tables or output != command.FILE:
            raise typer.BadParameter("--to, --table, --name and --output belong to --from")
        _end(command.from_template(template, folder or Path()))
    if template is not None or folder is not None:
        raise typer.BadParameter("--from writes one file: give no template and no --dir, but --output")
    if target is None:
        raise typer.BadParameter("--from needs --to: where the data goes, such as duckdb:///data.duckdb")
    _end(command.from_data(source, target, output, name, tables))


@app.command()
def preview(
    file: File,
    step: Annotated[
        str,
        typer.Argument(
            metavar="STEP",
            help="The step: pipeline.phase.step, or a part of it that only one step has.",
            show_default=False,
        ),
    ],
    rows: Annotated[
        int, typer.Option("-n", "--rows", metavar="N", min=1, help="How many rows to show.")
    ] = 20,
    limit_rows: Annotated[
        int,
        typer.Option(
            "--limit-rows", metavar="N", min=0, help="How many rows of each extract step are read; 0 for all."
        ),
    ] = 1000,
    var: Variables = [],  # noqa: B006 - typer copies it
    profile: Profile = None,
    env_file: EnvFile = None,
    json: Annotated[
        bool, typer.Option("--json", help="Write the rows to stdout as one JSON object.")
    ] = False,
) -> None:
    """Show the first rows that leave STEP of FILE; nothing is loaded.

    Of a load step it shows what would be loaded.
    """
    from pipeline_flow.cli import preview as command

    options = command.Options(rows, limit_rows or None, _variables(var), _profile(profile, env_file), json)
    _end(command.preview(file, step, options))


@plugins_app.command("list")
def plugins_list(
    file: PluginsOf = None,
    profile: Profile = None,
    env_file: EnvFile = None,
) -> None:
    """List the plugins, by kind, with where each comes from."""
    from pipeline_flow.cli import plugins as command

    _end(command.list_all(file, _profile(profile, env_file)))


@plugins_app.command("show")
def plugins_show(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The plugin's name, or kind.name.", show_default=False)
    ],
    file: PluginsOf = None,
    profile: Profile = None,
    env_file: EnvFile = None,
) -> None:
    """Show what a plugin does and which arguments it takes."""
    from pipeline_flow.cli import plugins as command

    _end(command.show(name, file, _profile(profile, env_file)))


@connection_app.command("test")
def connection_test(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="A connection under `connections:` of the YAML file, or a URL as in `url:` of a `sql` step; "
            "without it every connection of the file, one line each.",
            show_default=False,
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            "-f",
            metavar="FILE",
            help="The YAML file; pipelines.yaml by default.",
            show_default=False,
        ),
    ] = None,
    var: Variables = [],  # noqa: B006 - typer copies it
    profile: Profile = None,
    env_file: EnvFile = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Connect to a database and say what it is and what we may do there; nothing is changed."""
    from pipeline_flow.cli import connection as command

    if name is not None and "://" in name and (file is not None or var):
        raise typer.BadParameter("a URL needs no --file and no --var")
    options = command.Options(file, _variables(var), _profile(profile, env_file), json)
    _end(command.run(name, options))


def _variables(pairs: list[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"--var takes NAME=VALUE, found {pair!r}")
        found[name.strip()] = value
    return found


def _profile(name: str | None, env_file: Path | None) -> str | None:
    """The profile that the call or the environment names, after ``env_file`` has been added to the environment."""
    if env_file is not None:
        from pipeline_flow.cli import environment, problems
        from pipeline_flow.errors import ConfigError

        try:
            environment.add(env_file)
        except ConfigError as error:
            problems.show(error, str)
            _end(exits.WRONG_CONFIGURATION)
    return name or os.environ.get("PIPELINE_FLOW_PROFILE") or None


def _end(code: int) -> NoReturn:
    raise typer.Exit(code)


def main() -> NoReturn:
    """Runs the command line and ends the process with one of the codes in :mod:`pipeline_flow.cli.exit`."""
    streams.prepare()
    code = exits.BUG
    try:
        try:
            app(prog_name="pipeline-flow")
        finally:
            sys.stdout.flush()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else exits.FINE if ended.code is None else exits.BUG
    except KeyboardInterrupt:
        code = exits.INTERRUPTED
    except OSError as error:
        if error.errno not in streams.FULL:
            traceback.print_exc()
        else:
            code = exits.PIPELINE_FAILED
            streams.give_up_stdout()
            sys.stderr.write(f"standard output cannot be written: {(error.strerror or str(error)).lower()}\n")
    except BaseException:  # noqa: BLE001 - the last line of defence
        from pipeline_flow.core.text import printable

        sys.stderr.write(printable(traceback.format_exc()))
        sys.stderr.write("\nThis is a bug in pipeline-flow. Please report it with the lines above.\n")
    sys.exit(code)
