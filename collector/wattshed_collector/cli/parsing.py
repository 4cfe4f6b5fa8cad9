"""Words of the command line that there are not: said by the command that they were given to."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

ALIKE = 0.7
"""Likeness (0 to 1) from which a word is taken for another one mistyped."""


class Parser(argparse.ArgumentParser):
    """Ends with its own usage where a flag is unknown, and names the nearest one."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Take everything: what a command leaves, nobody else would read."""
        found, left = super().parse_known_args(args, namespace)
        if left:
            self.error(f"unknown {', '.join(left)}{self._nearest(left[0])}")
        return found, left

    def error(self, message: str) -> NoReturn:
        """End with the usage and a sentence."""
        word, _, known = message.partition(" (choose from ")
        if "invalid choice: " in word:
            near = get_close_matches(
                word.rpartition("'")[0].rpartition("'")[2], _words(known), 1, ALIKE
            )
            message += f"; did you mean {near[0]}?" if near else ""
        super().error(message)

    def _nearest(self, word: str) -> str:
        flags = [flag for action in self._actions for flag in action.option_strings]
        near = get_close_matches(word.partition("=")[0], flags, 1, ALIKE)
        return f"; did you mean {near[0]}?" if near else ""


def _words(known: str) -> list[str]:
    return [word.strip(" '") for word in known.removesuffix(")").split(",")]
