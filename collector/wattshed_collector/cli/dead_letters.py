"""``wattshed dead-letters``: bodies that the collector could not take, and why."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed_collector.errors import InvalidInput, Permanent

from . import access, answers, shown
from .answers import Remote

if TYPE_CHECKING:
    from wattshed_collector.receivers.dead_letters import DeadLetters, Letter

Subparsers = argparse._SubParsersAction

FOLDER = "WATTSHED_COLLECTOR_DEAD_LETTERS_FOLDER"
DESCRIPTION = """A request that can never be taken is refused, and its body is kept with the reason:
it was damaged, or written by a program that this version does not understand, or the store will not
have it. None of it is lost while it is here, and none of it holds anybody up."""
EXAMPLES = """examples:
  wattshed dead-letters list
  wattshed dead-letters list --json | jq -r '.[] | select(.receiver == "otlp") | .id'
  wattshed dead-letters show 1f0c9ab23d4e5f67
  wattshed dead-letters show 1f0c9ab23d4e5f67 --body > request.bin
  wattshed dead-letters retry --all            after an upgrade
  wattshed dead-letters drop 1f0c9ab23d4e5f67
exit status: 0 done, 1 a body was refused again or nobody answers, 2 there is no such letter
"""


def register(commands: Subparsers[argparse.ArgumentParser]) -> None:
    """Add the group; each action is a command of its own."""
    group = commands.add_parser(
        "dead-letters",
        help="bodies that the collector could not take: list, show, retry or drop them",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = group.add_subparsers(metavar="ACTION", required=True)
    listed = _action(actions, "list", "what is kept, the oldest first", run_list)
    listed.add_argument("--json", action="store_true", help="print the letters as JSON")
    show = _action(actions, "show", "one letter, or its body", run_show)
    show.add_argument("id", metavar="ID")
    show.add_argument("--body", action="store_true", help="write the body, as it was sent")
    show.add_argument("--json", action="store_true", help="print the letter as JSON")
    retry = _action(actions, "retry", "send to the collector again; what is taken goes", run_retry)
    retry.add_argument("--url", help="URL of the collector (default: who runs on the data folder)")
    access.add_arguments(retry)
    drop = _action(actions, "drop", "forget for ever", run_drop)
    for action in (retry, drop):
        action.add_argument("ids", metavar="ID", nargs="*")
        action.add_argument("--all", action="store_true", help="every letter")
        action.add_argument("--json", action="store_true", help="print what was done as JSON")


def run_list(arguments: argparse.Namespace) -> int:
    """Print what is kept."""
    letters = _letters(arguments).list()
    if arguments.json:
        print(json.dumps([asdict(letter) for letter in letters], indent=2))
        return 0
    if not letters:
        print("no dead letters")
        return 0
    titles = ("id", "last came", "times", "receiver", "sender", "why")
    shown.table(titles, map(_cells, letters))
    return 0


def _cells(letter: Letter) -> tuple[str, ...]:
    came = letter.id, _instant(letter.last), str(letter.times)
    return (*came, letter.receiver, letter.sender, f"{letter.reason}: {letter.message}")


def run_show(arguments: argparse.Namespace) -> int:
    """Print one letter, or write its body to standard output."""
    letter, body = _letters(arguments).get(arguments.id)
    if arguments.body:
        sys.stdout.buffer.write(body)
    elif arguments.json:
        print(json.dumps(asdict(letter), indent=2))
    else:
        for name, value in asdict(letter).items():
            told = _instant(value) if name in ("first", "last") else value
            shown.say(f"{name.replace('_', ' ')}: {told}")
    return 0


def run_retry(arguments: argparse.Namespace) -> int:
    """Send letters again; 1 where one was refused."""
    letters, remote = _letters(arguments), answers.running(arguments)

    def again(letter_id: str) -> str:
        refused = _send(remote, *letters.get(letter_id))
        if not refused:
            letters.drop(letter_id)
        return refused or "taken"

    done = _each(arguments, letters, again)
    return 0 if all(result == "taken" for result in done.values()) else 1


def run_drop(arguments: argparse.Namespace) -> int:
    """Forget letters."""
    letters = _letters(arguments)

    def forget(letter_id: str) -> str:
        letters.drop(letter_id)
        return "dropped"

    _each(arguments, letters, forget)
    return 0


def _action(
    actions: Subparsers[argparse.ArgumentParser],
    name: str,
    told: str,
    run: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
    action = actions.add_parser(
        name, help=told, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    action.add_argument(
        "--data",
        default=os.environ.get("WATTSHED_COLLECTOR_DATA", answers.DEFAULT_DATA),
        metavar="FOLDER",
        help="data folder of the collector (default: %(default)s)",
    )
    action.add_argument(
        "--folder",
        default=os.environ.get(FOLDER),
        help="folder of the letters (default: dead-letters in the data folder)",
    )
    action.set_defaults(run=run)
    return action


def _letters(arguments: argparse.Namespace) -> DeadLetters:
    from wattshed_collector.config import DeadLetterFolder
    from wattshed_collector.receivers.dead_letters import DeadLetters

    told = DeadLetterFolder(folder=Path(arguments.folder) if arguments.folder else None)
    folder = told.where(arguments.data)
    if folder is None:
        raise InvalidInput("a ClickHouse server holds no dead letters: name --folder", "folder")
    return DeadLetters(folder, told.max_bytes, told.max_letters)


def _each(
    arguments: argparse.Namespace, letters: DeadLetters, act: Callable[[str], str]
) -> dict[str, str]:
    if bool(arguments.ids) == arguments.all:
        raise InvalidInput("name the letters by their ID, or all of them by --all", "letter")
    ids = [letter.id for letter in letters.list()] if arguments.all else arguments.ids
    done: dict[str, str] = {}
    try:
        for letter_id in ids:
            done[letter_id] = act(letter_id)
            if not arguments.json:
                shown.say(f"{letter_id}: {done[letter_id]}")
    finally:
        if arguments.json:  # also where the collector went away after some of them
            print(json.dumps(done, indent=2))
    return done


def _send(remote: Remote, letter: Letter, body: bytes) -> str:
    """Send a body as it came; return why it was refused, "" where it was taken."""
    told = {
        "Content-Type": letter.content_type,
        "Content-Encoding": letter.content_encoding,
    }
    headers = {name: text for name, text in told.items() if text}
    try:
        remote.send(letter.path, body, headers)
    except (InvalidInput, Permanent) as error:
        return f"refused: {error}"
    return ""


def _instant(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
