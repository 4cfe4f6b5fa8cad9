"""Rules that turn counters of serving engines and trainers into outcomes: data, and what reads it.

``engines`` is the table, ``own`` makes rules of what an operator writes, ``book`` finds the rules
of a metric by its name, ``readings`` applies them to a page, and ``owners`` says whose it was.
"""
