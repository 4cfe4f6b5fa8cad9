"""ClickHouse's HTTP interface, read-only, on the embedded store: for Grafana and other clients.

What somebody wrote never reaches the engine as it is. ``guard`` has the engine parse it, walks the
syntax tree, in which nothing may stand that is not on a list, and hands on the tree's own text.
"""
