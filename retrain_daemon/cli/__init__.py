"""The command line: verbs, flags, exit codes, and the one place where real things are put together.

What a verb does lives in the parts it calls; here it is only read, asked for, and printed.
"""
