"""wattshed-exporter: the node agent that reads power and energy meters."""

__version__ = "0.9.0"
