"""``wattshed import``: history from elsewhere into the store."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from . import answers, import_files
from .answers import Remote
from .bars import shown

if TYPE_CHECKING:
    from wattshed_collector.receivers.sacct import Job, Reader

Subparsers = argparse._SubParsersAction

FIELDS = "JobIDRaw,JobName,User,Account,Partition,Cluster,AllocTRES,NodeList,Start,End,ElapsedRaw"
SACCT = """Reads what sacct prints with --parsable2, --parsable or --json, with any delimiter and
the columns in any order. Jobs that a node has seen get their names, users, accounts and exact ends;
jobs that none has seen are given the GPUs of their nodes: all of them where they had all, else an
equal share of each. Importing the same twice changes nothing."""
EXAMPLES = f"""examples:
  sacct -P -X -S now-7days --format {FIELDS} | wattshed import sacct -
  wattshed import sacct history.txt --timezone Europe/Berlin --dry-run
  sacct --json -S now-1day | wattshed import sacct - --cluster alpha --json
exit status: 0 done, 1 the store or the input cannot be read, 2 it is no output of sacct
"""


def register(commands: Subparsers[argparse.ArgumentParser]) -> None:
    """Add the group; each source is a command of its own."""
    group = commands.add_parser(
        "import",
        help="take over history from elsewhere: logs of other tools, Slurm's accounting",
        epilog="example: wattshed import nvidia-smi gpus.csv.gz --node gpu1",
    )
    sources = group.add_subparsers(metavar="SOURCE", required=True)
    sacct = sources.add_parser(
        "sacct",
        help="jobs of Slurm",
        description=SACCT,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sacct.add_argument("file", metavar="FILE", nargs="?", default="-", help="- is standard input")
    sacct.add_argument("--cluster", default="", help="only jobs and nodes of this cluster")
    sacct.add_argument(
        "--timezone", metavar="TZ", help="zone of its times (default: this machine's)"
    )
    sacct.add_argument(
        "--dry-run", action="store_true", help="say what would change, write nothing"
    )
    sacct.add_argument("--json", action="store_true", help="print the summary as JSON")
    answers.add_place(sacct)
    sacct.set_defaults(run=run_sacct)
    import_files.register(sources)


def run_sacct(arguments: argparse.Namespace) -> int:
    """Import one file; 0 done."""
    from wattshed_collector.receivers.files.lines import opened
    from wattshed_collector.receivers.files.times import zone
    from wattshed_collector.receivers.sacct import Reader

    place = zone(arguments.timezone)
    with opened(arguments.file) as stream:
        reader = Reader(stream, place)
        with _progress(reader, arguments.file) as jobs:
            done = _take(arguments, jobs)
    answer = {
        "dry_run": arguments.dry_run,
        **{name: done[name] for name in ("jobs", "running", "workloads", "allocations")},
        "shared_out": done["shared_out"],
        "steps": reader.counted.pop("step", 0),
        "left_out": {
            **{name: done[name] for name in LEFT_OUT if done[name]},
            **dict(sorted(reader.counted.items())),
        },
    }
    if arguments.json:
        print(json.dumps(answer, indent=2))
    else:
        _print(answer)
    return 0


LEFT_OUT = ("unknown_node", "gpus_not_said", "other_cluster")


def _take(arguments: argparse.Namespace, jobs: Iterator[Job]) -> Counter[str]:
    """Set the jobs against the store: through the collector that has it open, or directly."""
    if remote := answers.connect(arguments):
        return _send(remote, arguments, jobs)
    return _write(arguments, jobs)


def _send(remote: Remote, arguments: argparse.Namespace, jobs: Iterator[Job]) -> Counter[str]:
    from urllib.parse import urlencode

    from wattshed_collector.history import portions
    from wattshed_collector.receivers.history import PATH, documents

    query = urlencode({"cluster": arguments.cluster, "dry_run": int(arguments.dry_run)})
    counted: Counter[str] = Counter()
    for portion in portions(jobs):
        counted.update(remote.post(f"{PATH}?{query}", documents(portion)))
    return counted


def _write(arguments: argparse.Namespace, jobs: Iterator[Job]) -> Counter[str]:
    from wattshed_collector.history import History
    from wattshed_collector.store.write import Writer
    from wattshed_exporter.model import Batch

    with answers.existing(arguments.data) as (store, client):
        writer = Writer(store.client, window_seconds=0.0, share=1.0)

        def deliver(batch: Batch) -> None:
            if not arguments.dry_run:
                writer.submit(batch).result()

        try:
            history = History(client, deliver, arguments.cluster)
            history.take(jobs)
        finally:
            writer.close()
        if not arguments.dry_run:
            with answers.computing(store, client) as ledger:
                ledger.run()
        return history.counted


@contextmanager
def _progress(reader: Reader, file: str) -> Iterator[Iterator[Job]]:
    size = None if file == "-" else Path(file).stat().st_size
    with shown() as progress:
        task = progress.add_task("importing", total=size)

        def jobs() -> Iterator[Job]:
            for job in reader:
                yield job
                progress.update(task, completed=reader.bytes_read)

        yield jobs()


def _print(answer: dict[str, object]) -> None:
    would = "would be " if answer["dry_run"] else ""
    jobs, running, steps = (answer[name] for name in ("jobs", "running", "steps"))
    print(f"jobs: {jobs}, of them running: {running}; steps: {steps}")
    print(f"{would}written: {answer['workloads']} workloads, {answer['allocations']} allocations")
    if answer["shared_out"]:
        print(
            f"guessed: {answer['shared_out']}, where a job had some GPUs of a node and nobody "
            "knows which; it is given an equal share of each (method sacct_share)"
        )
    left = answer["left_out"]
    if isinstance(left, dict) and left:
        print("left out: " + ", ".join(f"{count} {reason}" for reason, count in left.items()))
