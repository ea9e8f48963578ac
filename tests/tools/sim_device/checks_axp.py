# pyright: reportMissingImports=false, reportMissingModuleSource=false, reportAttributeAccessIssue=false, reportCallIssue=false
"""The emulated power chips: what they refuse, what their rails feed, and that a radio without power is dead."""

import time

import machine
from bench import ends, rejects
from board import Board, default_world
from machine import I2C, SPI, Pin

AXP192 = {"chip": "axp192", "i2c": 0, "address": 0x34, "sda": 41, "scl": 42, "radio": "ldo2"}
AXP2101 = {"chip": "axp2101", "i2c": 0, "address": 0x34, "sda": 41, "scl": 42, "radio": "aldo3", "stays": ["aldo2"]}
RADIO_ON = {"axp192": ((0x28, 0xF0), (0x12, 0x4F)), "axp2101": ((0x94, 0x1C), (0x90, 0x3F))}


class Bench:
    def __init__(self, pmu, board=None, **world):
        chips = dict(default_world()["chips"], pmu=pmu)
        chips["sensors"] = []
        self.board = board or Board(dict(world, chips=chips))
        self.i2c = I2C(0, scl=Pin(42), sda=Pin(41), freq=100000)
        self.cs = Pin(8, Pin.OUT, value=0, hold=False)
        self.spi = SPI(1, baudrate=8000000, sck=Pin(9), mosi=Pin(10), miso=Pin(11))
        self.name = pmu["chip"]

    def read(self, register):
        return self.i2c.readfrom_mem(0x34, register, 1)[0]

    def write(self, register, value):
        self.i2c.writeto_mem(0x34, register, bytes([value]))

    def power(self):
        for register, value in RADIO_ON[self.name]:
            self.write(register, value)

    def ask(self):
        """The SX1262's GetStatus."""
        self.cs.value(0)
        answer = bytearray(2)
        self.spi.write_readinto(b"\xc0\x00", answer)
        self.cs.value(1)
        return answer[1]


def both(check):
    for pmu in (AXP192, AXP2101):
        check(Bench(dict(pmu)))


def check_says_who_it_is():
    assert Bench(dict(AXP192)).read(0x03) == 0x03
    assert Bench(dict(AXP2101)).read(0x03) == 0x4A


def check_a_radio_without_its_rail_is_dead():
    def dead(b):
        assert b.board.radio.mode == "off"
        assert b.ask() == 0
        assert Pin(13, Pin.IN).value() == 0, "BUSY of a dead chip is low"
        b.power()
        time.sleep_ms(10)
        assert b.ask() >> 4 & 7 == 2, "in STDBY_RC once it is fed"

    both(dead)


def check_a_switched_rail_alone_is_too_little():
    b = Bench(dict(AXP192))
    b.write(0x12, 0x4F)  # 1.8 V, as after power-on
    assert b.board.radio.mode == "off"
    b.write(0x28, 0xF0)
    assert b.board.radio.mode != "off"


def check_losing_the_rail_forgets_all():
    def forgets(b):
        b.power()
        time.sleep_ms(10)
        b.board.radio.registers[0x0740] = 0x34
        register, value = RADIO_ON[b.name][1]
        b.write(register, value & ~4)
        assert b.board.radio.mode == "off"
        b.write(register, value)
        assert b.board.radio.registers[0x0740] != 0x34

    both(forgets)


def check_unknown_registers_are_refused():
    def unknown(b):
        rejects(lambda: b.write(0xEE, 1), "not in the emulator's list")
        rejects(lambda: b.read(0xEE), "not in the emulator's list")
        rejects(lambda: b.write(0x03, 1), "is read-only")
        rejects(lambda: b.i2c.writeto(0x34, b"\x12\x00\x00"), "a write is a register and its value")

    both(unknown)


def check_reserved_bits_are_refused():
    rejects(lambda: Bench(dict(AXP192)).write(0x12, 0xCB), "reserved bits")
    rejects(lambda: Bench(dict(AXP2101)).write(0x94, 0x3C), "reserved bits")


def check_what_feeds_the_processor_stays():
    b = Bench(dict(AXP192))
    rejects(lambda: b.write(0x12, 0x4A), "feed the processor or pull the bus up")  # DCDC1
    b = Bench(dict(AXP192))
    rejects(lambda: b.write(0x12, 0x49), "feed the processor or pull the bus up")  # DCDC3
    b = Bench(dict(AXP2101))
    rejects(lambda: b.write(0x80, 0x00), "feed the processor or pull the bus up")


def check_a_rail_that_must_stay_on():
    b = Bench(dict(AXP2101))
    rejects(lambda: b.write(0x90, 0x3D), "aldo2 must stay on")


def check_voltage_of_the_cell():
    b = Bench(dict(AXP192))
    volts = (b.read(0x78) << 4 | b.read(0x79)) * 1.1
    assert abs(volts - b.board.battery_mv_now()) < 1.2
    b = Bench(dict(AXP2101))
    assert (b.read(0x34) << 8 | b.read(0x35)) == int(b.board.battery_mv_now())
    b.write(0x30, 0x02)
    assert b.read(0x34) == 0, "the converter is off"
    b.write(0x30, 0x03)
    assert b.read(0x34) == 0, "no value yet"
    time.sleep_ms(41)
    assert b.read(0x34) > 0


def check_usb_is_seen():
    for pmu in (AXP192, AXP2101):
        assert not Bench(dict(pmu)).read(0x00) & 0x20
        assert Bench(dict(pmu), usb=True).read(0x00) & 0x20


def check_no_answer_when_broken():
    b = Bench(dict(AXP192))
    b.board.pmu.broken = True
    try:
        b.read(0x03)
    except OSError:
        return
    raise AssertionError("it answers")


def check_rails_outlast_deep_sleep_and_not_a_power_cut():
    b = Bench(dict(AXP192))
    b.power()
    time.sleep_ms(10)
    b.cs.value(1)
    b.write(0x12, 0x4B)
    b.cs.init(Pin.OUT, value=0, hold=True)
    assert ends(lambda: machine.deepsleep(1000))["event"] == "deepsleep"
    again = Bench(dict(AXP192), board=b.board.reboot())
    assert again.read(0x28) == 0xF0
    assert again.board.radio.mode == "off"
    again = Bench(dict(AXP192), board=again.board.reboot("power_on"))
    assert again.read(0x28) == 0x00


def check_nss_must_not_feed_a_radio_without_power():
    b = Bench(dict(AXP192))
    b.cs.init(Pin.OUT, value=1, hold=True)
    rejects(lambda: machine.deepsleep(1000), "the radio without power")
    b = Bench(dict(AXP192))
    b.cs.value(1)
    rejects(lambda: machine.lightsleep(1000), "the radio without power")


def check_a_pin_that_feeds_the_radio():
    chips = dict(default_world()["chips"])
    chips["radio"] = dict(chips["radio"], supply=[4, 1])
    board = Board({"chips": chips})
    assert board.radio.mode == "off"
    supply = Pin(4, Pin.OUT, value=1)
    assert board.radio.mode == "stdby_rc"
    supply.value(0)
    assert board.radio.mode == "off"
