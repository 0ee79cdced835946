"""The retraining daemon: observe, decide, act.

`core` decides and is pure; `worker` trains in processes of its own; the modules beside this one are the shell.
"""

__version__ = "0.1.0"
