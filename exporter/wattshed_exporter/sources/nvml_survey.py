"""Everything that one GPU is asked now and then, put together.

Where the board is cut into MIG instances, or made whole again, every question is asked anew.
"""

from __future__ import annotations

from collections.abc import Iterator

from . import nvml_mig
from .nvml_activity import PIPES, SM_UTIL, Gpm, Processes
from .nvml_board import Board
from .nvml_details import Questions, Said
from .nvml_library import NEVER, Library

MIG = "mig"


class Survey:
    """The details of one GPU.

    Args:
        library: the library that was opened.
        board: the GPU; its activity and contexts are renewed by every read.
        all_processes: whether process lists are complete here.
    """

    def __init__(self, library: Library, board: Board, *, all_processes: bool) -> None:
        self._library = library
        self._board = board
        self._all_processes = all_processes
        self._closed: set[str] = set()
        self._questions = Questions(library, board.handle)
        self._gpm = Gpm(library, board.handle, self._closed)
        self._processes = Processes(library, board.handle, self._closed)
        self._cut = False

    def read(self, since_us: int) -> dict[tuple[str, tuple[str, ...]], float]:
        """Return values by metric and own labels; processes are those since a time in us."""
        self._look_for_instances()
        said = {(metric, own): value for metric, own, value in self._ask(since_us)}
        if self._cut:
            instances = nvml_mig.instances(self._library, self._board.handle)
            said.update(((metric, own), value) for metric, own, value in instances)
        return said

    def close(self) -> None:
        """Give back what the driver holds for this GPU."""
        self._gpm.close()

    def _look_for_instances(self) -> None:
        if MIG in self._closed:
            return
        cut, code = nvml_mig.mode(self._library, self._board.handle)
        if code in NEVER:
            self._closed.add(MIG)
        elif not code and cut != self._cut:
            self._cut = cut
            self._closed.clear()
            self._questions.forget()
            self._gpm.close()

    def _ask(self, since_us: int) -> Iterator[Said]:
        yield from self._questions.read()
        yield from self._activity(since_us)
        board = self._board
        for metric, value in (
            ("wattshed_memory_total_bytes", board.memory_total_bytes),
            ("wattshed_memory_activity_ratio", board.memory_activity_ratio),
            ("wattshed_contexts", board.contexts),
        ):
            if value is not None:
                yield metric, (), float(value)

    def _activity(self, since_us: int) -> Iterator[Said]:
        board = self._board
        used = self._processes.utilization(since_us) if self._all_processes else None
        board.contexts = self._processes.contexts() if self._all_processes else None
        ratios = self._gpm.read()
        board.activity_ratio = ratios.get(SM_UTIL, used)
        if used is not None:
            yield "wattshed_process_utilization_ratio", (), used
        if SM_UTIL in ratios:
            yield "wattshed_sm_activity_ratio", (), ratios[SM_UTIL]
        for metric, pipe in PIPES.items():
            if metric in ratios:
                yield "wattshed_pipe_activity_ratio", (pipe,), ratios[metric]
