"""The node's life: wake, do one cycle, stay reachable where people may want it, sleep.

Nothing that goes wrong in a cycle ends it: it is printed, and the next interval is a new try. What a node cannot mend
itself (no configuration, no identity) it says, again and again, and stays awake so that it can be reached.
"""

import gc
import sys

from micropython import const

_SLICE_MS = const(250)  # how often a waiting node looks around; Ctrl-C gets through at any time
_NOT_WORTH_SLEEPING_MS = const(2000)  # a start from deep sleep costs as much; the phase after power-on is shorter
_HELP_EVERY_MS = const(30000)
_CERTIFYING_MS = const(0x1FFFFFFF)  # six days: a test tool must not lose the node to deep sleep
_REGIONS = {"EU868": "eu868", "AS923": "as923", "IN865": "in865"}


def start(machine, esp32, time):
    """Everything, from main.py: never returns but by exception."""
    from node.config import ConfigError, load
    from node.identity import Identity, IdentityError

    hardware = None
    try:
        config = load()
        hardware = _hardware(config, machine, esp32, time)
        if hardware.woken_by_contact():
            _count(config, hardware, machine.RTC())
        identity = Identity(esp32.NVS("spatz"), config)
        life = Life(config, identity, hardware, machine.RTC(), time)
    except (ConfigError, IdentityError) as error:
        ask_for_help(str(error), hardware, time)
        return
    life.run()


def _count(config, hardware, rtc):
    """A tip of the rain gauge; returns when it is time for a reading as well."""
    from node.memory import Memory
    from node.notes import mark
    from node.pulses import doze

    doze(hardware, Memory(rtc), mark(config["sensors"], config.get("find") or []))


def _hardware(config, machine, esp32, time):
    from node.config import ConfigError
    from node.hardware import Hardware

    try:
        return Hardware(config, machine, esp32, time)
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"config.json does not fit this board ({type(error).__name__}: {error}).") from None


def ask_for_help(message, hardware, time):
    """Say what is missing and what to do, and stay awake: never returns."""
    from node.lights import SET_UP, Lights

    lights = Lights(hardware.light if hardware else lambda on: None, time, (SET_UP,))
    while True:
        print(message)
        print("Connect it to a computer and set it up again with spatz. It stays awake until then.")
        lights.wait(_HELP_EVERY_MS)


class Life:
    """A node that knows who it is. rtc: `machine.RTC()`; time: the module; log: a node.log other than that in
    the folder "log". Raises ConfigError, IdentityError."""

    def __init__(self, config, identity, hardware, rtc, time, run_exchange=None, rng=None, log=None):
        from lorawan.airtime import CLOCK_ERROR_PPM, JITTER_US
        from lorawan.timing import Timing
        from node.config import ConfigError
        from node.cycle import Cycle
        from node.log import Log
        from node.memory import Memory
        from node.window import Window
        from radio.clock import Clock

        if rng is None:
            from random import randrange as rng
        if run_exchange is None:
            from radio.runner import run as run_exchange
        if config["region"] not in _REGIONS:
            raise ConfigError("config.json names a region that this firmware does not know.")
        module = _REGIONS[config["region"]]
        region = __import__("lorawan." + module, None, None, (module,))
        radio = config["radio"]
        self._config = config
        self._hardware = hardware
        self._time = time
        self._rng = rng
        self._clock = Clock(time, hardware.lightsleep)
        self._stumbled = False
        window_ms = 0 if hardware.woke_from_sleep else config["safe_window_s"] * 1000
        # a computer finds the chip's own socket only a second after its start, so before sleep it is looked again
        sees_data = config.get("usb", {}).get("sense") == "usb-frames"
        self._window = Window(
            time,
            time.ticks_ms(),
            _CERTIFYING_MS if config.get("certification") and not identity.certification_ended else window_ms,
            hardware.button_held,
            hardware.usb_attached,
            sees_data,
            None if sees_data else self._since_start_ms,
        )
        memory = Memory(rtc)
        self.cycle = Cycle(
            config,
            region,
            Timing(radio.get("clock_error_ppm", CLOCK_ERROR_PPM), radio.get("jitter_us", JITTER_US)),
            identity,
            memory,
            hardware,
            self._clock,
            run_exchange,
            rng,
            log or Log(memory.log),
        )

    def _since_start_ms(self):
        return self.cycle.since_start_ms

    def run(self):
        """Cycle after cycle until the node may sleep; then deep sleep, from which main.py starts anew."""
        print(f"Funkspatz node {self._config['name']}")
        if not self._hardware.woke_from_sleep:
            self._rest(self.cycle.started())
        while True:
            self._rest(self._one_cycle())

    def _one_cycle(self):
        """One cycle, survived whatever happens. Returns the ms left until the next."""
        from node.identity import IdentityError

        time = self._time
        began_ms = time.ticks_ms()
        self._stumbled = False
        self._clock.stay_awake = bool(self._window.reason())
        try:
            wait_ms, from_start = self.cycle.run()
        except IdentityError as error:
            ask_for_help(str(error), self._hardware, time)
            raise
        except Exception as error:
            sys.print_exception(error)
            print("This did not work; the node goes on with the next interval.")
            self._stumbled = True
            wait_ms, from_start = self.cycle.after_failure()
        gc.collect()
        return wait_ms - time.ticks_diff(time.ticks_ms(), began_ms) if from_start else wait_ms

    def _rest(self, left_ms):
        """Wait for `left_ms`: awake while the window is open, then in deep sleep."""
        time = self._time
        uptime_ms = self._clock.uptime_ms  # ticks come round while a node stays awake, this does not
        until_ms = uptime_ms() + left_ms
        pause = time.sleep_ms
        told = False
        while True:
            rest_ms = until_ms - uptime_ms()
            if rest_ms <= 0:
                self._hardware.light(False)
                return
            if rest_ms > _NOT_WORTH_SLEEPING_MS:
                reason = self._window.reason()
                if not reason:
                    print(f"sleeping for {rest_ms // 1000} s")
                    self.cycle.sleeping(rest_ms)
                    self._hardware.deepsleep(rest_ms)
                elif not told:
                    told = True
                    pause = self._lights().wait
                    print(f"awake, because {reason}; Ctrl-C stops the program")
            pause(min(_SLICE_MS, rest_ms))

    def _lights(self):
        from node.lights import Lights, patterns

        return Lights(self._hardware.light, self._time, patterns(self.cycle, self._stumbled))
