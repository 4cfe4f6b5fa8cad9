"""How fast a backlog drains: ``python -m bench.backlog``."""
