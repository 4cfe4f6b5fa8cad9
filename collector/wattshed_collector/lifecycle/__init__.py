"""What hardware costs before it draws a joule: embodied carbon, SCI, when replacing it is worth it.

Pure functions; ``store/lifecycle`` and ``store/sci`` have the rows.
"""
