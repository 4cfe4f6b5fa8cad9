"""``python -m wattshed_collector.cli`` is ``wattshed``."""

from . import main

main()
