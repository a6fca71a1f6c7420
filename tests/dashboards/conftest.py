"""Makes `dashboards` and the helpers beside these tests importable."""

from __future__ import annotations

import sys
from pathlib import Path

_HERE = Path(__file__).parent
for directory in (_HERE, _HERE.parent.parent):
    if str(directory) not in sys.path:
        sys.path.insert(0, str(directory))
