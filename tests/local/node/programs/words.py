"""Says its arguments, one a line, and exits with the code EXIT after SLEEP seconds.

On SIGTERM it exits with 0, unless it is STUBBORN.
"""

from __future__ import annotations

import os
import signal
import sys
import time


def leave(*_: object) -> None:
    print("leaving")
    sys.exit(0)


signal.signal(signal.SIGTERM, signal.SIG_IGN if "STUBBORN" in os.environ else leave)
for word in sys.argv[1:]:
    print(word)
time.sleep(float(os.environ.get("SLEEP", "0")))
sys.exit(int(os.environ.get("EXIT", "0")))
