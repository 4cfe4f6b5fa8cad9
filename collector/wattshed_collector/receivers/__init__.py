"""Receivers accept data: each reads a wire format, hands points to ``normalise`` and facts to the
writer, and tells the sender the truth about what became of them."""
