"""What could be done about waste, as rows and never as actions, each with its evidence and size.

``model`` is what advice is, ``rules`` find it, ``verify`` says afterwards whether it held.
"""
