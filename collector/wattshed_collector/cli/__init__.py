"""``wattshed``: what people type. Each command is a module; this one only knows their names."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from wattshed_collector.errors import CollectorError, InvalidInput, missing
from wattshed_exporter import __version__
from wattshed_exporter.errors import ConfigError

from . import shown
from .parsing import Parser

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130

EXAMPLES = """examples:
  wattshed up                                  measure this machine and show it
  wattshed demo                                the same, plus a simulated fleet
  wattshed report --since 24h                  tables in the terminal
  wattshed report --since 7d --html week.html  one self-contained page with plots
  wattshed report --team chat --month 2026-10  what a team drew, paid and emitted
  wattshed energy --by team --since 24h --json joules per team
  wattshed energy-per-outcome --outcome token_out --by ai_model   joules per token of each model
  wattshed quality compare --outcome token_out --metric rouge-l   what is worth its joules
  wattshed slo check                           does an objective for energy per outcome burn?
  wattshed alerts compile --set GPUIdleBurn.fire_above=80   rules for Prometheus, or Grafana
  wattshed expected-idle add --team chat --for 8h --reason notebooks   idleness that pages nobody
  wattshed advice list                         what could be done about waste, with its size
  wattshed when --site dublin --duration 4h --deadline 12h   when a job costs least carbon
  wattshed sci --outcome token_out             grams of CO2 per token, hardware included
  wattshed ledger recompute --from 24h --dry-run   what computing a day again would change
  wattshed backup /mnt/backups/monday          copy the store, also while it runs
  wattshed dead-letters list                   what could not be taken, and why
  wattshed targets --health down               what cannot be scraped, and why
  wattshed outcomes check http://gpu1:8000/metrics   what a serving engine's page would give
  wattshed import nvidia-smi gpus.csv --node gpu1   take over logs of other tools
  wattshed token new gpu-pool --role ingest    a token for exporters on other machines
  wattshed dashboards preview --out pictures   boards as Grafana would show them
  wattshed validate DIR --json                 check against an MLPerf result folder
  wattshed bench                               what this machine carries

exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted; where it says more (slo check, when,
decide, sci, replace, targets, quality drift, ...), the command's own --help has it.
"""

COMMANDS = {
    "up": ("up", "demo"),
    "show": ("report", "energy"),
    "per_outcome": ("energy-per-outcome",),
    "quality": ("quality",),
    "slo": ("slo",),
    "advice": ("advice",),
    "alerts": ("alerts",),
    "expected_idle": ("expected-idle",),
    "when": ("when",),
    "decide": ("decide", "shifted"),
    "devices": ("devices",),
    "sci": ("sci",),
    "procurement": ("scorecard", "replace"),
    "ledger": ("ledger",),
    "targets": ("targets",),
    "outcomes": ("outcomes",),
    "imports": ("import",),
    "dead_letters": ("dead-letters",),
    "backup": ("backup", "restore"),
    "migrate": ("migrate",),
    "move": ("move",),
    "sql": ("sql",),
    "dashboards": ("dashboards",),
    "token": ("token",),
    "validate": ("validate",),
    "bench": ("bench",),
}
"""What each module adds, in the order in which the help shows it."""


def parser(typed: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Build the command line; every command has its own --help with examples.

    Where ``typed`` begins with a command only that one's module is read: all of them together take
    as long as a short command.
    """
    root: argparse.ArgumentParser = Parser(
        prog="wattshed",
        description="Which workload used each joule, what it produced, what was wasted.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    root.add_argument("--version", action="version", version=f"wattshed {__version__}")
    commands = root.add_subparsers(metavar="COMMAND", required=True)
    meant = [module for module, names in COMMANDS.items() if {*typed[:1]} & {*names}]
    for module in meant or COMMANDS:
        importlib.import_module(f".{module}", __name__).register(commands)
    _register_completion(commands, root)
    return root


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of ``wattshed``: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    try:
        arguments = parser(sys.argv[1:] if argv is None else argv).parse_args(argv)
        status = int(arguments.run(arguments) or EXIT_OK)
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        status = EXIT_INTERRUPTED
    except SystemExit as ended:  # rich ends the program itself where nobody reads on
        if not isinstance(ended.__context__, BrokenPipeError):
            raise
        status = EXIT_OK
    except BrokenPipeError:
        # What is left in the buffer must not fail a second time while Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = EXIT_OK
    except ConfigError as error:
        for problem in error.problems:
            shown.say(f"wattshed: {problem}", sys.stderr)
        status = EXIT_USAGE
    except InvalidInput as error:
        shown.say(f"wattshed: {error}", sys.stderr)
        status = EXIT_USAGE
    except CollectorError as error:
        shown.say(f"wattshed: {error}", sys.stderr)
        status = EXIT_FAILED
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        shown.say(f"wattshed: {where}{error.strerror or error}", sys.stderr)
        status = EXIT_FAILED
    except ImportError as error:
        shown.say(f"wattshed: {missing(error)}", sys.stderr)
        status = EXIT_FAILED
    sys.exit(status)


def _register_completion(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], root: argparse.ArgumentParser
) -> None:
    command = commands.add_parser(
        "completion",
        help="print a completion script for the shell",
        epilog="example: wattshed completion bash > /etc/bash_completion.d/wattshed",
    )
    command.add_argument("shell", choices=("bash", "zsh", "tcsh"))

    def run(arguments: argparse.Namespace) -> None:
        import shtab

        print(shtab.complete(root, shell=arguments.shell))

    command.set_defaults(run=run)
