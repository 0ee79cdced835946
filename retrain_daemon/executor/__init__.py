"""Worker processes: started or forked, held in, watched and ended, each with a job folder of its own.

`jobs.py` is the door. Nothing here knows the journal, the registry, or what a job is for. This file imports nothing, as
the guard is a process of its own that is to stay small.
"""
