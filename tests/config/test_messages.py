"""What people see for typical mistakes, word for word. `pytest --rewrite-golden` writes the files anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline_flow import config
from pipeline_flow.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

MISTAKES = {
    "unknown_key": """
pipelines:
  orders:
    needs: []
    phases:
      extract:
        steps:
          - plugin: csv
            retires: 3
            path: orders.csv
      load: {steps: [{plugin: parquet}]}
""",
    "phases_in_the_wrong_place": """
pipelines:
  orders:
    typ: ETL
    extract:
      steps: [{plugin: csv}]
""",
    "missing": """
pipelines:
  orders:
    phases:
      extract:
        steps:
          - id: orders
            args: {path: a.csv}
      load:
  customers:
    type: etl
""",
    "types": """
concurrency: two
memory_limit: 5M
timezone: Europe/Warszawa
timeout: 5 min
retry: {attempts: 0, on: [{a: b}]}
fail_fast: yes
pipelines: [orders]
""",
    "placeholders": """
variables: {since: 2024-01-01, db: {host: localhost}}
pipelines:
  orders:
    phases:
      extract:
        steps:
          - plugin: sql
            args:
              url: postgresql://${{ variables.db.hots }}/${{ env.SHOP_DATABASE }}
              query: |
                select *
                from orders where day > '${{ variables.sinse }}' and x = ${{ foo.bar }}
              token: "Bearer ${{ secrets.token"
      load: {steps: [{plugin: parquet}]}
""",
    "secrets": """
secrets:
  token: {plugin: env, args: {name: TOKEN}}
pipelines:
  orders:
    needs: ${{ secrets.token }}
    phases:
      extract: {steps: [{plugin: csv, id: "a-${{ secrets.token }}"}]}
      load: {steps: [{plugin: parquet, args: {x: "${{ secrets.tokn }}"}}]}
""",
    "duplicate_key": "pipelines:\n  orders: {}\n  orders: {}\n",
    "tag_and_merge": "x-base: &base {retry: 3}\npipelines:\n  orders:\n    <<: *base\n    description: !!str 5\n",
    "indentation": "pipelines:\n  orders:\n    phases:\n     extract:\n    load:\n   x: 1\n",
    "tab": "pipelines:\n\torders: 1\n",
    "unquoted_placeholder": "pipelines:\n  orders: {args: {path: ${{ env.HOME }}}}\n",
    "colon_in_text": "pipelines:\n  orders:\n    description: Orders: all of them\n",
    "open_quote": 'name: "shop\npipelines: {}\n',
    "laughs": "a: &a [x, x, x, x]\n"
    + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(8)),
    "empty": "# nothing yet\n",
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_explained(name: str, golden: Callable[[str, str], None]) -> None:
    with pytest.raises(ConfigError) as caught:
        config.load(
            config.Source(MISTAKES[name].lstrip("\n"), "pipelines.yaml"), environ={"SHOP_DATABSE": "x"}
        )
    golden(f"{name}.txt", f"{caught.value}\n")
