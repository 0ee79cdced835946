"""Rules of a policy: how their text is read, what they say about facts, and how that is told to people. CEL is known to
`programs.py` and `checked.py` alone.
"""
