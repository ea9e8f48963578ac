"""The virtual board: one ESP32-S3 with its chips, built from a world (a dict, in a process of its own world.json).

In a test, in one MicroPython process (MICROPYPATH=<this directory>:<firmware>:.frozen):

    from board import Board
    b = Board({"clock": "virtual"})      # everything not given is as in default_world(): a Heltec V3 with a BME280
    import machine, time, esp32          # are bound to this board, until the next Board() takes their place
    b.clock.now                          # true µs; b.clock.spend(us), b.clock.run_until(us) let time pass
    b.air.add(start_us, 868100000, 7, 125000, b"...")   # a downlink; see localair.py
    b.air.on_transmit = lambda frame: b.air.add(frame["at"] + frame["airtime"] + 1000000, ...)
    b.air.log                            # what was transmitted, with "eirp", "data" and "flaws"
    b.radio.rx_log, b.radio.ledger, b.radio.mode, b.radio.registers
    b.energy.us                          # µs by part and state, for the energy model; see energy_ledger.py
    b.pad(14).level()                    # any line
    b.flash.committed                    # NVS as a power cut would leave it
    try: ... machine.deepsleep(60000)
    except PowerDown as p: b = b.reboot()    # fault.PowerDown; the next boot, with what survives

A broken rule raises fault.SimFault (a BaseException). Keys that a world may have besides (see default_world()):
"start_us" (first value of a virtual clock), "sleep_jitter_us" (sleeps last up to this longer), radio "tcxo_start_us",
sensor "vext" (false: it is fed by the 3.3 V rail), battery "trim" and "settle_us", weather "unix_s" (virtual clock:
Unix time at node time 0), "module" ("esp32s3", the default, or "esp32": espchip.py), "flash_pads" (GPIOs that the
module's own memory takes besides), "brown_out_at" (supply.py).

A board with an SX1276: "radio": {"chip": "sx1276", "spi", "sck", "mosi", "miso", "cs", "reset", "dio0", "dio1" (may be
left out), "tcxo" (true: the board has one), "pa_boost" (false: the antenna is at the pin RFO), "antenna_gain_dbi"}.
For either radio: "enable": [[GPIO, level], ...] of what must be fed to send and hear (a TCXO, an amplifier), and
"amplifier": [[up to dBm of the chip, gain in dB], ...]; "supply": [GPIO, level] of what feeds the radio as a whole,
which is dead without it. "pmu": a power chip, see axp.py.

A test may let the supply fail, at a flash operation, at a moment, or when something happens: supply.py.
"""

import json
import os

import simclock
import utime
from chips import make
from energy_ledger import EnergyLedger
from espchip import CHIPS
from fault import SimFault
from nvs import Flash
from supply import Supply

current = None

# machine.reset_cause(), which calls a brown-out a power-on
BOOT_CAUSES = {"power_on": 1, "brown_out": 1, "hard": 2, "wdt": 3, "deepsleep": 4, "soft": 5, "reset": 5}
# the cause of the boot after each event; else "soft"
NEXT_CAUSE = {"power_cut": "power_on"}
NEXT_CAUSE.update((cause, cause) for cause in ("deepsleep", "reset", "wdt", "brown_out"))
WEATHER_EPOCH = 1767225600  # 2026-01-01, for virtual clocks
SLEEP_CALL_US = 6


def need():
    """The board that `machine` is bound to."""
    if current is None:
        raise SimFault("no board: make a board.Board first")
    return current


def default_world():
    """A Heltec WiFi LoRa 32 V3 with a BME280, alone on its own air, in virtual time."""
    return {
        "node": "test",
        "state_dir": None,
        "clock": "virtual",
        "air": None,
        "seed": 1,
        "chips": {
            "radio": {
                "chip": "sx1262", "spi": 1, "sck": 9, "mosi": 10, "miso": 11, "cs": 8, "reset": 12, "busy": 13,
                "dio1": 14, "tcxo_mv": 1800, "antenna_gain_dbi": 2,
            },
            "sensors": [{"chip": "bme280", "i2c": 0, "address": 118, "sda": 41, "scl": 42}],
            "battery": {"adc": 1, "ratio": 4.9, "enable_pin": 37, "enable_level": 0},
            "vext": {"pin": 36, "on": 0},
        },
        "module": "esp32s3",
        "mac_address": "a0b1c2d3e4f5",
        "boot_us": 0,
        "usb": False,
        "weather": {"seed": 1, "offset_s": 0},
        "clock_error_ppm": 0,
        "cause": "power_on",
        "wake_at_us": None,
    }  # fmt: skip


class Board(Supply):
    def __init__(self, world=None, kept=None):
        global current
        merged = default_world()
        merged.update(world or {})
        self.world = world = merged
        self.state_dir = world["state_dir"]
        self.cause = world["cause"]
        if self.cause not in BOOT_CAUSES:
            raise SimFault(f"world.json: unknown cause {self.cause!r}")
        if world["module"] not in CHIPS:
            raise SimFault(f"the emulator does not model the module {world['module']!r}")
        self.esp = CHIPS[world["module"]]
        if self.cause == "power_on":
            kept = {}
            self._forget_files()
        elif kept is None:
            kept = self._load_kept()
        self._kept = kept
        paced = world["clock"] == "paced"
        self.clock = simclock.Clock(self._start_us(paced), paced, world["clock_error_ppm"])
        self.energy = EnergyLedger(self.clock, self.cause, world["boot_us"], kept.get("energy"))
        self._unix_base = utime.time() * 1000000 - simclock.wall_us() if paced else None
        self._random = world["seed"] * 7919 + 17
        self.asleep = False  # light sleep
        self.light_sleep_us = 0
        self.wake_ext0 = None  # (pin, level)
        self.wake_ext1 = None  # (pins, all_low or any_high level)
        self.wake_reason = kept.get("wake_reason", 4) if self.cause == "deepsleep" else 0
        self.deep_sleep_hold = False
        self.watchdog = None
        self.cpu_hz = 240000000
        self.rtc_offset_us = kept.get("rtc_offset_us", -self.clock.now)
        self.rtc_memory = kept.get("rtc_memory", b"")
        self.flash = Flash(self.path("nvs.json"), kept.get("flash"))
        self._pads = {}
        for number, level in kept.get("held", {}).items():
            self.pad(int(number)).held = level
        self.radio = None
        self.pmu = None
        self.air = None
        self._weather = None
        self.spi_wiring = {}
        self.sensors = []
        current = self
        self._build(world, kept)
        self._plan_brown_out(world.get("brown_out_at"))

    def _start_us(self, paced):
        world = self.world
        wake = world["wake_at_us"]
        if paced:
            wall = simclock.wall_us()
            return max(wall, wall if wake is None else wake) + world["boot_us"]
        return (world.get("start_us", 10000000) if wake is None else wake) + world["boot_us"]

    def _build(self, world, kept):
        chips = world["chips"]
        self.battery = chips.get("battery")
        if self.battery is not None and self.battery.get("enable_pin") is not None:
            enable = self.pad(self.battery["enable_pin"])
            enable.idle = 1 - self.battery.get("enable_level", 0)
            enable.watchers.append(self._battery_switched)
        self._battery_since = 0
        button = chips.get("button")
        if button is not None:
            self.pad(button["pin"]).idle = button["idle"]  # a resistor of the board
        self.vext = chips.get("vext")
        self._vext_since = None
        if self.vext is not None:
            pad = self.pad(self.vext["pin"])
            pad.idle = 1 - self.vext["on"]
            pad.watchers.append(self._vext_switched)
            pad._last = pad.idle
            self._vext_switched(pad.level())
        if world["air"] is None:
            from localair import LocalAir

            self.air = LocalAir(self)
        else:
            from airlink import AirLink

            self.air = AirLink(self, world["air"])
            self.clock.link = self.air
        pmu = chips.get("pmu")
        if pmu is not None:
            if pmu["chip"] == "axp192":
                from axp192 import Axp192 as Pmu
            elif pmu["chip"] == "axp2101":
                from axp2101 import Axp2101 as Pmu
            else:
                raise SimFault("the emulator does not model the power chip {}".format(pmu["chip"]))
            self.pmu = Pmu(self, pmu, kept.get("pmu"))
        radio = chips.get("radio")
        if radio is not None:
            if radio["chip"] == "sx1262":
                from sx1262 import Sx1262 as Radio
            elif radio["chip"] == "sx1276":
                from sx1276 import Sx1276 as Radio
            else:
                raise SimFault("the emulator does not model the radio {}".format(radio["chip"]))
            self.spi_wiring[radio["spi"]] = radio
            self.radio = Radio(self, radio, kept.get("radio"))
            self._connect_radio(radio)
        for config in chips.get("sensors", ()):
            # it may ask for its power while it is made
            self.sensors.append((config, None))
            self.sensors[-1] = (config, make(self, config))
        self.air.state({"at": self.clock.now, "state": "boot", "cause": self.cause})
        self.clock.run_until(self.clock.now)  # paced: the boot takes its time

    # files and what survives

    def path(self, name):
        return None if self.state_dir is None else self.state_dir + "/" + name

    def write(self, name, data):
        """Replace a file of state_dir atomically."""
        path = self.path(name)
        if path is not None:
            with open(path + ".new", "wb") as file:
                file.write(data)
            os.rename(path + ".new", path)

    def _read(self, name):
        try:
            with open(self.path(name), "rb") as file:
                return file.read()
        except OSError:
            return None

    def _forget_files(self):
        if self.state_dir is not None:
            self._remove("rtc.bin")
            self._remove("retained.json")

    def _remove(self, name):
        try:
            os.remove(self.path(name))
        except OSError:
            pass

    def _load_kept(self):
        if self.state_dir is None:
            return {}
        kept = json.loads(self._read("retained.json") or b"{}")
        kept["rtc_memory"] = self._read("rtc.bin") or b""
        self._remove("retained.json")  # it holds for this boot only: one that is killed leaves none
        return kept

    def _keep(self):
        kept = {"rtc_offset_us": self.rtc_offset_us, "held": {}, "energy": self.energy.keep()}
        for number, pad in self._pads.items():
            if pad.held is not None and (number in self.esp["rtc"] or self.deep_sleep_hold):
                kept["held"][str(number)] = pad.held
        if self.radio is not None:
            kept["radio"] = self.radio.keep()
        if self.pmu is not None:
            kept["pmu"] = self.pmu.keep()
        if self.wake_reason:
            kept["wake_reason"] = self.wake_reason
        self.write("retained.json", json.dumps(kept).encode())
        kept["rtc_memory"] = self.rtc_memory
        kept["flash"] = self.flash.committed
        self._kept = kept

    def end(self, event):
        """The processor stops for `event` (a dict with "event"): keep what survives, tell the air. Does not return."""
        if self.clock.halted is not None:
            raise self.clock.halted
        event["at_us"] = self.clock.now
        event["energy"] = self.energy.mark()
        if event["event"] in ("power_cut", "brown_out"):
            self._lose(event["event"])
        else:
            self._keep()
        self.write("power.json", json.dumps(event).encode())
        self.air.state({"at": self.clock.now, "state": event["event"], "wake_at": event.get("wake_at_us")})
        self.clock.halt(event)

    def reboot(self, cause=None, **changes):
        """The boot after this one (virtual clock): by default as the event that ended it says.

        cause="power_on" is a power cut: only committed NVS survives. `changes` replace keys of the world.
        """
        event = {} if self.clock.halted is None else self.clock.halted.event
        world = dict(self.world)
        if cause is None:
            cause = NEXT_CAUSE.get(event.get("event"), "soft")
        world["cause"] = cause
        world["wake_at_us"] = None
        world["start_us"] = event.get("wake_at_us") or self.clock.now + 1000
        world.update(changes)
        if self.clock.halted is None:
            self._keep()
        kept = self._kept
        board = Board(world, kept)
        board.flash = self.flash.after_reboot()
        board.air.downlinks = self.air.downlinks
        board.air.log = self.air.log
        board.air.on_transmit = self.air.on_transmit
        return board

    # lines

    def pad(self, number):
        """The pad of a GPIO number; ValueError when the chip has none."""
        pad = self._pads.get(number)
        if pad is None:
            from pins import Pad

            if not isinstance(number, int) or number not in self.esp["gpios"]:
                raise ValueError("invalid pin")
            if number in self.esp["flash"] or number in self.world.get("flash_pads", ()):
                raise SimFault(f"pin {number} belongs to the flash chip")
            pad = self._pads[number] = Pad(self, number)
        return pad

    def reconnect(self):
        """The inputs read their lines again, after a light sleep that isolated them."""
        for pad in self._pads.values():
            pad.connected()

    def selected(self, spi):
        """The chip on this SPI whose chip select is low."""
        radio = self.spi_wiring.get(spi)
        if radio is None:
            raise SimFault(f"SPI({spi}): no chip is on this bus")
        select = self.pad(radio["cs"])
        if not select.is_output():
            raise SimFault(f"SPI({spi}): chip select (pin {radio['cs']}) is not driven")
        if select.level() != 0:
            raise SimFault(f"SPI({spi}): no chip select is low")
        return self.radio

    def i2c_chip(self, scl, sda, address):
        """The chip at this address of the bus on these pins, or None."""
        pmu = [(self.pmu.config, self.pmu)] if self.pmu is not None else []
        for config, chip in self.sensors + pmu:
            if "i2c" in config and config["address"] == address:
                if (config["scl"], config["sda"]) != (scl, sda):
                    raise SimFault(
                        f"{chip.name} is on scl={config['scl']} sda={config['sda']}, not on scl={scl} sda={sda}"
                    )
                return chip
        return None

    def _connect_radio(self, radio):
        """A radio whose supply is switched, by the power chip or by a pin: "supply": [pin, level]."""
        self._radio_supply = radio.get("supply")
        if self._radio_supply:
            pad = self.pad(self._radio_supply[0])
            pad.idle = 1 - self._radio_supply[1]
            pad.watchers.append(lambda level: self.feed_radio())
        self.feed_radio()

    def feed_radio(self):
        if self.radio is None:
            return
        on = self.pmu is None or self.pmu.feeds_radio()
        if self._radio_supply:
            on = on and self.pad(self._radio_supply[0]).level() == self._radio_supply[1]
        self.radio.feed(on)

    def _vext_switched(self, level):
        on = level == self.vext["on"]
        self.energy.enter("vext", "on" if on else None)
        if not on:
            self._vext_since = None
        elif self._vext_since is None:
            self._vext_since = self.clock.now

    def vext_since(self, chip):
        """True µs since the chip is supplied, or None while it is not."""
        for config, candidate in self.sensors:
            # None: it is being made, and asks
            if (candidate is chip or candidate is None) and (self.vext is None or not config.get("vext", True)):
                return 0
        return self._vext_since

    def isolate(self, on):
        """Light sleep lets go of the pads, and the supply of outside sensors with them unless its pad is held."""
        pad = self.pad(self.vext["pin"]) if self.vext is not None else None
        if pad is not None and pad.is_output() and pad.held is None and pad.output != pad.idle:
            for watcher in pad.watchers:
                watcher(pad.idle if on else pad.output)

    def _battery_switched(self, level):
        self.energy.enter("divider", "on" if level == self.battery.get("enable_level", 0) else None)
        self._battery_since = self.clock.now

    def adc_uv(self, number):
        """µV at an analogue pin; a pin where nothing is connected reads 0."""
        battery = self.battery
        if battery is None or battery["adc"] != number:
            for config, chip in self.sensors:
                if config.get("adc") == number:
                    return chip.uv()
            return 0
        if battery.get("enable_pin") is not None:
            enable = self.pad(battery["enable_pin"])
            if not enable.is_output() or enable.level() != battery.get("enable_level", 0):
                return 0
        if self.clock.now - self._battery_since < battery.get("settle_us", 0):
            return 0
        return int(self.battery_mv_now() * 1000 / battery["ratio"] / battery.get("trim", 1.0))

    # surroundings

    def unix_now(self):
        """Unix time (float s) at node time, for the weather."""
        return self.unix_base() + self.clock.now / 1000000

    def unix_base(self):
        """The weather's Unix time when the true time was 0."""
        weather = self.world["weather"]
        base = weather.get("unix_s", WEATHER_EPOCH) if self._unix_base is None else self._unix_base / 1000000
        return base + weather.get("offset_s", 0)

    def weather(self):
        """The weather around this board (weather.py)."""
        if self._weather is None:
            from weather import Weather

            self._weather = Weather(self.world["weather"]["seed"])
        return self._weather

    def weather_value(self, quantity):
        """What a chip finds around it, in the unit of boards/quantities.toml."""
        return self.weather().value(quantity, self.unix_now())

    def weather_now(self):
        return self.weather().at(self.unix_now())

    def battery_mv_now(self):
        from weather import battery_mv

        if self.world["usb"]:
            return 4320  # the charger lifts the cell
        return battery_mv(self.world["weather"]["seed"], self.unix_now())

    def rtc_us(self):
        """The node's calendar clock: µs since 2000, from 0 at power-on."""
        return self.clock.node_us() + self.rtc_offset_us

    def random(self, below):
        """A repeatable number in [0, below)."""
        self._random = (self._random * 1103515245 + 12345) & 0x7FFFFFFF
        return (self._random >> 8) % below

    def sleep_us(self, duration_us):
        if not isinstance(duration_us, int):
            raise TypeError("can't convert float to int")
        jitter = self.world.get("sleep_jitter_us", 0)
        extra = SLEEP_CALL_US + (self.random(jitter + 1) if jitter else 0)
        self.clock.sleep_node_us(max(0, duration_us) + extra)
