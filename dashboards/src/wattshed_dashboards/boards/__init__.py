"""The boards, in the order in which they are listed; each module holds one as ``BOARD``."""

from __future__ import annotations

from wattshed_dashboards.model import Board

from . import fleet, lifecycle, models, node, outcomes, placement, stack, waste, workloads

BOARDS: tuple[Board, ...] = (
    fleet.BOARD,
    waste.BOARD,
    workloads.BOARD,
    outcomes.BOARD,
    models.BOARD,
    placement.BOARD,
    lifecycle.BOARD,
    node.BOARD,
    stack.BOARD,
)
