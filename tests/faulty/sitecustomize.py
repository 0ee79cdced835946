"""Python runs this at the start of every process that has this folder on its path: daemon and workers of a box whose
faults are armed. Without FAULTS in the environment nothing happens.
"""

import os

if os.environ.get("FAULTS"):
    from tests import faults

    faults.arm()
