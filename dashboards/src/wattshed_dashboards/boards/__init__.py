"""The boards, in the order in which they are listed; each module holds one as ``BOARD``."""

from __future__ import annotations

from wattshed_dashboards.model import Board

from . import lifecycle, models, outcomes, placement

BOARDS: tuple[Board, ...] = (
    outcomes.BOARD,
    models.BOARD,
    placement.BOARD,
    lifecycle.BOARD,
)
