"""Drop folders: which files in them are complete, and new or changed.

A scan of the folder is the truth. File events only wake the loop and tell which files were renamed into place; a lost
event costs latency. Nothing here reads a file's content, knows the journal, or changes anything in a drop folder.
"""

from retrain_daemon.drops.folders import DropFolders
from retrain_daemon.drops.found import Found, Scan, Stamp, Unusable, Watched

__all__ = ["DropFolders", "Found", "Scan", "Stamp", "Unusable", "Watched"]
