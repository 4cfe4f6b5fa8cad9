"""wattshed-collector: parse, build, run, exit code; and the way to the command wattshed."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import sys
from typing import TYPE_CHECKING

from wattshed_exporter.errors import ConfigError
from wattshed_exporter.settings import load

from .errors import StoreError, missing
from .redact import Redacting, redacted

if TYPE_CHECKING:
    from .config import Config

EXAMPLES = (
    "wattshed-collector",
    "wattshed-collector --listen 0.0.0.0:9740 --data /var/lib/wattshed "
    "--security.file /etc/wattshed/security.yaml",
    "wattshed-collector --scrape.targets http://node1:9741/metrics,http://node2:9741/metrics",
    "WATTSHED_COLLECTOR_DATA=/var/lib/wattshed wattshed-collector",
)


INTERRUPTED = 130
"""Exit status, as of ``wattshed``."""


def main() -> None:
    """Entry point of ``wattshed-collector``."""
    try:
        from .config import PREFIX, Config
    except ImportError as error:
        sys.exit(lacks(error))
    try:
        config = load(
            Config,
            sys.argv[1:],
            os.environ,
            prog="wattshed-collector",
            prefix=PREFIX,
            description="Store ticks, attribute every joule and answer questions about them.",
            epilog_examples=EXAMPLES,
        )
    except ConfigError as error:
        for problem in error.problems:
            print(f"wattshed-collector: {problem}", file=sys.stderr)
        sys.exit(2)
    sys.exit(run(config))


def run(config: Config) -> int:
    """Run the collector and return the exit code: 0 stopped, 1 could not start, 2 bad settings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Redacting("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=config.log_level.upper(), handlers=[handler])
    try:
        # Imported here because it loads the engine, which --help need not wait for.
        from .app import event_loop, serve

        with asyncio.Runner(loop_factory=event_loop()) as runner:
            runner.run(serve(config))
    except ImportError as error:
        return lacks(error)
    except KeyboardInterrupt:  # before there was anybody to stop in order
        return INTERRUPTED
    except ConfigError as error:  # a file that changed since it was checked
        for problem in error.problems:
            print(f"wattshed-collector: {problem}", file=sys.stderr)
        return 2
    except (StoreError, OSError) as error:
        print(f"wattshed-collector: {redacted(why(error, config.listen))}", file=sys.stderr)
        return 1
    return 0


def why(error: Exception, listen: str) -> str:
    """Return why it could not start; the loop words a port that is taken for programmers."""
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return f"--listen: another program listens on {listen}; stop it, or name another port"
    return str(error)


def command() -> None:
    """Entry point of ``wattshed``, which is there without the collector's packages as well."""
    try:
        from .cli import main as typed
    except ImportError as error:
        sys.exit(lacks(error, "wattshed"))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    typed()


def lacks(error: ImportError, program: str = "wattshed-collector") -> int:
    """Say which package there is not, and how to have it; return the exit code."""
    print(f"{program}: {missing(error)}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    main()
