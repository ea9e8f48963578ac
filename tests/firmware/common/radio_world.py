"""A node's radio on the emulated SX1262 in virtual time, and a network that answers what it hears. MicroPython only,
with tools/spatz/sim/device first on the path."""

import gc
import time

import lora_phy
import machine
from board import Board
from cryptolib import aes
from fault import SimFault
from lorawan import crypto, eu868
from lorawan.airtime import Timing
from lorawan.mac import Mac
from lorawan.session import Session
from radio.runner import run
from radio.sx126x import SX126x

gc.threshold(200000)

DEV_EUI = bytes(range(8))
JOIN_EUI = bytes(range(8, 16))
APP_KEY = bytes(range(16))
DEV_ADDR = 0x260111AB
PINS = {"spi": 1, "cs": 8, "reset": 12, "busy": 13, "dio1": 14}
CONFIG = {
    "chip": "sx1262",
    "tcxo_mv": 1800,
    "dio2_rf_switch": True,
    "dcdc": True,
    "antenna_gain_dbi": 2.0,
    "max_eirp_dbm": 16,
}


class Clock:
    """What the runner asks of a node: light sleep for the long part of a wait."""

    ticks_us = staticmethod(time.ticks_us)
    ticks_add = staticmethod(time.ticks_add)
    ticks_diff = staticmethod(time.ticks_diff)

    def sleep_until_us(self, ticks):
        wait_us = time.ticks_diff(ticks, time.ticks_us())
        if wait_us > 10000:
            machine.lightsleep(wait_us // 1000 - 3)
        time.sleep_us(max(0, time.ticks_diff(ticks, time.ticks_us())))


class Air:
    """Keeps what was sent (with its flaws, as the emulator names them) and what will come down. `answer(frame)` gives
    the downlinks to a frame, as soon as it starts."""

    def __init__(self):
        self.sent = []
        self.coming = []
        self.answer = lambda frame: []

    def transmit(self, frame, flaws):
        frame = dict(frame)
        frame["flaws"] = flaws
        self.sent.append(frame)
        self.coming.extend(self.answer(frame))

    def frames(self):
        return self.coming


class World:
    """One board with its radio. `ppm`: how wrong its clock is."""

    def __init__(self, ppm=0, config=None):
        chip = dict(PINS)
        chip.update({"chip": "sx1262", "tcxo_mv": 1800, "antenna_gain_dbi": 2.0})
        self.board = Board({
            "node": "amsel", "state_dir": None, "clock": "virtual", "air": None, "seed": 1, "chips": {"radio": chip},
            "mac_address": "a0b1c2d3e4f5", "boot_us": 0, "usb": False, "clock_error_ppm": ppm, "cause": "power_on",
            "wake_at_us": None,
        })  # fmt: skip
        self.air = self.board.air = Air()
        settings = dict(CONFIG)
        settings["clock_error_ppm"] = abs(ppm)
        settings.update(config or {})
        pin = machine.Pin
        spi = machine.SPI(1, baudrate=8000000, sck=pin(9), mosi=pin(10), miso=pin(11))
        self.radio = SX126x(
            spi,
            pin(PINS["cs"], pin.OUT, value=1),
            pin(PINS["reset"], pin.OUT, value=1),
            pin(PINS["busy"], pin.IN),
            pin(PINS["dio1"], pin.IN),
            settings,
            time,
        )
        self.clock = Clock()
        self.timing = Timing(ppm=abs(ppm), jitter_us=20000)

    @property
    def chip(self):
        return self.board.radio

    @property
    def now_us(self):
        return self.board.clock.now

    def send(self, size=20, freq_hz=868100000, sf=7, bw_hz=125000, eirp_dbm=16):
        """One frame by the driver alone; what the air got."""
        self.radio.transmit(bytes(range(size)), freq_hz, sf, bw_hz, eirp_dbm)
        assert self.radio.wait_transmitted(10000), "no TxDone"
        return self.air.sent[-1]

    def downlink(self, data, at_us, freq_hz, sf, bw_hz=125000, snr=5.0, rssi=-90, **changes):
        """A frame as a LoRaWAN gateway sends it, starting at a true time."""
        frame = {
            "at": at_us, "airtime": lora_phy.airtime_us(sf, bw_hz, len(data), crc=False), "freq": freq_hz, "sf": sf,
            "bw": bw_hz, "iq": 1, "crc": 0, "sync": 0x3444, "preamble": 8, "rssi": rssi, "snr": snr, "data": data,
        }  # fmt: skip
        frame.update(changes)
        return frame

    def hear(self, sf=7, symbols=24, freq_hz=868100000, after_us=2000, snr=5.0, size=20, **changes):
        """Open a window by the driver alone while a frame starts `after_us` later: Heard or None."""
        self.radio.prepare_listen(freq_hz, sf, 125000, symbols)
        self.air.coming = [self.downlink(bytes(range(size)), self.now_us + after_us, freq_hz, sf, snr=snr, **changes)]
        self.radio.listen()
        return self.radio.receive(5000)

    def run(self, exchange, before=None):
        return run(exchange, self.radio, self.clock, before)

    def why(self):
        """What became of the last windows, for messages."""
        return [entry[1] for entry in self.chip.rx_log]


class Network:
    """Answers a join or an uplink in window 1 or 2 with the true delays."""

    def __init__(self, world, window=1, rx1_delay_s=1, dl_settings=0, snr=5.0):
        self.world = world
        self.window = window
        self.rx1_delay_s = rx1_delay_s
        self.dl_settings = dl_settings
        self.snr = snr
        self.session = None
        self.fcnt_down = 0
        world.air.answer = self.answer

    def answer(self, frame):
        if not self.window:
            return []
        if frame["data"][0] == 0:
            data, delay_s = self.join_accept(), 5
            freq_hz, sf = (frame["freq"], frame["sf"]) if self.window == 1 else (869525000, 12)
        else:
            session = self.session
            data, delay_s = self.data_down(session), session.rx1_delay_s
            freq_hz, sf = (frame["freq"], frame["sf"])
            if self.window == 2:
                freq_hz, sf = session.rx2_freq_hz, eu868.DATA_RATES[session.rx2_dr][0]
        at_us = frame["at"] + frame["airtime"] + (delay_s + self.window - 1) * 1000000
        return [self.world.downlink(data, at_us, freq_hz, sf, snr=self.snr)]

    def join_accept(self):
        body = b"\x01\x00\x00" + b"\x13\x00\x00" + DEV_ADDR.to_bytes(4, "little")
        body += bytes((self.dl_settings, self.rx1_delay_s))
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

    def checked():
        try:
            check()
        except SimFault as fault:
            raise AssertionError("SimFault: " + str(fault))  # noqa: B904 - MicroPython keeps no exception chains

    return checked
