"""A command of the image ``web``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

print("hello", *sys.argv[1:])
sys.exit(0 if Path(os.environ["PODROOT"], "healthy").exists() else 7)
