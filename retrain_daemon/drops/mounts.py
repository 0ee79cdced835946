"""Which drop folders lie on a file system that other machines write to, where the kernel tells of no event of theirs.

From the text of /proc/self/mountinfo and a folder's device; nothing is mounted or asked for.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

#: How the kinds of such file systems begin. On them SQLite's locks cannot be relied on either.
REMOTE = ("nfs", "cifs", "smb", "9p", "afs", "ceph", "gluster", "fuse", "lustre", "virtiofs")
#: Begins like one of these, and is a disk of this machine.
_LOCAL = "fuseblk"


def remote_devices(mounts: str) -> Mapping[int, str]:
    """Given the text of /proc/self/mountinfo, the kind of each such file system by its device number."""
    found = {}
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        major, _, minor = before.split()[2].partition(":")
        kind = after.split()[0]
        if kind.startswith(REMOTE) and kind != _LOCAL:
            found[os.makedev(int(major), int(minor))] = kind
    return found


def remote_kind(folder: str, devices: Mapping[int, str]) -> str:
    """The kind of file system a folder is on if it is among `devices`; "" if not, or if it is not there."""
    try:
        return devices.get(os.stat(folder).st_dev, "") if devices else ""  # noqa: PTH116 (a thousand folders at once)
    except OSError:
        return ""
