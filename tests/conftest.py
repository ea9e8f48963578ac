"""For all tests: what is compiled and fetched is kept beside pytest's own cache, never in the user's."""

from __future__ import annotations

import os
from pathlib import Path

os.environ["SPATZ_CACHE"] = str(Path(__file__).resolve().parents[1] / ".pytest_cache" / "spatz")
