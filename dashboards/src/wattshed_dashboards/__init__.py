"""What operators look at and are woken by, as data: boards, their panels, and alerts.

Nothing here measures, stores or serves. The collector imports this room, never the other way round.
"""
