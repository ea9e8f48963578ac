"""The board's pins as things with a meaning: radio, sensors, battery, light, button, sleep.

Besides main.py only this and pulses.py touch `machine` and `esp32`, and they are handed both; which pin is what stands
in config.json alone. Things are made when they are first used, so a wake pays for what it needs.
"""

from micropython import const

from node.measure import charging
from payload.encode import FAILED

# chip: module, class, its own pins
_RADIOS = {"sx1262": ("radio.sx126x", "SX126x", ("busy", "dio1")), "sx1276": ("radio.sx127x", "SX127x", ("dio0",))}
# ESP32-S3, USB OTG, which MicroPython's own USB uses: DSTS, field SOFFN, the number of the last frame that a computer
# began (one each ms, never while none is there)
_USB_STATUS = const(0x60080808)
_USB_FRAME = const(0x3FFF00)
_FRAME_MS = const(3)
_RX_BYTES = const(512)  # of a serial line, until a driver reads them
_SUPPLY_MS = const(3)  # a regulator of an amplifier: 1 (Heltec V4); a TCXO: 2
_START_MS = const(10)  # a radio's supply: of an SX1276 (data sheet 7.2.1), more than an SX1262 needs


class Hardware:
    """config: of config.json; machine, esp32, time: the modules. Raises ValueError for pins that the chip has not."""

    def __init__(self, config, machine, esp32, time):
        self._config = config
        self._machine = machine
        self._esp32 = esp32
        self._time = time
        self._radio = None
        self._i2c = None
        self._pmu = None
        self._serial = []  # (UART, its pin TX): what is open
        self._enable_level = None
        self.sleep_ms = time.sleep_ms
        self.woke_from_sleep = machine.reset_cause() == machine.DEEPSLEEP_RESET
        pin = machine.Pin
        esp32.gpio_deep_sleep_hold(False)
        radio = config["radio"]
        self._switched = "pmu" in config or "supply" in radio  # the radio has no power yet: nothing feeds it by a pin
        # first of all: a floating NSS wakes the radio
        self._cs = pin(radio["cs"], pin.OUT, value=0 if self._switched else 1, hold=False)
        self._held = [self._cs]  # what must not float while the processor sleeps
        self._supply = None
        self._enabled = False
        self._vext = self._output("vext")
        # nor these in light sleep: a supply that floats is neither on nor off
        self._held_awake = [self._vext] if self._vext else []
        self._led = self._output("led")
        button = config.get("button")
        self._button = None
        if button:
            pull = pin.PULL_UP if button["pressed"] == 0 else pin.PULL_DOWN
            self._button = pin(button["pin"], pin.IN, pull if button.get("pull", True) else None)
        self.found_sensors = self.woke_from_sleep  # looked for, since the start
        self.pulses = None
        for entry in config.get("sensors") or ():
            if entry.get("bus") == "pulse":
                from node.pulses import Pulses

                self.pulses = Pulses(entry, machine, esp32, time)

    def woken_by_contact(self):
        """Whether the contact of a rain gauge ended the deep sleep."""
        return (
            self.pulses is not None and self.woke_from_sleep and self._machine.wake_reason() == self._machine.PIN_WAKE
        )

    def _output(self, part):
        """An output that config.json describes by pin and `on`; switched off."""
        entry = self._config.get(part)
        pin = self._machine.Pin
        return pin(entry["pin"], pin.OUT, value=1 - entry["on"], hold=False) if entry else None

    # People

    def light(self, on):
        if self._led:
            self._led.value(self._config["led"]["on"] if on else 1 - self._config["led"]["on"])

    def button_held(self):
        return self._button is not None and self._button.value() == self._config["button"]["pressed"]

    def usb_attached(self):
        """Whether a computer seems to be there; a board without native USB can only guess by its charger."""
        usb = self._config.get("usb") or {}
        if usb.get("sense") == "pmu":
            try:
                return self.pmu().usb()
            except OSError:  # said when the radio is wanted
                return False
        if usb.get("sense") == "usb-frames":
            frame = self._usb_frame()
            self.sleep_ms(_FRAME_MS)
            return self._usb_frame() != frame
        return usb.get("sense") == "battery-above" and charging(self.battery(), usb)

    def _usb_frame(self):
        return self._machine.mem32[_USB_STATUS] & _USB_FRAME

    # Sensors

    def sensor_power(self, on):
        """The supply of outside sensors, where the board can switch it; returns when it is up."""
        if on:
            if self._config.get("pmu"):
                self.pmu()  # what feeds the sensors on the board
            if self._config["radio"].get("supply_sensors"):
                self._power_radio()
        if self._vext:
            vext = self._config["vext"]
            self._vext.value(vext["on"] if on else 1 - vext["on"])
            if on:
                self.sleep_ms(vext["settle_ms"])

    def bus(self, entry):
        """What a driver talks to its sensor by: `machine.I2C`, `machine.UART` (reads do not wait), `onewire.OneWire`,
        `machine.ADC`, or the Counter of sensors.rain.

        entry: a sensor in config.json; "bus" says which, I2C when it is missing. `release` closes it. Raises OSError,
        ValueError, KeyError, AttributeError for what this board has not.
        """
        return getattr(self, "_open_" + entry.get("bus", "i2c"))(entry)

    def _open_i2c(self, entry):
        return self.i2c()

    def _open_uart(self, entry):
        pin = self._machine.Pin
        tx = pin(entry["tx"])
        uart = self._machine.UART(entry["id"], baudrate=entry["baud"], tx=tx, rx=pin(entry["rx"]), rxbuf=_RX_BYTES)
        self._serial.append((uart, tx))
        self._held_awake.append(tx)  # low would be a character to the sensor
        return uart

    def _open_onewire(self, entry):
        from onewire import OneWire

        return OneWire(self._machine.Pin(entry["pin"]))

    def _open_adc(self, entry):
        return self._adc(entry["pin"], entry["atten_db"])

    def _open_pulse(self, entry):
        if self.pulses is None:
            raise OSError("no contact in config.json")
        return self.pulses.collect()

    def _adc(self, pin, atten_db):
        adc_class = self._machine.ADC
        attenuation = {0: adc_class.ATTN_0DB, 2.5: adc_class.ATTN_2_5DB, 6: adc_class.ATTN_6DB, 11: adc_class.ATTN_11DB}
        return adc_class(self._machine.Pin(pin), atten=attenuation[atten_db])

    def release(self):
        """Close what `bus` opened; a serial line left high would feed a sensor without power."""
        while self._serial:
            uart, tx = self._serial.pop()
            self._held_awake.remove(tx)
            uart.deinit()
            tx.init(self._machine.Pin.IN)

    def i2c(self):
        """The bus of the outside sensors. Raises OSError for a board without one."""
        if self._i2c is None:
            bus = self._config.get("i2c")
            if not bus:
                raise OSError("no I2C in config.json")
            self._i2c = self._bus(bus)
        return self._i2c

    def _bus(self, bus):
        pin = self._machine.Pin
        return self._machine.I2C(bus["id"], scl=pin(bus["scl"]), sda=pin(bus["sda"]), freq=bus["freq"])

    def pmu(self):
        """The board's power chip, set up. Raises OSError when it does not answer, or config.json knows of none."""
        if self._pmu is None:
            from node.pmu import Pmu

            entry = self._config.get("pmu")
            if not entry:
                raise OSError("no pmu in config.json")
            bus = entry.get("i2c")
            self._pmu = Pmu(self._bus(bus) if bus else self.i2c(), entry, self.sleep_ms)
        return self._pmu

    def battery(self):
        """Volts; FAILED; or None for a board that cannot measure it."""
        entry = self._config.get("battery")
        if not entry:
            return None
        from sensors import battery

        divider = None
        try:
            if entry.get("pmu"):
                return self.pmu().battery()
            divider = self._connect_divider(entry)
            return battery.read(self._adc(entry["adc"], entry["atten_db"]), entry["ratio"], entry.get("trim", 1))
        except Exception as error:  # a battery that cannot be measured must not cost the other values
            print(f"battery cannot be measured: {type(error).__name__}: {error}")
            return FAILED
        finally:
            if divider:
                divider.init(self._machine.Pin.IN)  # back to the board's own level, which is off

    def _connect_divider(self, entry):
        """Switch the divider on. "sense": the level that the board gives the pin is "off", revisions differ in it."""
        if "enable_pin" not in entry:
            return None
        pin = self._machine.Pin
        divider = pin(entry["enable_pin"], pin.IN)
        if self._enable_level is None:
            level = entry["enable_level"]
            self._enable_level = 1 - divider.value() if level == "sense" else level
        divider.init(pin.OUT, value=self._enable_level)
        self.sleep_ms(entry.get("settle_ms", 10))
        return divider

    # Radio

    def radio(self):
        """The driver of the radio. Raises ValueError for a chip that this firmware does not know, RadioError when the
        board may carry either and none answers."""
        if self._radio is None:
            config = self._config["radio"]
            chip = config["chip"]
            if chip != "probe" and chip not in _RADIOS:
                raise ValueError("unknown radio " + chip)
            pin = self._machine.Pin
            self._power_radio()
            bus = config["spi"]
            spi = self._machine.SPI(
                bus["id"],
                baudrate=bus["baudrate"],
                polarity=0,
                phase=0,
                sck=pin(bus["sck"]),
                mosi=pin(bus["mosi"]),
                miso=pin(bus["miso"]),
            )
            reset = pin(config["reset"], pin.OUT, value=1)
            self._supply_radio(config.get("enable", ()))
            if chip == "probe":
                from radio.probe import probe

                chip = probe(spi, self._cs, reset, self._time)
            module, name, own = _RADIOS[chip]
            driver = getattr(__import__(module, None, None, (name,)), name)
            self._radio = driver(spi, self._cs, reset, *[pin(config[part], pin.IN) for part in own], config, self._time)
            if "rx_enable" in config:
                self._radio.receive_path = pin(config["rx_enable"], pin.OUT, value=0, hold=False)
                self._held.append(self._radio.receive_path)
        return self._radio

    def _power_radio(self):
        """Feed a radio whose supply is switched; NSS is high from then on."""
        if self._config.get("pmu"):
            self.pmu().radio(True)
        elif self._switched and self._supply is None:
            number, level = self._config["radio"]["supply"]
            pin = self._machine.Pin
            self._supply = pin(number, pin.OUT, value=level, hold=False)
            self._held.append(self._supply)
            self.sleep_ms(_START_MS)
        self._cs.value(1)

    def _unpower_radio(self):
        """The level that NSS is held at in deep sleep: a radio without power must not be fed by it."""
        if not self._switched:
            return 1
        try:
            if self._config.get("pmu"):
                self.pmu().radio(False)
            elif self._supply:
                self._supply.value(1 - self._config["radio"]["supply"][1])
        except OSError as error:
            if self._pmu:  # it was on
                print(f"the radio keeps its power: {error}")
                return 1
        return 0

    def _supply_radio(self, enable):
        """Set the pins that a TCXO, an amplifier or a switch at the antenna needs, one after the other, each with the
        time to come up. They stay so, held in light sleep too, until deep sleep."""
        if self._enabled:
            return
        self._enabled = True
        pin = self._machine.Pin
        for number, level in enable:
            self._held.append(pin(number, pin.OUT, value=level, hold=False))
            self.sleep_ms(_SUPPLY_MS)

    # Sleep

    def lightsleep(self, ms):
        """Light sleep for `ms`. An ESP32-S3 lets go of every pin meanwhile (ESP-IDF isolates them, because a pulse on
        an open input could reset the chip), and a floating NSS wakes an SX1262: so it is held. An ESP32 keeps its
        pins, and the hold does no harm."""
        for pin in self._held + self._held_awake:
            pin.init(hold=True)
        (self.pulses or self._machine).lightsleep(ms)
        for pin in self._held + self._held_awake:
            pin.init(hold=False)

    def deepsleep(self, ms, touched=True):
        """Everything off that costs current, then sleep; the node starts again with main.py after `ms`.

        touched: False when nobody has spoken to the radio since the last deep sleep: it sleeps still, or has no power.

        A supply that the board can switch is switched off: its regulator alone takes more than the radio asleep
        (0.2 uA), and the next start is one from nothing after cold sleep, too.
        """
        nss = 0 if self._switched else 1
        if touched:
            try:
                if self._radio or not self._switched:
                    self.radio().sleep(warm=False)
            except Exception as error:  # a broken radio must not keep the node awake
                print(f"the radio does not go to sleep: {type(error).__name__}: {error}")
            nss = self._unpower_radio()
        self.sensor_power(False)
        self.light(False)
        for pin in self._held:  # NSS high, or low without power; TCXO, amplifier, switch and supply off
            level = nss if pin is self._cs else 0
            if pin is self._supply:
                level = 1 - self._config["radio"]["supply"][1]
            pin.init(self._machine.Pin.OUT, value=level, hold=True)
        if self._vext:  # a pin without hold floats, and the rail with it
            self._vext.init(hold=True)
        self._esp32.gpio_deep_sleep_hold(True)
        if self.pulses:
            self.pulses.before_deepsleep(ms)
        self._machine.deepsleep(ms)

    def restart(self):
        """Start the node again, as the reset button does."""
        self._machine.reset()
