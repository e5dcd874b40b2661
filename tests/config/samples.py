"""Configurations as people write them; the fuzzer mutates them."""

from __future__ import annotations

SHOP = """\
# The project of the design's first page
version: 1
name: shop
timezone: Europe/Warsaw
variables:
  since: {type: date, default: 2024-01-01}
  db: {host: localhost, ports: [5432, 5433]}
  url: "postgresql://${{ variables.db.host }}:${{ variables.db.ports.0 }}/shop"
secrets:
  warehouse:
    plugin: env
    args: {name: WAREHOUSE}
x-retry: &retry
  attempts: 3
  wait: 500ms
  on: [ConnectionError, timeout]
---
concurrency: ${{ env.CONCURRENCY }}
memory_limit: 512MiB
plugins:
  custom:
    files: []
pipelines:
  orders:
    description: Orders with their customers' segments
    type: ETLT
    phases:
      extract:
        steps:
          - id: orders
            plugin: reader
            args:
              path: orders.csv
              params: {since: "${{ variables.since }}"}
            retry: {attempts: 3, wait: 500ms, on: [ConnectionError, timeout]}
            timeout: 1h30m
          - id: customers
            plugin: reader
            args: {path: "customers ${{ run.date }}.csv"}
        merge:
          plugin: merger
      transform:
        steps:
          - plugin: changer
            args:
              query: |
                select o.*, c.segment
                from orders o join customers c using (customer_id)
                where day > '${{ variables.since }}'
      load:
        pre:
          - plugin: before
        steps:
          - id: warehouse
            plugin: writer
            args: {url: "${{ secrets.warehouse.url }}", token: "Bearer ${{ secrets.warehouse }}"}
          - id: lake
            plugin: writer
            args: {url: 'lake/$${{ literal }}.parquet'}
            on_bad_row: skip
      transform_at_load:
        steps:
          - plugin: finisher
  report:
    needs: [orders]
    phases:
      extract: {steps: [{plugin: reader, args: {path: a}}, &again {plugin: reader, args: {path: b}}, *again]}
      load: {steps: [{plugin: tables_writer}]}
"""

OF_108 = """\
variables:
  DB_CONNECTION_STRING: "postgresql://user:password@localhost:5432/mydb"
  DB_TABLE: "users"
  PORT: 5432

---  # New YAML document for the pipeline configuration

plugins:
  custom:
    dirs:
    files:
  community:

pipelines:
  test_pipeline:
    type: ETL
    description: A simple pipeline example
    phases:
      extract:
        plugin: reader
        args:
          path: ${{ variables.DB_TABLE }}
      transform:
        steps: []
      load:
        steps:
          - id: load data to database
            plugin: writer
            args:
              url: ${{ variables.DB_CONNECTION_STRING }}
              token: port ${{ variables.PORT }}, table ${{variables.DB_TABLE}}
  second:
    type: ELT
    needs: test_pipeline
    phases:
      extract:
        steps:
          - plugin_id: some unique id here
            plugin: reader
            args:
              path: x
      load:
        steps:
          - plugin: writer
            args: {url: y}
      transform_at_load:
        steps:
          - plugin: finisher
"""

ENVIRON = {"CONCURRENCY": "4", "EMPTY": "", "HOME": "/home/me", "TRAP": "${{ env.HOME }}"}
