# ruff: noqa: PT018 - MicroPython has no strict zip, and a check is no pytest function
"""The processor: pins, time, sleep, storage, buses, ADC."""

import time

import esp32
import machine
from bench import Bench, ends, rejects
from board import Board
from machine import ADC, I2C, SPI, Pin


def _raises(kind, action):
    try:
        action()
    except kind as error:
        return error
    raise AssertionError("no " + kind.__name__)


def check_faults_pass_through_except_exception():
    Board()

    def firmware():
        try:
            Pin(20).value()
        except Exception as error:
            print(error)

    rejects(firmware, "before it has a mode")


def check_pins():
    b = Board()
    out = Pin(35, Pin.OUT, value=1)
    assert out.value() == 1 and b.pad(35).level() == 1
    out.off()
    assert out() == 0
    assert Pin(0, Pin.IN, Pin.PULL_UP).value() == 1
    assert Pin(20, Pin.IN, Pin.PULL_DOWN).value() == 0
    _raises(ValueError, lambda: Pin(23))
    _raises(ValueError, lambda: Pin(4, 99))
    rejects(lambda: Pin(28), "flash")
    rejects(lambda: Pin(13, Pin.OUT), "driven by the SX1262")
    rejects(lambda: Pin(13, Pin.IN).value(1), "no output")
    rejects(lambda: Pin(19).value(), "before it has a mode")


def check_held_pin_keeps_its_level():
    Board()
    pin = Pin(21, Pin.OUT, value=1, hold=True)
    rejects(lambda: pin.value(0), "held")
    pin.init(Pin.OUT, value=0, hold=False)
    assert pin.value() == 0


def check_sleep_advances_node_time_only():
    b = Board()
    before = b.clock.now
    time.sleep(3600)
    assert 3600000000 <= b.clock.now - before < 3600000100


def check_ticks_wrap_as_on_the_chip():
    Board({"start_us": (1 << 30) - 1000})
    start = time.ticks_us()
    time.sleep_ms(10)
    end = time.ticks_us()
    assert end < start < 1 << 30
    assert 10000 <= time.ticks_diff(end, start) < 10050
    assert time.ticks_add(start, 5) == (start + 5) & ((1 << 30) - 1)


def check_floats_are_no_times():
    Bench().start()
    for action in (lambda: time.sleep_ms(1.5), lambda: machine.lightsleep(10.0), lambda: machine.deepsleep(10.0)):
        _raises(TypeError, action)
    time.sleep(0.5)


def check_polling_loop_ends():
    Board()
    end = time.ticks_add(time.ticks_us(), 5000)
    while time.ticks_diff(end, time.ticks_us()) > 0:
        pass


def check_fast_and_slow_clocks():
    for ppm in (500, -500, 20000):
        b = Board({"clock_error_ppm": ppm})
        before, ticks = b.clock.now, time.ticks_us()
        time.sleep_ms(100000)
        assert abs(time.ticks_diff(time.ticks_us(), ticks) - 100000000) < 100
        assert abs((b.clock.now - before) * (1000000 + ppm) // 1000000 - 100000000) < 100


def check_sleep_jitter_is_late_never_early():
    b = Board({"sleep_jitter_us": 5000})
    spans = []
    for _ in range(20):
        before = b.clock.now
        time.sleep_ms(1)
        spans.append(b.clock.now - before)
    assert min(spans) >= 1000 and max(spans) > 3000 and max(spans) <= 6100


def check_calendar_starts_in_2000_and_can_be_set():
    Board()
    assert time.time() == 0 and time.gmtime()[:6] == (2000, 1, 1, 0, 0, 0)
    machine.RTC().datetime((2026, 11, 21, 5, 12, 30, 15, 0))
    time.sleep(60)
    assert time.gmtime()[:6] == (2026, 11, 21, 12, 31, 15)
    assert time.mktime((2026, 11, 21, 12, 31, 15, 0, 0)) == time.time()
    assert machine.RTC().datetime()[:7] == (2026, 11, 21, 5, 12, 31, 15)


def check_interrupts_run_in_node_time():
    b = Board()
    seen = []
    pin = Pin(20, Pin.OUT, value=0)
    pin.irq(lambda p: seen.append((b.clock.now, p.value())), Pin.IRQ_RISING)
    edge = b.clock.now
    pin.value(1)
    pin.value(0)
    assert seen == []
    time.sleep_us(100)
    assert len(seen) == 1 and seen[0][0] - edge < 60


def check_interrupts_are_never_hard():
    """The ESP32 port does not know the word."""
    Board()
    _raises(TypeError, lambda: Pin(20, Pin.IN).irq(print, Pin.IRQ_RISING, hard=False))


def check_exception_in_a_handler_does_not_stop_the_program():
    Board()
    pin = Pin(20, Pin.OUT, value=0)
    pin.irq(lambda p: 1 // 0, Pin.IRQ_RISING)
    pin.value(1)
    time.sleep_ms(1)


def check_light_sleep():
    b = Bench().start()
    seen = []
    b.dio1.irq(lambda pin: seen.append(1), Pin.IRQ_RISING)
    b.prepare(symbols=24)
    b.listen()
    b.cs.init(hold=True)
    before = b.board.clock.now
    machine.lightsleep(1000)
    assert 1000000 <= b.board.clock.now - before < 1002000
    assert machine.wake_reason() == machine.TIMER_WAKE
    assert b.dio1.value() == 1, "an edge in light sleep is lost, the level stays"
    assert seen == [1], "an isolated input reads 0, and rises when it is connected again"
    rejects(machine.lightsleep, "never ends")


def check_light_sleep_needs_nss_held():
    b = Bench().start()
    rejects(lambda: machine.lightsleep(1000), "not held high")
    b.cs.init(hold=True)
    machine.lightsleep(1000)
    b.cs.init(hold=False)
    assert b.register(0x0740) == 0x34


def check_light_sleep_ended_by_the_radio():
    b = Bench().start()
    esp32.wake_on_ext0(b.dio1, esp32.WAKEUP_ANY_HIGH)
    b.prepare(symbols=24)
    opens = b.listen()
    b.cs.init(hold=True)
    machine.lightsleep(10000)
    assert 24 * 1024 <= b.board.clock.now - opens < 24 * 1024 + 2000
    assert machine.wake_reason() == machine.EXT0_WAKE
    _raises(ValueError, lambda: esp32.wake_on_ext0(Pin(35), True))


def check_idle_goes_to_the_next_event():
    b = Board()
    b.clock.at(b.clock.now + 300, lambda: None)
    before = b.clock.now
    machine.idle()
    assert b.clock.now - before == 300


def check_watchdog():
    b = Board()
    dog = machine.WDT(timeout=2000)
    for _ in range(5):
        time.sleep_ms(1500)
        dog.feed()
    machine.lightsleep(60000)
    assert ends(lambda: time.sleep_ms(3000))["event"] == "wdt"
    b = b.reboot()
    assert machine.reset_cause() == machine.WDT_RESET


def _asleep(b):
    b.cmd(0x84, 0)
    b.cs.init(Pin.OUT, value=1, hold=True)


def check_deep_sleep_invariants():
    b = Bench().start()
    rejects(lambda: machine.deepsleep(1000), "radio in mode stdby_rc")
    b.cmd(0x84, 0)
    rejects(lambda: machine.deepsleep(1000), "not held high")
    b.cs.init(Pin.OUT, value=1, hold=True)
    rejects(lambda: machine.deepsleep(), "never ends")
    now = b.board.clock.now
    event = ends(lambda: machine.deepsleep(1000))
    assert event["event"] == "deepsleep" and event["wake_at_us"] - event["at_us"] == 1000000
    assert event["at_us"] >= now


def check_nothing_runs_after_the_power_is_gone():
    b = Bench().start()
    _asleep(b)
    first = ends(lambda: machine.deepsleep(1000))
    for action in (time.ticks_ms, lambda: Pin(35, Pin.OUT), lambda: time.sleep_ms(1), machine.reset):
        assert ends(action) is first


def check_what_deep_sleep_keeps():
    b = Bench().start()
    machine.RTC().memory(b"session")
    nvs = esp32.NVS("spatz")
    nvs.set_i32("kept", 1)
    nvs.commit()
    nvs.set_i32("lost", 1)
    b.cmd(0x84, 4)
    b.cs.init(Pin.OUT, value=1, hold=True)
    end = ends(lambda: machine.deepsleep(60000))
    board = b.board.reboot()
    assert board.clock.now == end["wake_at_us"]
    assert machine.reset_cause() == machine.DEEPSLEEP_RESET and machine.wake_reason() == machine.TIMER_WAKE
    assert machine.RTC().memory() == b"session"
    nvs = esp32.NVS("spatz")
    assert nvs.get_i32("kept") == 1
    _raises(OSError, lambda: nvs.get_i32("lost"))
    assert board.radio.mode == "sleep_warm" and board.pad(8).level() == 1
    rejects(lambda: Pin(8, Pin.OUT, value=0), "held")
    b = Bench(board, reset=False)
    b.cs.value(0)
    b.wait()
    b.cs.value(1)
    assert b.register(0x0740) == 0x34


def check_what_a_power_cut_keeps():
    b = Bench().start()
    machine.RTC().memory(b"session")
    nvs = esp32.NVS("spatz")
    nvs.set_i32("kept", 1)
    nvs.commit()
    nvs.set_i32("lost", 1)
    b.board.reboot("power_on")
    assert machine.reset_cause() == machine.PWRON_RESET and machine.RTC().memory() == b""
    assert esp32.NVS("spatz").get_i32("kept") == 1
    _raises(OSError, lambda: esp32.NVS("spatz").get_i32("lost"))
    assert time.time() == 0


def check_a_reset_leaves_the_radio_as_it_is():
    b = Bench().start()
    assert ends(machine.reset)["event"] == "reset"
    board = b.board.reboot()
    assert machine.reset_cause() == machine.SOFT_RESET
    b = Bench(board, reset=False)
    assert b.register(0x0740) == 0x34
    assert ends(machine.soft_reset)["event"] == "soft_reset"


def check_rtc_memory_is_2048_bytes():
    Board()
    machine.RTC().memory(bytes(2048))
    _raises(ValueError, lambda: machine.RTC().memory(bytes(2049)))


def check_what_was_never_committed_is_lost():
    b = Board()
    esp32.NVS("spatz").set_i32("lost", 1)
    assert esp32.NVS("spatz").get_i32("lost") == 1, "until the power goes it is there"
    b.reboot("power_on")
    _raises(OSError, lambda: esp32.NVS("spatz").get_i32("lost"))


def check_nvs_has_esp_idf_errors():
    Board()
    nvs = esp32.NVS("spatz")
    assert _raises(OSError, lambda: nvs.get_i32("x")).args[0] == -0x1102
    assert _raises(OSError, lambda: nvs.get_blob("x", bytearray(4))).args[0] == -0x1102
    assert _raises(OSError, lambda: nvs.erase_key("x")).args[0] == -0x1102
    assert _raises(OSError, lambda: nvs.set_i32("a_key_of_16_char", 1)).args[0] == -0x1109
    nvs.set_i32("a_key_of_15_cha", -0x80000000)
    assert nvs.get_i32("a_key_of_15_cha") == -0x80000000
    _raises(OverflowError, lambda: nvs.set_i32("x", 0x80000000))
    _raises(TypeError, lambda: nvs.set_i32("x", "1"))
    nvs.set_blob("b", b"12345")
    assert _raises(OSError, lambda: nvs.get_blob("b", bytearray(4))).args[0] == -0x110C
    assert _raises(OSError, lambda: nvs.get_i32("b")).args[0] == -0x1103
    buffer = bytearray(8)
    assert nvs.get_blob("b", buffer) == 5 and buffer == b"12345\0\0\0"
    nvs.erase_key("b")
    _raises(OSError, lambda: nvs.get_blob("b", buffer))
    _raises(OSError, lambda: esp32.NVS("a_name_of_16_chr"))


def check_battery_through_the_divider():
    b = Board()
    adc = ADC(Pin(1), atten=ADC.ATTN_2_5DB)
    assert adc.read_uv() == 0, "the divider is switched off"
    assert Pin(37, Pin.IN).value() == 1, "its level at rest tells the board's revision"
    Pin(37, Pin.OUT, value=0)
    assert abs(adc.read_uv() * 4.9 / 1000 - b.battery_mv_now()) < 0.1
    assert 3500 < b.battery_mv_now() < 4200
    Pin(37).value(1)
    assert adc.read_uv() == 0
    _raises(ValueError, lambda: ADC(Pin(35)))
    _raises(ValueError, lambda: ADC(Pin(1), atten=7))


def check_battery_that_charges_from_usb():
    Board({"usb": True})
    Pin(37, Pin.OUT, value=0)
    assert ADC(Pin(1), atten=ADC.ATTN_0DB).read_uv() * 4.9 / 1000 > 4250


def check_adc_ends_at_its_range():
    from board import default_world

    chips = default_world()["chips"]
    chips["battery"] = {"adc": 1, "ratio": 2}
    Board({"chips": chips})
    assert ADC(Pin(1), atten=ADC.ATTN_0DB).read_uv() == 950000
    assert ADC(Pin(1), atten=ADC.ATTN_0DB).read_u16() == 65535
    assert ADC(Pin(1), atten=ADC.ATTN_11DB).read_uv() > 1700000


def check_absent_address_and_wrong_pins():
    Board()
    Pin(36, Pin.OUT, value=0)
    time.sleep_ms(5)
    i2c = I2C(0, scl=Pin(42), sda=Pin(41), freq=100000)
    assert i2c.scan() == [118]
    assert _raises(OSError, lambda: i2c.readfrom_mem(0x44, 0, 1)).args[0] == 19
    rejects(lambda: I2C(0, scl=Pin(41), sda=Pin(42)).readfrom_mem(118, 0xD0, 1), "is on scl=42 sda=41")
    rejects(lambda: I2C(0), "without its pins")
    _raises(ValueError, lambda: I2C(2, scl=Pin(42), sda=Pin(41)))


def check_negative_sleeps_never_end():
    """The port multiplies them as unsigned 64 bit numbers."""
    Board()
    rejects(lambda: machine.lightsleep(-1), "never ends")
    rejects(lambda: machine.deepsleep(-1), "never ends")


def check_spi_needs_its_pins_by_name():
    Board()
    rejects(lambda: SPI(1, baudrate=8000000), "without its pins")
    _raises(TypeError, lambda: SPI(1, 8000000, 0, 0, sck=Pin(9), mosi=Pin(10), miso=Pin(11)))
    SPI(1, 8000000, sck=Pin(9), mosi=Pin(10), miso=Pin(11)).init(4000000, phase=0)


def check_spi_does_not_transfer_nothing():
    b = Bench()
    b.cs.value(0)
    _raises(ValueError, lambda: b.spi.write(b""))
    _raises(ValueError, lambda: b.spi.readinto(bytearray(0)))
    b.cs.value(1)


def check_unique_id_and_frequency():
    Board({"mac_address": "a0b1c2d3e4f5"})
    assert machine.unique_id() == b"\xa0\xb1\xc2\xd3\xe4\xf5"
    machine.freq(80000000)
    assert machine.freq() == 80000000
    _raises(ValueError, lambda: machine.freq(81000000))


def check_usb_frame_counter():
    Board({"usb": True})
    for register in (0x60038024, 0x60080808):
        Board({"usb": True})
        first = machine.mem32[register]
        time.sleep_ms(10)
        assert machine.mem32[register] != first
        Board()
        assert machine.mem32[register] == 0
    rejects(lambda: machine.mem32[0x60000000], "does not model")
