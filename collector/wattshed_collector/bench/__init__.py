"""``wattshed bench``: what this machine carries, measured on a collector of its own for a while."""
