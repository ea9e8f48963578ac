"""A node's surroundings for checks of node/: time that passes only when waited for, strict NVS, RTC memory, hardware,
and a network that joins and hears it. They log what happens, because in a node the order is what matters."""

import struct

from cryptolib import aes
from lorawan import crypto
from lorawan.actions import Heard, Listen, Transmit
from node.config import FORMAT

DEV_EUI = bytes.fromhex("70b3d57ed0000001")
JOIN_EUI = bytes.fromhex("0000000000000002")
APP_KEY = bytes(range(16))
DEV_ADDR = 0x26011234

_PERIOD = 1 << 30


def config(**changes):
    result = {
        "format": FORMAT,
        "name": "amsel",
        "region": "EU868",
        "interval_s": 600,
        "safe_window_s": 60,
        "confirmed": False,
        "radio": {"chip": "sx1262", "max_eirp_dbm": 16, "clock_error_ppm": 1000, "jitter_us": 20000},
        "sensors": [{"driver": "bme280", "address": 0x76, "quantities": ["temperature", "humidity", "pressure"]}],
    }
    result.update(changes)
    return result


class Reset(BaseException):
    """The node was reset at this moment; not an Exception, so that no `except` of the node catches it."""


class Fault(BaseException):
    """The node did what it never may; no Exception, because the node survives those."""


def never(wrong, message):
    if wrong:
        raise Fault(message)


class DeepSleep(BaseException):
    """The node went to deep sleep for `ms`; no Exception either."""

    def __init__(self, ms):
        super().__init__(str(ms))
        self.ms = ms


class Time:
    """`time` of MicroPython; ticks wrap at 2**30."""

    def __init__(self, start_us=0):
        self.now_us = start_us
        self.slept = []

    def ticks_us(self):
        return self.now_us % _PERIOD

    def ticks_ms(self):
        return self.now_us // 1000 % _PERIOD

    def ticks_add(self, ticks, delta):
        return (ticks + delta) % _PERIOD

    def ticks_diff(self, end, start):
        return (end - start + _PERIOD // 2) % _PERIOD - _PERIOD // 2

    def sleep_us(self, us):
        assert us >= 0
        self.now_us += us

    def sleep_ms(self, ms):
        assert ms >= 0
        self.slept.append(ms)
        self.now_us += ms * 1000


class Nvs:
    """esp32.NVS: what was not committed is not there after a reset.

    cut_at: so many further writes, each stored at once, as flash may, and then Reset; None for no power cut.
    """

    def __init__(self, log=None, **values):
        self.stored = {"dev_eui": DEV_EUI, "join_eui": JOIN_EUI, "app_key": APP_KEY}
        self.stored.update(values)
        self.fresh = dict(self.stored)
        self.log = [] if log is None else log
        self.cut_at = None
        self.trouble: OSError | None = None

    def _get(self, key, kind):
        if self.trouble:
            raise self.trouble
        if not isinstance(self.fresh.get(key), kind):
            raise OSError(-0x1102)
        return self.fresh[key]

    def get_i32(self, key):
        return self._get(key, int)

    def set_i32(self, key, value):
        assert -(1 << 31) <= value < 1 << 31
        self._change(key, value)

    def erase_key(self, key):
        self._get(key, (int, bytes))
        self._change(key, None)

    def get_blob(self, key, buffer):
        value = self._get(key, bytes)
        if len(value) > len(buffer):
            raise OSError(-0x110C)
        buffer[: len(value)] = value
        return len(value)

    def set_blob(self, key, value):
        self._change(key, bytes(value))

    def _change(self, key, value):
        if self.cut_at == 0:
            raise Reset
        self.fresh[key] = value
        if self.cut_at is not None:
            self.cut_at -= 1
            self.stored = dict(self.fresh)

    def commit(self):
        self.log.append("commit")
        self.stored = dict(self.fresh)

    def after_reset(self):
        """What a node finds that was reset now."""
        nvs = Nvs()
        nvs.stored = dict(self.stored)
        nvs.fresh = dict(self.stored)
        return nvs


class Files:
    """A file system that keeps every byte as it is written: a power cut leaves the beginning of a write.

    cut_at: so many bytes of further writes, and then Reset; None for no power cut. writes: calls of write so far.
    """

    def __init__(self):
        self.data = {}
        self.folders = []
        self.cut_at = None
        self.writes = 0
        self.trouble: OSError | None = None

    def open(self, name, mode):
        if self.trouble:
            raise self.trouble
        if name.split("/")[0] not in self.folders or (mode != "wb" and name not in self.data):
            raise OSError(2)
        if mode == "wb":
            self.data[name] = b""
        return File(self, name)

    def mkdir(self, name):
        assert name not in self.folders
        self.folders.append(name)

    def write(self, name, at, data):
        self.writes += 1
        if self.cut_at is not None and self.cut_at < len(data):
            data = data[: self.cut_at]
        old = self.data[name]
        assert at <= len(old), "a hole in a file"
        self.data[name] = old[:at] + data + old[at + len(data) :]
        if self.cut_at is not None:
            self.cut_at -= len(data)
            if self.cut_at <= 0:
                self.cut_at = None
                raise Reset


class File:
    def __init__(self, files, name):
        self.files = files
        self.name = name
        self.at = 0

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def seek(self, at):
        self.at = at

    def read(self, size):
        data = self.files.data[self.name][self.at : self.at + size]
        self.at += len(data)
        return data

    def write(self, data):
        self.files.write(self.name, self.at, bytes(data))
        self.at += len(data)


class Rtc:
    """machine.RTC's memory: 2048 bytes."""

    def __init__(self, data=b"", log=None):
        self.data = data
        self.log = [] if log is None else log

    def memory(self, data=None):
        if data is None:
            return self.data
        assert len(data) <= 2048
        self.log.append("rtc")
        self.data = bytes(data)
        return None


class Hardware:
    """node.hardware.Hardware with a sensor module of its own making: the I2C bus answers nothing."""

    def __init__(self, time, woke_from_sleep=False):
        self.time = time
        self.sleep_ms = time.sleep_ms
        self.woke_from_sleep = woke_from_sleep
        self.volts = 3.87
        self.usb = False
        self.held = False
        self.powered = []
        self.lights = 0
        self.lightsleeps = []
        self.pulses = None
        self.found_sensors = True

    def woken_by_contact(self):
        return False

    def sensor_power(self, on):
        self.powered.append(on)

    def bus(self, entry):
        raise OSError(19)

    def release(self):
        pass

    def battery(self):
        return self.volts

    def radio(self):
        return None

    def light(self, on):
        self.lights += on

    def button_held(self):
        return self.held

    def usb_attached(self):
        return self.usb

    def lightsleep(self, ms):
        self.lightsleeps.append(ms)
        self.time.now_us += ms * 1000

    def deepsleep(self, ms):
        raise DeepSleep(ms)


class Network:
    """Carries out exchanges like radio.runner.run and answers them like a network server with one device.

    deaf: how many transmissions it does not hear. downlinks: (port, payload) for the next uplinks, in RX1.
    gps: what DeviceTimeReq is answered with.
    frames: everything heard; readings: (fcnt, payload) of data frames with a good MIC; nonces: DevNonces seen.
    """

    def __init__(self, time, log=None):
        self.time = time
        self.log = [] if log is None else log
        self.deaf = 0
        self.broken = None
        self.downlinks = []
        self.commands = b""  # FOpts of the next downlink
        self.gps: tuple | None = None  # (s, 1/256 s), the answer to who asks what time it is
        self.frames = []
        self.airtimes = []
        self.readings = []
        self.nonces = []
        self.counters = []  # FCntUp of this session
        self.join_nonce = 0
        self.fcnt_down = 0
        self.nwk_skey = self.app_skey = None

    def run(self, exchange, radio, clock, before_transmit):
        answer = reply = None
        while True:
            try:
                action = exchange.send(answer)
            except StopIteration as end:
                return end.value
            if isinstance(action, Transmit):
                before_transmit(action)
                self.log.append("transmit")
                if self.broken:
                    raise self.broken
                self.frames.append(action.frame)
                self.airtimes.append(action.airtime_us)
                self.time.now_us += action.airtime_us
                reply = None if self.deaf else self.reply(action.frame)
                self.deaf = max(0, self.deaf - 1)
                answer = self.time.ticks_us()
            elif isinstance(action, Listen):
                answer = Heard(reply, -90, 7.0) if reply else None
                reply = None
            else:
                self.time.now_us += action.us
                answer = None

    def reply(self, frame):
        return self.accept(frame) if frame[0] == 0x00 else self.data(frame)

    def accept(self, frame):
        dev_nonce = frame[17] | frame[18] << 8
        never(dev_nonce in self.nonces, "a DevNonce came twice")
        never(frame[-4:] != crypto.join_mic(APP_KEY, frame[:-4]), "a JoinRequest with a wrong MIC")
        self.nonces.append(dev_nonce)
        self.join_nonce += 1
        body = self.join_nonce.to_bytes(3, "little") + b"\x00\x00\x00" + struct.pack("<IBB", DEV_ADDR, 0, 1)
        mic = crypto.join_mic(APP_KEY, b"\x20" + body)
        self.nwk_skey, self.app_skey = crypto.session_keys(APP_KEY, self.join_nonce, 0, dev_nonce)
        self.fcnt_down = 0
        self.counters = []
        return b"\x20" + aes(APP_KEY, 1).decrypt(body + mic)

    def data(self, frame):
        fcnt = frame[6] | frame[7] << 8
        if frame[-4:] != crypto.data_mic(self.nwk_skey, DEV_ADDR, fcnt, 0, frame[:-4]):
            return None
        never(fcnt in self.counters, "an FCntUp came twice")
        self.counters.append(fcnt)
        body = 8 + (frame[5] & 15)
        self.readings.append((fcnt, crypto.crypt_payload(self.app_skey, DEV_ADDR, fcnt, 0, frame[body + 1 : -4])))
        confirmed = frame[0] == 0x80
        if self.gps and frame[8:body][:1] == b"\x0d":  # DeviceTimeReq
            self.commands += b"\x0d" + struct.pack("<IB", *self.gps)
        if not self.downlinks and not confirmed and not self.commands:
            return None
        fctrl = (0x20 if confirmed else 0) | len(self.commands)
        head = struct.pack("<BIBH", 0x60, DEV_ADDR, fctrl, self.fcnt_down) + self.commands
        self.commands = b""
        if self.downlinks:
            port, payload = self.downlinks.pop(0)
            head += bytes([port]) + crypto.crypt_payload(self.app_skey, DEV_ADDR, self.fcnt_down, 1, payload)
        head += crypto.data_mic(self.nwk_skey, DEV_ADDR, self.fcnt_down, 1, head)
        self.fcnt_down += 1
        return head
