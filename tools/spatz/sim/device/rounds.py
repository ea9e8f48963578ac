"""A node alone, boot after boot in virtual time: `micropython rounds.py`, SPATZ_WORLD=/path/world.json, working
directory = the node's files. Days take seconds, and no server is needed: a QuietNetwork answers.

Keys of the world besides those of board.py: "firmware" (its folder), "app_key" (hex), "sf" (the only one at which a
join is heard), "rounds" (how many usual ones are wanted: woken from deep sleep, sent, not joined).

Prints what the node prints and, last, a line "ROUNDS " with {"rounds": [{"us", "counts"}, ...], "end": how the last
boot ended, with "rule" or "error" where it says so}. Exit status 0 when the rounds are complete.
"""

import gc
import json
import os
import random
import sys

gc.threshold(200000)

import board  # noqa: E402
from fault import PowerDown, SimFault  # noqa: E402
from quietnet import QuietNetwork  # noqa: E402

PACKAGES = ("lorawan", "node", "payload", "radio", "sensors")
BOOT_LIMIT_US = 3600000000  # a boot that lasts longer has no end
MORE_BOOTS = 40  # than rounds are wanted: joins in vain at the other spreading factors


class StillAwake(BaseException):
    """This boot goes on for ever."""


def _limit():
    raise StillAwake


def _boot(b, network, main):
    """How main.py ended: a dict with "event"."""

    def answer(frame):
        reply = network.answer_to(frame)
        if reply is not None:
            b.air.add(frame["at"] + frame["airtime"] + reply[0], frame["freq"], frame["sf"], frame["bw"], reply[1])

    b.air.on_transmit = answer
    b.air.log = []
    b.air.downlinks = []
    b.clock.at(b.clock.now + BOOT_LIMIT_US, _limit)
    for name in list(sys.modules):
        if name.split(".")[0] in PACKAGES:
            del sys.modules[name]
    gc.collect()
    try:
        execfile(main, {"__name__": "__main__"})  # noqa: F821
    except PowerDown as down:
        return down.event
    except StillAwake:
        return {"event": "still awake"}
    except SimFault as fault:
        return {"event": "fault", "rule": str(fault)}
    except Exception as error:
        sys.print_exception(error)
        return {"event": "crashed", "error": f"{type(error).__name__}: {error}"}
    return {"event": "ended"}


def _usual(states):
    counts = states["counts"]
    sent = any(key.startswith("tx") for key in counts)
    return sent and "boot deepsleep" in counts and not any(key.startswith("join") for key in counts)


def _rounds(world):
    network = QuietNetwork(bytes.fromhex(world["app_key"]), world["sf"])
    wanted = world["rounds"]
    seed = world["seed"]
    rounds = []
    end = {"event": "no boot"}
    b = board.Board(world)
    for number in range(wanted + MORE_BOOTS):
        if number:
            b = b.reboot(seed=seed + number)
        random.seed(b.world["seed"])
        end = _boot(b, network, world["firmware"] + "/main.py")
        if end["event"] != "deepsleep":
            break
        rounds.append(end.pop("energy"))
        if sum(1 for states in rounds if _usual(states)) >= wanted:
            break
    return {"rounds": rounds, "end": end}


with open(os.getenv("SPATZ_WORLD")) as _file:
    _result = _rounds(json.load(_file))
print("ROUNDS " + json.dumps(_result))
sys.exit(0 if _result["end"]["event"] == "deepsleep" else 1)
