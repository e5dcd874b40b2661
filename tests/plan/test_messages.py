"""What people see where configuration and plugins do not fit, word for word. `--rewrite-golden` writes the files anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline_flow import config, plan
from pipeline_flow.errors import ConfigError
from tests.plan.plugins import catalog

if TYPE_CHECKING:
    from collections.abc import Callable

MISTAKES = {
    "plugins": """
pipelines:
  orders:
    phases:
      extract:
        steps:
          - plugin: raeder
          - plugin: sync_reader
          - plugin: reader
            args:
              pth: orders.csv
              rows: many
        merge:
          plugin: changer
      transform:
        steps:
          - plugin: async_changer
      load:
        steps:
          - plugin: sync_writer
          - plugin: writer
""",
    "phases": """
pipelines:
  orders:
    type: ETL
    phases:
      extract: {steps: [{plugin: generator}]}
      load: {steps: [{plugin: tables_writer}]}
      transform_at_load: {steps: [{plugin: finisher}]}
  customers:
    phases:
      extract: {steps: [{plugin: generator}], merge: {plugin: merger}}
""",
    "needs": """
pipelines:
  a: {needs: [b, custmers], phases: {extract: {plugin: generator}, load: {plugin: tables_writer}}}
  b: {needs: c, phases: {extract: {plugin: generator}, load: {plugin: tables_writer}}}
  c: {needs: [customers, a], phases: {extract: {plugin: generator}, load: {plugin: tables_writer}}}
  customers: {needs: customers, phases: {extract: {plugin: generator}, load: {plugin: tables_writer}}}
""",
    "tables": """
pipelines:
  orders:
    phases:
      extract:
        steps:
          - {id: orders, plugin: generator}
          - {id: customers, plugin: generator}
          - {id: orders, plugin: generator}
      load:
        steps:
          - {plugin: writer, args: {url: x}}
          - {plugin: writer, args: {url: y}, input: order}
""",
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_explained(name: str, golden: Callable[[str, str], None]) -> None:
    found = config.load(config.Source(MISTAKES[name].lstrip("\n"), "pipelines.yaml"), keep_going=True)
    with pytest.raises(ConfigError) as caught:
        plan.build(found, catalog())
    golden(f"{name}.txt", f"{caught.value}\n")
