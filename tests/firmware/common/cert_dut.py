"""A device under test: the firmware's MAC with its memory, told by dicts what to do; somebody else is radio and clock.

Written for both interpreters. On CPython `cert_lab` holds a `Dut` and is called back; run as a program on MicroPython
it reads orders and answers as lines of JSON, and writes what it wants as such. Bytes are hex in them.
"""

import io
import json
import sys
from binascii import hexlify, unhexlify

from lorawan import eu868
from lorawan.actions import Heard, Listen, Transmit
from lorawan.certification import Certification
from lorawan.device import Device
from lorawan.timing import Timing

# What stays as it is when a session is looked at or set from outside.
_BYTES = ("nwk_skey", "app_skey", "answers", "sticky", "channel_drs")
_FIELDS = (
    "dev_addr", "net_id", "nwk_skey", "app_skey", "fcnt_up", "fcnt_down", "rx1_delay_s", "rx1_dr_offset", "rx2_dr",
    "rx2_freq_hz", "channels", "channel_drs", "dl_channels", "channel_mask", "dr", "tx_power", "nb_trans",
    "adr_ack_cnt", "max_duty", "dwell", "max_eirp_dbm", "ack_owed", "answers", "sticky",
)  # fmt: skip
_OUTCOME = (
    "fcnt", "acked", "downlinks", "pending", "window", "rssi", "snr", "ok", "repeats", "link_check", "device_time",
    "ended",
)  # fmt: skip


def plain(value):
    """As JSON can say it."""
    if isinstance(value, (bytes, bytearray)):
        return hexlify(value).decode()
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    return value


class Store:
    """Flash with two slots, or RTC memory with one."""

    def __init__(self):
        self.kept: list = [None, None]

    def read(self, slot=0):
        return self.kept[slot]

    def write(self, *where):
        self.kept[where[0] if len(where) > 1 else 0] = bytes(where[-1])


class Dut:
    """perform(action): a dict with "transmit", "listen" or "wait"; answered with a dict that has the time, "now_ms"."""

    def __init__(self, perform):
        self._perform = perform
        self._seed = 0
        self._now_ms = 0

    def rng(self, n):
        """A number of its own generator: the same on every interpreter."""
        self._seed = (self._seed * 1103515245 + 12345) & 0x7FFFFFFF
        return (self._seed >> 8) % n

    def do(self, order):
        """Carry out an order; {"value": …} or {"error": [name, text, wait_ms or None]}."""
        order = dict(order)
        self._now_ms = order.pop("now_ms")
        try:
            return {"value": plain(getattr(self, "do_" + order.pop("do"))(**order))}
        except ValueError as error:
            return {"error": [type(error).__name__, str(error), getattr(error, "wait_ms", None)]}

    def do_new(
        self, dev_eui, join_eui, app_key, seed=1, adr=True, max_eirp_dbm=None, ppm=20, jitter_us=1000, battery=255
    ):
        """A device that left the factory."""
        self._seed = seed
        self._settings = dev_eui, join_eui, app_key, ppm, jitter_us, max_eirp_dbm, adr, battery
        self._ram = Store()
        self._ram.write(b"")
        self._flash = Store()
        self._boot()

    def _boot(self):
        dev_eui, join_eui, app_key, ppm, jitter_us, max_eirp_dbm, adr, battery = self._settings
        began = self._now_ms
        self.device = Device(
            eu868,
            unhexlify(dev_eui),
            unhexlify(join_eui),
            unhexlify(app_key),
            self._flash,
            self._ram,
            self._exchange,
            lambda: self._now_ms - began,
            self.rng,
            Timing(ppm, jitter_us),
            max_eirp_dbm,
            0,
            0,
            adr,
        )
        self.mac = self.device.mac
        self.mac.battery = battery
        self.tool = Certification()

    def do_restart(self, power_cut):
        """The processor starts anew; with a power cut RTC memory is empty."""
        if power_cut:
            self._ram.write(b"")
        self._boot()

    def do_join(self, dr=None):
        joined = self.device.join(dr)
        return joined and {"window": joined.window, "join_nonce": joined.join_nonce}

    def do_uplink(self, port, payload, confirmed=False):
        return told(self.device.uplink(port, unhexlify(payload), confirmed))

    def do_request(self, cid):
        self.device.request(cid)

    def do_room(self):
        return self.device.room()

    def do_session(self):
        """The session as a dict, or None."""
        session = self.device.session
        return None if session is None else {name: plain(getattr(session, name)) for name in _FIELDS}

    def do_set(self, name, value):
        """Spare a test some ten thousand uplinks."""
        setattr(self.device.session, name, unhexlify(value) if name in _BYTES else value)

    def do_adr(self, on):
        self.mac.adr = on

    def do_tool(self, version, lab):
        """Switch the certification protocol on."""
        self.tool = Certification(unhexlify(version), lab)
        self.mac.certification = True

    def do_certified_uplink(self, port, payload, confirmed=False):
        """One cycle of a node with the certification protocol, as the module's docstring has it."""
        tool = self.tool
        for cid in tool.ask:
            self.device.request(cid)
        tool.ask = b""
        if tool.adr is not None:
            self.mac.adr = tool.adr
        port, payload = tool.uplink(port, unhexlify(payload), self.device.room())
        outcome = self.device.uplink(port, payload, tool.confirmed or confirmed)
        tool.heard(outcome)
        seen = told(outcome)
        for name in ("wish", "adr", "confirmed", "period_s", "duty_cycle"):
            seen["tool_" + name] = getattr(tool, name)
        return seen

    def _ask(self, action):
        answer = self._perform(action)
        self._now_ms = answer["now_ms"]
        return answer

    def _exchange(self, exchange, before_transmit):
        """Carry out an exchange of the MAC, as radio.runner does; its result."""
        answer = None
        try:
            while True:
                action = exchange.send(answer)
                answer = None
                if isinstance(action, Transmit):
                    before_transmit(action)
                    answer = self._ask({
                        "transmit": hexlify(action.frame).decode(),
                        "freq_hz": action.freq_hz,
                        "sf": action.sf,
                        "bw_hz": action.bw_hz,
                        "eirp_dbm": action.eirp_dbm,
                        "airtime_us": action.airtime_us,
                    })["ended"]  # fmt: skip
                elif isinstance(action, Listen):
                    got = self._ask({
                        "listen": action.window,
                        "delay_us": action.delay_us,
                        "freq_hz": action.freq_hz,
                        "sf": action.sf,
                        "bw_hz": action.bw_hz,
                        "symbols": action.symbols,
                    })  # fmt: skip
                    if "frame" in got:
                        answer = Heard(unhexlify(got["frame"]), got["rssi"], got["snr"], got["after_us"])
                else:
                    self._ask({"wait": action.us})
        except StopIteration as stop:
            return stop.value


def told(outcome):
    """An Outcome as a dict."""
    return {name: plain(getattr(outcome, name)) for name in _OUTCOME}


def main():
    def perform(action):
        print(json.dumps(action))
        return json.loads(sys.stdin.readline())

    dut = Dut(perform)
    while True:
        line = sys.stdin.readline()
        if not line:
            return
        try:
            said = dut.do(json.loads(line))
        except Exception as error:
            text = io.StringIO()
            sys.print_exception(error, text)  # type: ignore[attr-defined]  # MicroPython's
            said = {"crash": text.getvalue()}
        print(json.dumps(said))


if __name__ == "__main__":
    main()
