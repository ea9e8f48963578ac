"""The virtual board's weather for tests (CPython): by its path, because its folder shadows `time`."""

import importlib.util
from pathlib import Path

_PATH = Path(__file__).resolve().parents[3] / "tools/spatz/sim/device/weather.py"
_SPEC = importlib.util.spec_from_file_location("device_weather", _PATH)
assert _SPEC
assert _SPEC.loader
weather = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(weather)
