"""The fault campaign: real collectors, broken on purpose, and counts of what came of it."""
