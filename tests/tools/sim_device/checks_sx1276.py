# ruff: noqa: PT018 - a check is no pytest function
"""The SX1276's rules: what a driver may not do, and what the chip answers. Data sheet sections as in the emulator."""

import time

import machine
from bench import ends, rejects
from bench76 import CAD, FS_RX, FS_TX, LORA, RX, SINGLE, SLEEP, STANDBY, TX, Bench76, board
from machine import SPI, Pin

# Reset values of data sheet rev. 7, tables 41 to 43 (LoRa page, in sleep), from memory: not compared with the tables,
# nor with a chip. Written down apart from the emulator's own.
AFTER_RESET = (
    (0x06, "6c 80 00 4f 09 2b 20"),
    (0x0D, "00 80 00"),
    (0x11, "00 00"),
    (0x1D, "72 70 64 00 08 01 ff 00"),
    (0x31, "c3"),
    (0x33, "27"),
    (0x37, "0a"),
    (0x39, "12"),
    (0x3B, "1d"),
    (0x40, "00 00 12"),
    (0x44, "2d"),
    (0x4B, "09"),
    (0x4D, "84"),
)
AFTER_RESET_FSK = (
    (0x01, "09 1a 0b 00 52"),
    (0x0E, "02 0a ff"),
    (0x12, "15 0b 28 0c 12"),
    (0x25, "00 03 93"),
    (0x30, "90 40 40 00 00 0f"),
    (0x42, "12"),
)
READ_ONLY = (0x10, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1A, 0x1B, 0x1C, 0x25, 0x28, 0x29, 0x2A, 0x2C, 0x42)


def _in_lora():
    b = Bench76()
    b.mode(SLEEP, 0)
    b.mode(SLEEP)
    return b


def check_registers_after_reset():
    b = Bench76()
    for address, values in AFTER_RESET_FSK:
        wanted = bytes.fromhex(values.replace(" ", ""))
        assert bytes([b.read(address + i) for i in range(len(wanted))]) == wanted, hex(address)
    b = _in_lora()
    for address, values in AFTER_RESET:
        wanted = bytes.fromhex(values.replace(" ", ""))
        assert bytes([b.read(address + i) for i in range(len(wanted))]) == wanted, hex(address)


def check_wakes_in_fsk_standby():
    assert Bench76().read(0x01) == 0x09


def check_register_runs_and_the_address_counts_up():
    b = _in_lora()
    b.write(0x06, 0xD9, 0x06, 0x66)
    assert b.run(0x06, 3) == b"\xd9\x06\x66"
    b.cs.value(0)
    answer = bytearray(3)
    b.spi.write_readinto(b"\x06\x00\x00", answer)
    b.cs.value(1)
    assert answer[1:] == b"\xd9\x06"


def check_unknown_registers():
    b = _in_lora()
    for address in (0x02, 0x2B, 0x2E, 0x32, 0x38, 0x3C, 0x43, 0x4A, 0x6F, 0x7F):
        rejects(lambda a=address: b.read(a), f"register 0x{address:02x} is not in")
        rejects(lambda a=address: b.write(a, 0), f"register 0x{address:02x} is not in")
    rejects(lambda: Bench76().read(0x17), "FSK page")


def check_read_only_registers():
    for address in READ_ONLY:
        b = _in_lora()
        before = b.read(address)
        rejects(lambda a=address, b=b: b.write(a, 0x55), "read-only")
        assert b.read(address) == before


def check_reserved_bits():
    for address, value in ((0x33, 0x01), (0x31, 0x03), (0x4D, 0x07), (0x26, 0x80), (0x4B, 0x19 ^ 0x01)):
        rejects(lambda a=address, v=value: _in_lora().write(a, v), "reserved bits")
    for address, value in ((0x33, 0x67), (0x31, 0x43), (0x4D, 0x87), (0x26, 0x0C), (0x4B, 0x19)):
        b = _in_lora()
        b.write(address, value)
        assert b.read(address) == value
    rejects(lambda: _in_lora().write(0x01, 0x90), "RegOpMode")


def check_pages():
    """0x0D-0x3F are other registers in FSK, and both pages keep their values."""
    b = _in_lora()
    b.write(0x39, 0x34)
    b.mode(SLEEP, LORA | 0x40)  # AccessSharedReg
    assert b.read(0x39) == 0xF5 and b.read(0x06) == 0x6C
    b.mode(SLEEP)
    assert b.read(0x39) == 0x34
    b.mode(SLEEP, 0)
    assert b.read(0x39) == 0xF5
    b.mode(SLEEP)
    assert b.read(0x39) == 0x34


def check_long_range_mode_in_sleep_only():
    rejects(lambda: Bench76().mode(STANDBY), "LongRangeMode")
    rejects(lambda: Bench76().mode(SLEEP), "LongRangeMode")
    b = Bench76()
    b.mode(SLEEP, 0)
    rejects(lambda: b.mode(STANDBY), "LongRangeMode")
    b = Bench76().start()
    rejects(lambda: b.mode(SLEEP, 0), "LongRangeMode")


def check_fsk_is_not_modelled():
    for mode in (FS_TX, TX, FS_RX, RX, SINGLE):
        rejects(lambda m=mode: Bench76().mode(m, 0), "FSK is not modelled")
    rejects(lambda: Bench76().read(0x00), "FIFO of FSK")


def check_spi_speed_and_mode():
    b = Bench76()
    b.spi = SPI(1, baudrate=12000000, sck=Pin(5), mosi=Pin(27), miso=Pin(19))
    rejects(lambda: b.read(0x42), "at most 10000000 Hz")
    b.spi = SPI(1, baudrate=10000000, sck=Pin(5), mosi=Pin(27), miso=Pin(19))
    assert b.read(0x42) == 0x12
    b.spi = SPI(1, baudrate=8000000, phase=1, sck=Pin(5), mosi=Pin(27), miso=Pin(19))
    rejects(lambda: b.read(0x42), "SPI mode 0")


def check_reset_pulse_and_the_wait_after_it():
    rejects(lambda: Bench76(reset=False).reset(low_us=50), "reset pulse")
    b = Bench76()
    b.rst.value(0)
    rejects(lambda: b.read(0x42), "NRESET is low")
    b = Bench76(reset=False)
    b.reset(wait_ms=4)
    rejects(lambda: b.read(0x42), "within 5 ms")
    time.sleep_ms(1)
    assert b.read(0x42) == 0x12


def check_power_on_takes_10_ms():
    b = Bench76(reset=False)
    rejects(lambda: b.read(0x42), "10 ms after power-on")
    time.sleep_ms(10)
    assert b.read(0x42) == 0x12
    assert Bench76(reset=False, boot_us=250000).read(0x42) == 0x12


def check_reset_forgets():
    b = Bench76().start()
    b.mode(SLEEP)
    b.reset()
    assert b.read(0x01) == 0x09 and not b.chip.image_hf
    b.mode(SLEEP, 0)
    b.mode(SLEEP)
    assert b.read(0x39) == 0x12 and b.read(0x09) == 0x4F


def check_sleep_keeps_the_registers_and_clears_the_fifo():
    b = Bench76().start()
    b.load(b"abc")
    b.mode(SLEEP)
    assert b.read(0x39) == 0x34 and b.read(0x09) == 0x8F
    b.write(0x39, 0x12)  # registers are at hand in sleep
    b.mode(STANDBY)
    time.sleep_ms(1)
    b.write(0x0D, 0)
    assert b.run(0x00, 3) == b"\0\0\0" and b.read(0x39) == 0x12


def check_fifo_in_sleep():
    b = Bench76().start()
    b.mode(SLEEP)
    rejects(lambda: b.read(0x00), "not accessible in sleep")
    rejects(lambda: b.write(0x00, 1), "not accessible in sleep")


def check_fifo_needs_the_oscillator():
    b = Bench76().start()
    b.mode(SLEEP)
    b.mode(STANDBY)
    rejects(lambda: b.write(0x00, 1), "250 us after sleep")
    time.sleep_us(250)
    b.write(0x00, 1)


def check_fifo_is_filled_in_standby_only():
    b = Bench76().start()
    b.listen(RX)
    rejects(lambda: b.write(0x00, 1), "standby only")
    assert b.read(0x00) == 0


def check_fifo_wraps_and_counts():
    b = Bench76().start()
    b.write(0x0D, 254)
    b.write(0x00, 1, 2, 3, 4)
    assert b.read(0x0D) == 2
    b.write(0x0D, 254)
    assert b.run(0x00, 4) == b"\1\2\3\4"


def check_lora_registers_while_receiving():
    b = Bench76().start()
    b.listen(RX)
    for address in (0x1D, 0x1E, 0x33, 0x39, 0x0E, 0x22):
        value = b.read(address)
        rejects(lambda a=address, v=value: b.write(a, v), "not in sleep or standby")
    for address in (0x0D, 0x11, 0x12, 0x40, 0x41):
        b.write(address, 0)


def check_frequency_counts_with_its_last_byte():
    b = Bench76().start()
    b.frequency(868100000)
    assert abs(b.chip.frequency_hz - 868100000) < 62
    b.write(0x06, 0x6C)
    b.write(0x07, 0x80)
    assert abs(b.chip.frequency_hz - 868100000) < 62
    b.write(0x08, 0)
    assert b.chip.frequency_hz == 434000000


def check_frequency_outside_its_bands():
    for hz in (100000000, 300000000, 600000000, 1021000000):
        rejects(lambda f=hz: Bench76().start().send(freq=f), "outside its bands")
        rejects(lambda f=hz: Bench76().start().listen(freq=f), "outside its bands")


def check_settings_that_do_not_exist():
    for tune in ({"bw": 10}, {"cr": 0}, {"cr": 5}, {"sf": 5}, {"sf": 13}):
        rejects(lambda c=tune: Bench76().start().listen(**c), "RegModemConfig")
    rejects(lambda: Bench76().start().listen(sf=6), "SF6")
    b = Bench76().start()
    b.write(0x21, 5)
    rejects(lambda: b.send(), "at least 6")
    for symbols in (0, 3):
        rejects(lambda n=symbols: Bench76().start().listen(symbols=n), "outside 4-1023")
    Bench76().start().listen(RX, symbols=0)


def check_what_is_not_modelled_says_so():
    b = Bench76().start()
    b.write(0x24, 1)
    rejects(lambda: b.send(), "frequency hopping")
    b = Bench76().start()
    rejects(lambda: (b.tune(), b.write(0x1E, 0x7C), b.mode(TX)), "TxContinuousMode")


def check_transmission_without_an_amplifier():
    rejects(lambda: Bench76().start(boost=False).send(), "without RegPaConfig")
    b = Bench76().start()
    b.write(0x4D, 0x85)
    rejects(lambda: b.send(), "RegPaDac")


def check_transmission_of_nothing():
    b = Bench76().start()
    b.tune()
    b.write(0x22, 0)
    rejects(lambda: b.mode(TX), "empty packet")


def check_image_calibration_in_fsk_standby_only():
    b = Bench76()
    b.mode(SLEEP, 0)
    rejects(lambda: b.write(0x3B, 0x42), "FSK standby only")
    b = Bench76().start()
    b.mode(STANDBY, LORA | 0x40)
    rejects(lambda: b.write(0x3B, 0x42), "FSK standby only")


def check_image_calibration_takes_10_ms():
    b = Bench76()
    b.frequency(868100000)
    b.write(0x3B, 0xC2)
    assert b.read(0x3B) == 0xA2
    rejects(lambda: b.mode(SLEEP, 0), "while the image calibration runs")
    b.calibrate()
    assert b.read(0x3B) == 0x82
    b.mode(SLEEP, 0)


def check_tcxo_needs_its_supply_and_its_bit():
    b = Bench76(radio={"tcxo": True, "enable": [[12, 1]]})
    rejects(lambda: b.calibrate(), "no supply")
    power = Pin(12, Pin.OUT, value=1)
    rejects(lambda: b.calibrate(), "RegTcxo")
    b.write(0x4B, 0x19)
    b.start()
    assert b.send()["flaws"] == []
    power.value(0)
    rejects(lambda: b.send(), "no supply")
    rejects(lambda: Bench76(radio={"tcxo": True}).calibrate(), "RegTcxo")


def check_lines_that_the_chip_drives():
    Bench76()
    rejects(lambda: Pin(26, Pin.OUT), "driven by the SX1276")
    rejects(lambda: Pin(33, Pin.OUT), "driven by the SX1276")
    b = board(radio={"dio1": None})
    assert b.pad(33).driver is None


def check_modes_read_back():
    b = Bench76().start()
    b.tune()
    for mode in (FS_TX, FS_RX):
        b.mode(mode)
        assert b.now() == FS_TX
    b.mode(STANDBY)
    assert b.now() == STANDBY
    b.listen(RX)
    assert b.now() == RX and b.chip.mode == "rx"
    b.mode(STANDBY)
    b.listen(SINGLE)
    assert b.now() == SINGLE
    b.mode(SLEEP)
    assert b.now() == SLEEP
    b.mode(STANDBY)
    b.mode(CAD)
    assert b.now() == CAD


def check_deep_sleep_invariants():
    import esp32

    b = Bench76().start()
    rejects(lambda: machine.deepsleep(1000), "radio in mode standby")
    b.mode(SLEEP)
    rejects(lambda: machine.deepsleep(1000), "not held high")
    b.cs.init(Pin.OUT, value=1, hold=True)
    rejects(lambda: machine.deepsleep(1000), "pin 18 is not held in deep sleep")
    esp32.gpio_deep_sleep_hold(True)
    assert ends(lambda: machine.deepsleep(1000))["event"] == "deepsleep"


def _asleep(b):
    import esp32

    b.mode(SLEEP)
    b.cs.init(Pin.OUT, value=1, hold=True)
    esp32.gpio_deep_sleep_hold(True)


def check_registers_survive_deep_sleep_and_resets():
    b = Bench76().start()
    _asleep(b)
    ends(lambda: machine.deepsleep(60000))
    made = b.board.reboot()
    assert made.radio.mode == "sleep"
    b = Bench76(made, reset=False)
    assert b.read(0x39) == 0x34 and b.read(0x01) == 0x80
    b.mode(STANDBY)
    time.sleep_ms(1)
    assert b.send()["flaws"] == []
    ends(machine.reset)
    b = Bench76(b.board.reboot(), reset=False)
    assert b.now() == STANDBY and b.read(0x39) == 0x34
    assert b.receive() == 0x50, "the image calibration is kept, too"


def check_power_cut_forgets():
    b = Bench76().start()
    _asleep(b)
    ends(lambda: machine.deepsleep(60000))
    b = Bench76(b.board.reboot("power_on"))
    assert b.read(0x01) == 0x09 and not b.chip.image_hf
