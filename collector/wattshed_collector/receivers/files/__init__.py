"""Files of other tools to readings: one module per format, each a pure function over lines.

A format's function takes numbered lines and a ``Tally`` and yields ``Reading`` values; what cannot
be used is counted in the tally under one word, with the first line where it happened. Readings
become points in ``paced`` and go through the same checks as whatever a receiver takes.
"""

from __future__ import annotations

from .reading import Line, Place, Reading, Tally, paced

__all__ = ("Line", "Place", "Reading", "Tally", "paced")
