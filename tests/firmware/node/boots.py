"""Run under MicroPython: the real main.py on the virtual board, boot after boot, in virtual time.

Argument: the firmware's folder. Working directory: the node's files, and plan.json (MicroPython takes no argument as
long as a plan). Prints what the node prints and, last, a line "RESULT " with what was seen. The plan:

    boots      how many at most
    world      changes of the virtual board's world
    provision  false: the node has no identity
    deaf       how many transmissions the network does not hear
    downlinks  {boot: [port, hex, window]}
    nest       true: the network says what time it is, and asks for readings that it misses
    loss       percent of uplinks that the network does not hear
    calm       from this boot on it hears every uplink
    cuts       {boot: [event, what]}: event is "power_cut" or "brown_out"; what is the mode of the radio at which it
               happens, or a number of µs after the start of the boot
    between    {boot: "power_cut" | "damage_rtc"}, what happens before that boot
    limit_s    a boot that lasts longer is ended: "still awake"
    press_s, ctrl_c_s, plug_s, unplug_s   seconds after the start of a boot: the button is pressed for good, Ctrl-C is
               typed, a computer is plugged in, unplugged
"""

# This file is MicroPython's, with the modules of the virtual board:
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false, reportMissingModuleSource=false
# pyright: reportUndefinedVariable=false, reportOptionalMemberAccess=false

import gc
import json
import struct
import sys
from binascii import crc32

gc.threshold(200000)

import items  # noqa: E402
from board import Board  # noqa: E402
from fault import PowerDown  # noqa: E402
from node_fakes import APP_KEY, DEV_EUI, JOIN_EUI, Network  # noqa: E402

FIRMWARE = sys.argv[1]
with open("plan.json") as file:
    PLAN = json.load(file)
UNIX_TO_GPS = 315964800 - 18
PACKAGES = ("lorawan", "node", "payload", "radio", "sensors")


class EndOfBoot(BaseException):
    """The test has seen enough of this boot."""


class Nest:
    """What a nest does about readings that are missing: asks for them with every fifth uplink, until they come."""

    RANGES = 10

    def __init__(self):
        self.missing = {}  # session: FCnts
        self.session = 0
        self.expected = 0
        self.heard = 0
        self.orders = []

    def order(self, network, seen):
        """Look at the reading that was just heard; perhaps put a downlink into the queue."""
        session, fcnt, payload = network.join_nonce & 0xFF, seen["fcnt"], bytes.fromhex(seen["payload"])
        missing = self.missing.setdefault(session, [])
        if session != self.session:
            self.session, self.expected = session, 0
        missing += range(self.expected, fcnt)
        self.expected = fcnt + 1
        for item in items.read(items.items_of(payload)):
            if item[0] == "unsent" and fcnt not in missing:
                missing.append(fcnt)  # its parts
            elif item[0] == "none" or (item[0] == "reading" and item[3] == 0):
                gaps = self.missing.get(item[1], [])
                if item[2] in gaps:
                    gaps.remove(item[2])
        self.heard += 1
        if self.heard % 5 == 0 and any(self.missing.values()) and not network.downlinks:
            ranges = b""
            for number in sorted(self.missing):
                for first, count in spans(self.missing[number])[: self.RANGES - len(ranges) // 4]:
                    ranges += struct.pack(">BHB", number, first, count)
            ticket = 100 + len(self.orders) % 100
            self.orders.append(ticket)
            network.downlinks.append((2, bytes((ticket, 4, len(ranges) // 4)) + ranges))


def spans(fcnts):
    """[(first, count)] of numbers, of at most 255 each."""
    result = []
    for fcnt in sorted(fcnts):
        if result and sum(result[-1]) == fcnt and result[-1][1] < 255:
            result[-1][1] += 1
        else:
            result.append([fcnt, 1])
    return result


class Air:
    """The network behind the board's own air."""

    def __init__(self):
        self.network = Network(None)
        self.network.deaf = PLAN.get("deaf", 0)
        self.sent = []
        self.window = 1
        self.board = None
        self.nest = Nest() if PLAN.get("nest") else None
        self.uplinks = 0
        self.loss = PLAN.get("loss", 0)

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
        self.uplinks += 1
        if not seen["join"] and crc32(self.uplinks.to_bytes(4, "little")) % 100 < self.loss:
            return
        known = len(self.network.readings)
        ended_us = frame["at"] + frame["airtime"]
        seen["ended"] = board.unix_base() + ended_us / 1000000
        if self.nest:
            unix_256 = 256 * board.unix_base() + ended_us * 256 // 1000000
            self.network.gps = (unix_256 // 256 - UNIX_TO_GPS, unix_256 % 256)
        reply = self.network.reply(data)
        if len(self.network.readings) > known:
            seen["fcnt"], payload = self.network.readings[-1]
            seen["session"] = self.network.join_nonce & 0xFF
            seen["payload"] = payload.hex()
            seen["airtime"] = frame["airtime"]
            if self.nest:
                self.nest.order(self.network, seen)
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


def watch_readings(board, measured):
    """Note every reading when it is made, and the true time."""
    from node import measure

    take = measure.take

    def noting(*arguments):
        reading = take(*arguments)
        measured.append([board.unix_base() + board.clock.now / 1000000, dict(reading)])
        return reading

    measure.take = noting


def plan_happenings(board, cut):
    """What happens during a boot, at its moment. cut: of the plan, or None."""
    if cut:
        event, what = cut
        if isinstance(what, int):
            board.cut_power_at(board.clock.now + what, event)
        else:
            board.cut_power_when(lambda b: b.radio.mode == what, event)

    def limit():
        raise EndOfBoot

    def ctrl_c():
        raise KeyboardInterrupt

    def press():
        board.pad(0).driver = lambda: 0

    def plug():
        board.world["usb"] = True

    def unplug():
        board.world["usb"] = False

    happenings = {"limit_s": limit, "ctrl_c_s": ctrl_c, "press_s": press, "plug_s": plug, "unplug_s": unplug}
    for name, happening in happenings.items():
        if name in PLAN:
            board.clock.at(board.clock.now + PLAN[name] * 1000000, happening)


def one_boot(board, cut, measured):
    """How main.py ended."""
    start_us = board.clock.now
    plan_happenings(board, cut)
    for name in list(sys.modules):
        if name.split(".")[0] in PACKAGES:
            del sys.modules[name]
    watch_readings(board, measured)
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
    measured = []
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
        if boot == PLAN.get("calm"):
            air.loss = 0
        air.board = board
        board.air.on_transmit = air.on_transmit
        ends.append(one_boot(board, PLAN.get("cuts", {}).get(str(boot)), measured))
        if ends[-1]["event"] in ("still awake", "returned"):
            break
    result = {
        "ends": ends,
        "sent": air.sent,
        "nonces": air.network.nonces,
        "measured": measured,
        "rtc": bytes(board.rtc_memory).hex(),
    }
    print("RESULT " + json.dumps(result))


main()
