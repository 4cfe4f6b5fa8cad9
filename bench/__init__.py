"""Measured costs beside peers of the same kind; nothing here passes or fails."""
