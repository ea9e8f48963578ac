# ruff: noqa: PT018 - a check is no pytest function
"""Serial lines, one-wire, analogue probes and contacts of the virtual board, with chips made for these checks."""

import time

import chips
import esp32
import machine
import onewire
from bench import ends, rejects
from board import Board
from machine import ADC, UART, Pin, lightsleep

REAL = dict(chips.CHIPS)


class Echo:
    """Answers what it hears, and speaks every second."""

    baud = 9600
    name = "echo"

    def __init__(self, board, spec):
        self.board = board
        self.heard = []

    def received(self, data):
        self.heard.append(data)
        self.line.send(data)


class Code:
    """On a one-wire line: counts up."""

    def __init__(self, board, spec):
        self.written = []
        self.number = 0

    def reset(self):
        self.number = 0
        return True

    def write(self, byte):
        self.written.append(byte)

    def read(self):
        self.number += 1
        return self.number


chips.CHIPS["echo"] = ("chips", "Echo")
chips.CHIPS["code"] = ("chips", "Code")
chips.Echo = Echo
chips.Code = Code


def board(*sensors, **world):
    merged = Board()  # for its own world
    world["chips"] = dict(merged.world["chips"])
    world["chips"]["sensors"] = list(sensors)
    made = Board(world)
    Pin(36, Pin.OUT, value=0)
    return made


ECHO = {"chip": "echo", "uart": 1, "tx": 48, "rx": 47}


def uart(**changes):
    wanted = {"baudrate": 9600, "tx": Pin(48), "rx": Pin(47), "rxbuf": 256}
    wanted.update(changes)
    return UART(1, **wanted)


def check_bytes_take_their_time_there_and_back():
    b = board(ECHO)
    line = uart()
    assert line.read() is None and line.any() == 0
    began = b.clock.now
    line.write(b"0123456789")
    while line.any() < 10:
        time.sleep_us(100)
    # twice ten bytes of ten bits
    assert 2 * 10400 <= b.clock.now - began < 2 * 10400 + 500
    assert line.read(4) == b"0123" and line.read() == b"456789" and line.read() is None
    assert b.sensors[0][1].heard == [b"0123456789"]


def check_the_receiver_loses_what_it_has_no_room_for():
    board(ECHO)
    line = uart(rxbuf=10)  # the chip has 129 at least
    for _ in range(4):
        line.write(b"x" * 100)
        time.sleep_ms(250)
    assert line.any() == 129


def check_nothing_is_received_in_light_sleep_nor_while_it_is_closed():
    b = board(ECHO)
    vext = Pin(36, Pin.OUT, value=0)
    line = uart()
    Pin(8, Pin.OUT, value=1, hold=True)
    vext.init(hold=True)
    line.write(b"abc")
    lightsleep(50)
    assert line.read() is None
    assert b.sensors[0][1].heard == [b"abc"]
    line.write(b"abc")
    line.deinit()
    time.sleep_ms(50)
    rejects(line.any, "after deinit")
    assert uart().read() is None


def check_a_chip_without_supply_is_silent():
    b = board(ECHO)
    Pin(36, Pin.OUT, value=1)
    line = uart()
    line.write(b"abc")
    time.sleep_ms(50)
    assert line.read() is None and b.sensors[0][1].heard == []


def check_light_sleep_lets_go_of_the_supply_unless_it_is_held():
    for hold in (True, False):
        b = board({"chip": "soil", "adc": 4})
        chip = b.sensors[0][1]
        since = b.vext_since(chip)
        Pin(8, Pin.OUT, value=1, hold=True)
        Pin(36, Pin.OUT, value=0, hold=hold)
        lightsleep(100)
        assert (b.vext_since(chip) == since) == hold


def check_wrong_pins_and_speeds():
    board(ECHO)
    rejects(lambda: uart(tx=Pin(47), rx=Pin(48)), "echo is on tx=48 rx=47")
    rejects(lambda: uart(baudrate=115200), "echo speaks 9600 baud")
    rejects(lambda: UART(1, 9600), "without its pins")
    rejects(lambda: UART(0, 9600, tx=Pin(48), rx=Pin(47)), "people talk to")
    rejects(lambda: uart(parity=0), "8 bits")
    try:
        UART(3, 9600, tx=1, rx=2)
    except ValueError:
        pass
    else:
        raise AssertionError("there is no UART(3)")


def check_one_wire():
    b = board({"chip": "code", "onewire": 38})
    line = onewire.OneWire(Pin(38))
    began = b.clock.now
    assert line.reset() is True
    line.write(b"\xcc\x44")
    assert [line.readbyte(), line.readbyte()] == [1, 2]
    assert b.clock.now - began >= 960 + 4 * 8 * 60
    assert b.sensors[0][1].written == [0xCC, 0x44]
    assert line.crc8(b"\x02\x1c\xb8\x01\x00\x00\x00") == 0xA2  # the example of Maxim's application note 27
    nobody = onewire.OneWire(Pin(39))
    assert nobody.reset() is False and nobody.readbyte() == 0xFF
    Pin(36, Pin.OUT, value=1)
    assert line.reset() is False
    line.pin.init(Pin.IN)
    rejects(line.reset, "made something else")


def check_soil_probe_says_the_weather_once_it_is_up():
    b = board({"chip": "soil", "adc": 4, "dry_uv": 2600000, "wet_uv": 1200000})
    adc = ADC(Pin(4), atten=ADC.ATTN_11DB)
    assert adc.read_uv() < 200000, "it has just got its supply"
    time.sleep_ms(500)
    percent = b.weather().soil_moisture(b.unix_now())
    assert abs((2600000 - adc.read_uv()) / 14000 - percent) < 1
    Pin(36, Pin.OUT, value=1)
    assert adc.read_uv() == 0
    assert ADC(Pin(5)).read_uv() == 0


def rainy():
    """A board at whose pin 7 it begins to rain in 100 s; and the moments of the first tips."""
    from weather import Weather

    slot = 82000
    while Weather(1)._shower(slot)[2] < 10:
        slot += 1
    first = Weather(1).tips(slot * 21600, (slot + 1) * 21600)[0]
    b = board({"chip": "rain", "pulse": 7}, weather={"seed": 1, "unix_s": first - 110})
    return b, b.sensors[0][1].tips(0, 7200000000)


def check_a_tip_bounces_and_interrupts():
    b, tips = rainy()
    assert abs(tips[0] - 110000000) < 100
    pin = Pin(7, Pin.IN, Pin.PULL_UP)
    seen = []
    pin.irq(lambda pin: seen.append((b.clock.now, pin.value())), Pin.IRQ_FALLING | Pin.IRQ_RISING)
    assert pin.value() == 1
    b.clock.run_until(tips[0] + 50000)
    assert pin.value() == 0 and len(seen) == 5 and seen[0][0] < tips[0] + 100
    b.clock.run_until(tips[0] + 200000)
    assert pin.value() == 1 and len(seen) == 10
    b.clock.run_until(tips[4] + 200000)
    assert len(seen) == 50
    rejects(lambda: Pin(7, Pin.OUT), "is driven by rain gauge")


def check_a_tip_ends_light_sleep():
    b, tips = rainy()
    Pin(8, Pin.OUT, value=1, hold=True)
    esp32.wake_on_ext0(Pin(7, Pin.IN), esp32.WAKEUP_ALL_LOW)
    lightsleep(200000)
    assert tips[0] <= b.clock.now < tips[0] + 2000
    assert machine.wake_reason() == machine.PIN_WAKE


def check_a_tip_ends_deep_sleep_and_the_calendar_runs_on():
    b, tips = rainy()
    b.world["chips"]["radio"] = None
    before = time.time_ns()
    began = b.clock.now
    b.radio = None
    esp32.wake_on_ext0(Pin(7, Pin.IN), esp32.WAKEUP_ALL_LOW)
    end = ends(lambda: machine.deepsleep(600000))
    assert end["wake_at_us"] == tips[0]
    b = b.reboot()
    assert (machine.reset_cause(), machine.wake_reason()) == (machine.DEEPSLEEP_RESET, machine.PIN_WAKE)
    assert abs((time.time_ns() - before) // 1000 - (b.clock.now - began)) < 10
    b.radio = None
    end = ends(lambda: machine.deepsleep(5000))
    assert end["wake_at_us"] - end["at_us"] == 5000000, "a wake by the pin is to be asked for each time"
    b = b.reboot()
    assert machine.wake_reason() == machine.TIMER_WAKE


def check_unknown_chips_are_refused():
    rejects(lambda: board({"chip": "crystal_ball", "i2c": 0}), "does not model the sensor crystal_ball")


def check_every_chip_of_the_table_can_be_made():
    for name in REAL:
        spec = {"chip": name, "i2c": 0, "sda": 41, "scl": 42, "address": 16, "uart": 1, "tx": 48, "rx": 47}
        spec.update({"onewire": 38, "adc": 4, "pulse": 7, "baud": 9600})
        board(spec)
