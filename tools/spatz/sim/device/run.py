"""One boot of a virtual node: `micropython run.py`, SPATZ_WORLD=/path/world.json, working directory = the node's files.

Builds the board, then runs the firmware's main.py (world key "main", or the first main.py on sys.path that is not
the emulator's). state_dir/power.json says how the boot ended, and so does the exit status:

    0  deepsleep, reset, soft_reset, wdt; "ended" when main.py returned or Ctrl-C
       stopped it (a real board would show its prompt)
    1  crashed: main.py raised; the traceback is on stdout
    3  fault: the firmware broke a rule of the hardware, or the air is gone
"""

import gc
import json
import os
import random
import sys

GC_THRESHOLD = 200000  # a few times what a node keeps alive

gc.threshold(GC_THRESHOLD)

import board  # noqa: E402
from fault import PowerDown, SimFault  # noqa: E402


def _world():
    path = os.getenv("SPATZ_WORLD")
    if not path:
        raise SimFault("SPATZ_WORLD must name the world.json of a virtual node")
    try:
        with open(path) as file:
            return json.load(file)
    except (OSError, ValueError) as error:
        raise SimFault(f"{path} is no world.json: {error}")


def _main_path(world):
    if world.get("main"):
        return world["main"]
    for place in sys.path[1:]:
        try:
            path = place + "/main.py"
            os.stat(path)
            return path
        except OSError:
            pass
    raise SimFault("no main.py on MICROPYPATH")


def _note(b, event):
    """A boot that ended by itself: what is left for the supervisor."""
    if b is not None:
        try:
            b.end(event)
        except (PowerDown, SimFault):
            pass  # the end of this boot is what was asked for


_board = None
_status = 0
try:
    _board = board.Board(_world())
    random.seed(_board.world["seed"])  # what the firmware leaves to chance repeats with the world
    execfile(_main_path(_board.world), {"__name__": "__main__"})  # noqa: F821
    _note(_board, {"event": "ended"})
except PowerDown:
    pass
except SimFault as error:
    _status = 3
    sys.print_exception(error)
    _note(_board, {"event": "fault", "rule": str(error)})
except KeyboardInterrupt:
    _note(_board, {"event": "ended"})
except SystemExit:
    _note(_board, {"event": "soft_reset"})
except Exception as error:
    _status = 1
    sys.print_exception(error)
    _note(_board, {"event": "crashed", "error": f"{type(error).__name__}: {error}"})
sys.exit(_status)
