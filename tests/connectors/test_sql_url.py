"""Database URLs: what they mean, their canonical form, and that no password shows."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_flow.errors import WrongArgument
from pipeline_flow.secret import Secret, confidential
from pipeline_flow.sql import dialect, engine, product, url
from pipeline_flow.sql.quote import quote as quoted

PASSWORDS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=12)


@given(password=PASSWORDS, user=PASSWORDS)
def test_a_password_of_any_characters_arrives_and_never_shows(password: str, user: str) -> None:
    text = f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@db.example.com/shop"
    found = url.parse(text)
    assert found.password is not None
    assert (found.user, found.password.reveal()) == (user, password)
    hidden = "Secret('***')"
    assert hidden not in repr(found)
    assert f"{password}@" not in f"{found!r}{found}{found.url}".replace(repr(user), "")
    with pytest.raises(TypeError):
        pickle.dumps(found.password)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("postgres://me:x@DB.example.com/shop", "postgresql://db.example.com:5432/shop"),
        (
            "postgresql://you@db.example.com:5432/shop?sslmode=disable",
            "postgresql://db.example.com:5432/shop",
        ),
        ("postgresql://db.example.com:5433/shop", "postgresql://db.example.com:5433/shop"),
        ("postgresql://[::1]/shop", "postgresql://[::1]:5432/shop"),
        ("postgresql:///shop?host=/run/postgresql", "postgresql:///run/postgresql:5432/shop"),
        (
            "oracle+oracledb://me:x@H:1521/?service_name=A&encoding=",
            "oracle+oracledb://h:1521/?service_name=A",
        ),
        ("snowflake://me:x@acc/db/schema?warehouse=w&role=r", "snowflake://acc/db/schema?role=r&warehouse=w"),
        ("bigquery://p/d?credentials_base64=abcdef", "bigquery://p/d"),
        ("postgresql+psycopg://you@db/shop", "postgresql+psycopg://db/shop"),
        (
            "mssql+pyodbc:///?odbc_connect=Server%3Dh%3BUID%3Dme%3BPWD%3D%7Ba%3Bb%7D%3B",
            "mssql+pyodbc:///?odbc_connect=server%3Dh",
        ),
        ("mysql://h/shop", "mariadb://h:3306/shop"),
        ("MariaDB://h/shop", "mariadb://h:3306/shop"),
    ],
)
def test_one_database_has_one_canonical_url(text: str, canonical: str) -> None:
    assert url.parse(text).url == canonical


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("postgresql://me:hunter22@h", "names no database"),
        ("postgresql://me:hunter22@/x", "names no host"),
        ("postgresql://me:hunter22@h:port/x", "is not a port"),
        ("postgresql://me:hunter22@h:70000/x", "is not a port"),
        ("postgresql://me:hunter22@h/x/y", "more parts"),
        ("postgresql://me:hunter22@a,b/x", "several hosts"),
        ("postgresql://me:hunter22@h/x?sslmod=require", "did you mean `sslmode`"),
        ("postgresql://me:hunter22@h/x?sslmode=a&sslmode=b", "stands twice"),
        ("postgresql://me:hunter22@h/x?sslmode", "has no value"),
        ("postgresql://me:hunter22@h/x?host=/run", "folder of a socket"),
        ("postgresql://me:hun/ter22@h/x", "write %2F"),
        ("postgresql://me:hunter22%ff@h/x", "not UTF-8"),
        ("postgresql:me:hunter22@h/x", "is not the URL of a database"),
        ("sqlite://me:hun/ter22@h/x", "names a host"),
        ("oracel://me:hunter22@h/x", "did you mean `oracle`?"),
        ("postgressql://me:hunter22@h/x", "did you mean `postgresql`?"),
        ("postgres+psycopg2://me:hunter22@h/x", "did you mean `postgresql+psycopg2`?"),
        ("http://me:hunter22@h/x", "is not a database that is known"),
        ("mysql+asyncmy://me:hunter22@h/x", "only works on an event loop"),
        ("oracle://me:hunter22@h:x/", "is not a port"),
        ("oracle://me:hun/ter22@h/x", "write %2F"),
        ("oracle://me:hunter22@h/x?a=hunter22&a=2", "stands twice"),
        ("sqlite+pysqlite://me:hunter22@h/x", "names a host"),
        ("sqlite+pysqlite:///:memory:", "database in memory"),
    ],
)
def test_a_wrong_url_is_explained_without_its_password(text: str, said: str) -> None:
    with pytest.raises(WrongArgument) as caught:
        url.parse(text)
    assert said in str(caught.value)
    assert "ter22" not in f"{caught.value!r} {caught.value.hint}"
    with pytest.raises(WrongArgument) as caught:
        url.parse(Secret(text))
    assert "ter22" not in f"{caught.value!r} {caught.value.hint}"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("oracle+oracledb://me:p%40ss%20w@h/?service_name=x", "p@ss w"),
        ("mssql+pyodbc:///?odbc_connect=SERVER%3Dh%3BPWD%3D%7Bse%3Bcret%7D", "se;cret"),
        ("bigquery://p/d?credentials_base64=c2VjcmV0", "c2VjcmV0"),
        ("databricks://token:dapi123@h?http_path=/x&access_token=hunter22", "hunter22"),
    ],
)
def test_what_is_secret_in_any_url_is_known(text: str, secret: str) -> None:
    found = url.parse(text)
    assert secret in found.secrets
    assert secret in list(confidential(text))
    assert secret not in f"{found!r}{found}{found.url}"


def test_a_plugin_that_knows_its_databases_says_which() -> None:
    for text, said in (
        ("oracle://h/x", "not a database that this plugin knows"),
        ("postgresql+psycopg2://h/x", "write postgresql://"),
    ):
        with pytest.raises(WrongArgument, match=said):
            url.parse(text, url.OWN)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mysql://h/x", "MySQL is untested"),
        ("mariadb://h/x", ""),
        ("postgresql+psycopg2://h/x", "postgresql:// is faster"),
        ("oracle://${{ secrets.x }}@h/x", "Oracle is untested"),
        ("${{ secrets.x }}", ""),
        ("https://h/x", ""),
    ],
)
def test_what_a_reader_of_the_plan_should_know(text: str, said: str) -> None:
    assert said in product.caution(text)
    assert bool(said) == bool(product.caution(text))


def test_what_leaves_the_machine_is_known() -> None:
    assert all(
        url.parse(text).is_local
        for text in (
            "postgresql://localhost/x",
            "postgresql://127.3.0.1/x",
            "postgresql://[::1]/x",
            "sqlite:///x.db",
            "postgresql:///x?host=/run",
        )
    )
    assert not url.parse("postgresql://db/x").is_local
    assert not url.parse("postgresql://10.0.0.1/x").is_local


def test_a_name_is_quoted_or_refused_never_cut() -> None:
    assert quoted("a`b", dialect=dialect.MARIADB) == "`a``b`"
    assert quoted('a"b', "c", dialect=dialect.POSTGRESQL) == '"a""b"."c"'
    assert quoted("ä" * 31, dialect=dialect.POSTGRESQL)
    with pytest.raises(ValueError, match="64 bytes long, and PostgreSQL takes 63"):
        quoted("ä" * 32, dialect=dialect.POSTGRESQL)
    assert quoted("ä" * 64, dialect=dialect.MARIADB)
    with pytest.raises(ValueError, match="65 characters"):
        quoted("ä" * 65, dialect=dialect.MARIADB)
    assert quoted("ä" * 200)
    for name in ("", "a\0b"):
        with pytest.raises(ValueError, match="cannot be a name"):
            quoted(name, dialect=dialect.MARIADB)


def test_a_table_is_one_target_however_it_is_written() -> None:
    assert dialect.DUCKDB.target(("Main", "T")) == dialect.DUCKDB.target(("t",))
    assert dialect.POSTGRESQL.target(("public", "T")) == dialect.POSTGRESQL.target(("T",))
    assert dialect.POSTGRESQL.target(("T",)) != dialect.POSTGRESQL.target(("t",))


def test_an_engine_is_found_by_its_database(tmp_path: Path) -> None:
    assert engine.of(url.parse(f"duckdb:///{tmp_path}/x")).dialect is dialect.DUCKDB
    assert engine.of(url.parse(f"sqlite:///{tmp_path}/x")).dialect is dialect.SQLITE


def test_a_driver_that_is_not_installed_is_named_with_the_remedy() -> None:
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from pipeline_flow.sql import engine, url\n"
        "try: engine.of(url.parse('postgresql://h/x'))\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "WrongArgument" in done.stdout
    assert "psycopg" in done.stdout
    assert "pip install 'pipeline-flow[postgres]'" in done.stdout


def test_no_driver_is_imported_before_a_url_names_it() -> None:
    code = (
        "import sys\n"
        "from pipeline_flow.core.discovery import catalog\n"
        "for kind in ('extract', 'load', 'transform_at_load'): catalog().find(kind, 'sql')\n"
        "print([name for name in ('psycopg', 'pymysql', 'duckdb', 'sqlite3', 'sqlalchemy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
