"""Run under MicroPython: the real main.py on the virtual board, boot after boot, in virtual time.

Argument: the firmware's folder. Working directory: the node's files, and plan.json (MicroPython takes no argument as
long as a plan). Prints what the node prints and, last, a line "RESULT " with what was seen. The plan:

    boots      how many at most
    world      changes of the virtual board's world
    provision  false: the node has no identity
    deaf       how many transmissions the network does not hear
    downlinks  {boot: [port, hex, window]}
    between    {boot: "power_cut" | "damage_rtc"}, what happens before that boot
    limit_s    a boot that lasts longer is ended: "still awake"
    press_s, ctrl_c_s, unplug_s   seconds after the start of a boot: the button is pressed for good, Ctrl-C is typed,
               the computer is unplugged
"""

# This file is MicroPython's, with the modules of the virtual board:
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false, reportMissingModuleSource=false
# pyright: reportUndefinedVariable=false, reportOptionalMemberAccess=false

import gc
import json
import sys

gc.threshold(200000)

from board import Board  # noqa: E402
from fault import PowerDown  # noqa: E402
from node_fakes import APP_KEY, DEV_EUI, JOIN_EUI, Network  # noqa: E402

FIRMWARE = sys.argv[1]
with open("plan.json") as file:
    PLAN = json.load(file)
PACKAGES = ("lorawan", "node", "payload", "radio", "sensors")


class EndOfBoot(BaseException):
    """The test has seen enough of this boot."""


class Air:
    """The network behind the board's own air."""

    def __init__(self):
        self.network = Network(None)
        self.network.deaf = PLAN.get("deaf", 0)
        self.sent = []
        self.window = 1
        self.board = None

    def on_transmit(self, frame):
        board = self.board
        data = bytes(frame["data"])
        temperature, humidity, pressure = board.weather_now()
        seen = {key: frame[key] for key in ("at", "sf", "eirp", "flaws")}
        seen["join"] = data[0] == 0
        seen["weather"] = [temperature, humidity, pressure / 100, board.battery_mv_now() / 1000]
        self.sent.append(seen)
        if self.network.deaf:
            self.network.deaf -= 1
            return
        known = len(self.network.readings)
        reply = self.network.reply(data)
        if len(self.network.readings) > known:
            seen["fcnt"], payload = self.network.readings[-1]
            seen["payload"] = payload.hex()
        if reply:
            first_s = 5 if seen["join"] else 1
            channel = (frame["freq"], frame["sf"], frame["bw"]) if self.window == 1 else (869525000, 12, 125000)
            board.air.add(frame["at"] + frame["airtime"] + (first_s + self.window - 1) * 1000000, *channel, reply)


def provision():
    import esp32

    nvs = esp32.NVS("spatz")
    for key, value in (("dev_eui", DEV_EUI), ("join_eui", JOIN_EUI), ("app_key", APP_KEY)):
        nvs.set_blob(key, value)
    nvs.commit()


def plan_happenings(board):
    """What happens during a boot, at its moment."""

    def limit():
        raise EndOfBoot

    def ctrl_c():
        raise KeyboardInterrupt

    def press():
        board.pad(0).driver = lambda: 0

    def unplug():
        board.world["usb"] = False

    happenings = {"limit_s": limit, "ctrl_c_s": ctrl_c, "press_s": press, "unplug_s": unplug}
    for name, happening in happenings.items():
        if name in PLAN:
            board.clock.at(board.clock.now + PLAN[name] * 1000000, happening)


def one_boot(board):
    """How main.py ended."""
    start_us = board.clock.now
    plan_happenings(board)
    for name in list(sys.modules):
        if name.split(".")[0] in PACKAGES:
            del sys.modules[name]
    try:
        execfile(FIRMWARE + "/main.py")  # noqa: F821 - MicroPython's
        end = {"event": "returned"}
    except EndOfBoot:
        end = {"event": "still awake"}
    except PowerDown as down:
        end = dict(down.event)
    end["start"] = start_us
    end["awake_ms"] = (board.clock.now - start_us) // 1000
    end["light_ms"] = board.light_sleep_us // 1000
    return end


def main():
    air = Air()
    board = Board(PLAN.get("world", {}))
    if PLAN.get("provision", True):
        provision()
    ends = []
    for boot in range(PLAN["boots"]):
        happening = PLAN.get("between", {}).get(str(boot))
        if boot:
            board = board.reboot("power_on" if happening == "power_cut" else None)
        if happening == "damage_rtc":
            board.rtc_memory = board.rtc_memory[:20] + b"\xff\xff" + board.rtc_memory[22:]
        downlink = PLAN.get("downlinks", {}).get(str(boot))
        if downlink:
            port, payload, air.window = downlink
            air.network.downlinks.append((port, bytes.fromhex(payload)))
        air.board = board
        board.air.on_transmit = air.on_transmit
        ends.append(one_boot(board))
        if ends[-1]["event"] in ("still awake", "returned"):
            break
    result = {"ends": ends, "sent": air.sent, "nonces": air.network.nonces, "rtc_bytes": len(board.rtc_memory)}
    print("RESULT " + json.dumps(result))


main()
