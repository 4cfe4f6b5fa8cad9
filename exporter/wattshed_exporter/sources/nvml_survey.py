"""Everything that one GPU is asked now and then, put together.

Where the board is cut into MIG instances, or made whole again, every question is asked anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from . import nvml_mig
from .nvml_activity import PIPES, SM_UTIL, Gpm, Processes, Use
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
        self._parts_gpm: dict[int, Gpm] = {}
        self.uses: Sequence[Use] | None = None
        """Every process on the GPU as last read, None where they are not told."""
        self.parts: Sequence[tuple[nvml_mig.Part, float | None]] = ()
        """Every instance of the board as last read, and the part of it that worked."""

    def read(self, since_us: int) -> dict[tuple[str, tuple[str, ...]], float]:
        """Return values by metric and own labels; processes are those since a time in us."""
        self._look_for_instances()
        said = {(metric, own): value for metric, own, value in self._ask(since_us)}
        parts = list(nvml_mig.instances(self._library, self._board.handle)) if self._cut else []
        self.parts = tuple(zip(parts, self._worked(parts), strict=True))
        said.update(((metric, own), value) for metric, own, value in nvml_mig.say(parts))
        return said

    def close(self) -> None:
        """Give back what the driver holds for this GPU."""
        self._gpm.close()
        while self._parts_gpm:
            self._parts_gpm.popitem()[1].close()

    def _worked(self, parts: Sequence[nvml_mig.Part]) -> Iterator[float | None]:
        """Yield the part of each instance that worked since the last read.

        It is measured by GPU instance; which of its compute instances worked, nobody tells.
        """
        counts = Counter(part.place[0] for part in parts)
        for gone in self._parts_gpm.keys() - counts.keys():
            self._parts_gpm.pop(gone).close()
        ratios: dict[int, float | None] = {}
        for gpu in counts:
            if gpu not in self._parts_gpm:
                handle = self._board.handle
                self._parts_gpm[gpu] = Gpm(self._library, handle, self._closed, gpu)
            ratios[gpu] = self._parts_gpm[gpu].read().get(SM_UTIL)
        for part in parts:
            yield ratios[part.place[0]] if counts[part.place[0]] == 1 else None

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
            self.close()

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
        self.uses = self._processes.read(since_us) if self._all_processes else None
        used = self._processes.utilization
        pids = None if self.uses is None else {use.pid for use in self.uses if use.has_context}
        board.contexts = None if pids is None else len(pids)
        ratios = self._gpm.read()
        board.activity_ratio = ratios.get(SM_UTIL, used)
        if used is not None:
            yield "wattshed_process_utilization_ratio", (), used
        if SM_UTIL in ratios:
            yield "wattshed_sm_activity_ratio", (), ratios[SM_UTIL]
        for metric, pipe in PIPES.items():
            if metric in ratios:
                yield "wattshed_pipe_activity_ratio", (pipe,), ratios[metric]
