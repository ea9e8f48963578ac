"""A node's radio on the emulated SX1262 in virtual time, and a network that answers what it hears. MicroPython only,
with tools/spatz/sim/device first on the path."""

# pyright: reportMissingImports=false, reportMissingModuleSource=false
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false
import gc
import time

import machine
from board import Board
from cryptolib import aes
from fault import SimFault
from lorawan import crypto, eu868
from lorawan.mac import Mac
from lorawan.session import Session
from lorawan.timing import Timing
from radio.clock import Clock
from radio.runner import run
from radio.sx126x import SX126x

gc.threshold(200000)  # type: ignore[attr-defined]  # MicroPython's

DEV_EUI = bytes(range(8))
JOIN_EUI = bytes(range(8, 16))
APP_KEY = bytes(range(16))
DEV_ADDR = 0x260111AB
CONFIG = {
    "chip": "sx1262",
    "tcxo_mv": 1800,
    "dio2_rf_switch": True,
    "dcdc": True,
    "antenna_gain_dbi": 2.0,
    "max_eirp_dbm": 16,
}


class World:
    """One board with its radio, alone on its air. `ppm`: how wrong its clock is; `config`: other radio settings."""

    def __init__(self, ppm=0, config=None):
        self.board = Board({"clock": "virtual", "clock_error_ppm": ppm})
        self.air = self.board.air
        self.chip = self.board.radio
        self.settings = dict(CONFIG)
        self.settings["clock_error_ppm"] = abs(ppm)
        self.settings.update(config or {})
        self.clock = Clock(time, self.lightsleep)
        self.clock.stay_awake = False
        self.timing = Timing(ppm=abs(ppm), jitter_us=20000)
        self.new_driver()

    def new_driver(self):
        """As after a reset of the processor: the chip is as it was, the driver knows nothing."""
        pin = machine.Pin
        spi = machine.SPI(1, baudrate=8000000, sck=pin(9), mosi=pin(10), miso=pin(11))
        self.cs = pin(8, pin.OUT, value=1)
        self.radio = SX126x(
            spi,
            self.cs,
            pin(12, pin.OUT, value=1),  # reset
            pin(13, pin.IN),  # busy
            pin(14, pin.IN),  # dio1
            self.settings,
            time,
        )

    def lightsleep(self, ms):
        """As node.hardware does it: a pin that is not held floats meanwhile."""
        self.cs.init(hold=True)
        machine.lightsleep(ms)
        self.cs.init(hold=False)

    @property
    def now_us(self):
        return self.board.clock.now

    def wait(self, us):
        self.board.clock.spend(us)

    def send(self, size=20, freq_hz=868100000, sf=7, bw_hz=125000, eirp_dbm=16):
        """One frame by the driver alone; what the air got of it."""
        self.radio.transmit(bytes(range(size)), freq_hz, sf, bw_hz, eirp_dbm)
        assert self.radio.wait_transmitted(10000), "no TxDone"
        return self.air.log[-1]

    def hear(self, sf=7, symbols=24, freq_hz=868100000, after_us: "int | None" = 2000, size=20, **changes):
        """A window by the driver alone, and a downlink that starts `after_us` after its beginning (None: none): Heard
        or None."""
        self.radio.prepare_listen(freq_hz, sf, 125000, symbols)
        self.air.downlinks = []
        if after_us is not None:
            start_us = self.now_us + self.radio.listen_latency_us + after_us
            self.air.add(start_us, freq_hz, sf, 125000, bytes(range(size)), **changes)
        self.radio.listen()
        return self.radio.receive(10000)

    def run(self, exchange, before=None):
        return run(exchange, self.radio, self.clock, before)

    def why(self):
        """What became of the last windows."""
        return [entry[1] for entry in self.chip.rx_log]


class Network:
    """Answers joins and uplinks in window 1 or 2 (0: not at all), at the exact moments of LoRaWAN."""

    def __init__(self, world, window=1, rx1_delay_s=1):
        self.air = world.air
        self.window = window
        self.rx1_delay_s = rx1_delay_s
        self.snr = 5.0
        self.session = None
        self.fcnt_down = 0
        world.air.on_transmit = self.answer

    def answer(self, frame):
        if not self.window:
            return
        freq_hz, sf = frame["freq"], frame["sf"]
        if frame["data"][0] == 0:
            data, delay_s = self.join_accept(), 5
            rx2 = (869525000, 12)
        else:
            session = self.session
            data, delay_s = self.data_down(session), session.rx1_delay_s
            rx2 = (session.rx2_freq_hz, eu868.DATA_RATES[session.rx2_dr][0])
        if self.window == 2:
            freq_hz, sf = rx2
            delay_s += 1
        self.air.add(frame["at"] + frame["airtime"] + delay_s * 1000000, freq_hz, sf, 125000, data, snr=self.snr)

    def join_accept(self):
        body = b"\x01\x00\x00" + b"\x13\x00\x00" + DEV_ADDR.to_bytes(4, "little") + bytes((0, self.rx1_delay_s))
        body += crypto.join_mic(APP_KEY, b"\x20" + body)
        return b"\x20" + aes(APP_KEY, 1).decrypt(body)

    def data_down(self, session):
        """An acknowledgement with three bytes for port 10."""
        fcnt = self.fcnt_down
        self.fcnt_down += 1
        body = b"\x60" + DEV_ADDR.to_bytes(4, "little") + b"\x20" + fcnt.to_bytes(2, "little") + b"\x0a"
        body += crypto.crypt_payload(session.app_skey, DEV_ADDR, fcnt, 1, b"abc")
        return body + crypto.data_mic(session.nwk_skey, DEV_ADDR, fcnt, 1, body)


def joined(world, dr=5, rx1_delay_s=1):
    """A MAC with a session, and its network."""
    session = Session(DEV_ADDR, 0x13, bytes(range(16)), bytes(range(16, 32)), eu868)
    session.dr = dr
    session.rx1_delay_s = rx1_delay_s
    mac = Mac(eu868, session, rng=lambda n: 0, timing=world.timing)
    network = Network(world)
    network.session = session
    return mac, network


def on_the_chip(check):
    """The emulator's faults pass through `except Exception`; here they fail the check, with their rule."""

    def checked(*_vectors):
        try:
            check()
        except SimFault as fault:
            raise AssertionError("SimFault: " + str(fault))  # noqa: B904 - MicroPython keeps no exception chains

    return checked
