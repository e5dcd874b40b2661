"""`schema` prints what editors read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cli.shell import Shell

PLUGIN = """
print("printed at the import")

@extract(threaded=True)
def mine(how_many: int):
    return []
"""


def test_the_schema_is_json_with_the_plugins(shared: Shell) -> None:
    done = shared("schema")
    assert (done.code, done.err) == (0, "")
    found = json.loads(done.out)
    assert found["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert "args.load.parquet" in found["definitions"]


def test_the_plugins_of_a_file_are_in_it(shell: Shell) -> None:
    shell.configure(plugins=PLUGIN, pipelines={})
    done = shell("schema", "p.yaml")
    assert done.code == 0
    assert "printed at the import" in done.err
    assert "how_many" in json.loads(done.out)["definitions"]["args.extract.mine"]["properties"]


def test_a_file_of_plugins_that_is_not_there_is_named(shell: Shell) -> None:
    shell.write("p.yaml", "plugins: { custom: { files: [nope.py] } }\npipelines: {}\n")
    shell("schema", "p.yaml").assert_told(2, "nope.py does not exist")
