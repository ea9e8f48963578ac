# ruff: noqa: PT018 - MicroPython has no strict zip, and a check is no pytest function
"""The SX1262's rules: what a driver may not do, and what the chip answers. Data sheet sections as in the emulator."""

import time

from bench import Bench, rejects
from machine import SPI, Pin


def check_status_after_reset_is_standby_rc():
    assert Bench().mode() == 2


def check_unknown_opcode():
    rejects(lambda: Bench().cmd(0x55, 0), "unknown opcode 0x55")


def check_what_is_not_modelled_says_so():
    rejects(lambda: Bench().cmd(0x94, 0, 0, 0, 0, 0, 0), "does not model SetRxDutyCycle")


def check_spi_while_busy():
    b = Bench()
    b.cmd(0x80, 0)
    rejects(lambda: b.raw(0x80, 0), "while BUSY")


def check_busy_after_a_command_is_short():
    b = Bench()
    b.cmd(0x80, 0)
    assert b.busy.value() == 1
    time.sleep_us(20)
    assert b.busy.value() == 0


def check_wrong_number_of_parameters():
    rejects(lambda: Bench().cmd(0x83, 0, 0), "SetTx takes 3 parameter bytes, not 2")


def check_chip_select_must_be_driven():
    b = Bench()
    rejects(lambda: b.spi.write(b"\xc0\x00"), "no chip select is low")
    Pin(8, Pin.IN)
    rejects(lambda: b.spi.write(b"\xc0\x00"), "not driven")


def check_spi_speed_and_mode():
    b = Bench()
    b.spi = SPI(1, baudrate=20000000, sck=Pin(9), mosi=Pin(10), miso=Pin(11))
    rejects(lambda: b.cmd(0x80, 0), "at most 16000000 Hz")
    b = Bench()
    b.spi = SPI(1, baudrate=8000000, polarity=1, sck=Pin(9), mosi=Pin(10), miso=Pin(11))
    rejects(lambda: b.cmd(0x80, 0), "SPI mode 0")


def check_wrong_spi_pins():
    Bench()
    rejects(lambda: SPI(1, baudrate=1000000, sck=Pin(10), mosi=Pin(9), miso=Pin(11)), "sck is pin 9")


def check_reset_pulse_of_100_us():
    rejects(lambda: Bench(reset=False).reset(low_us=50), "reset pulse")
    Bench(reset=False).reset(low_us=100)


def check_start_up_takes_milliseconds():
    b = Bench(reset=False)
    b.rst.value(0)
    time.sleep_us(150)
    b.rst.value(1)
    rejects(lambda: b.raw(0x80, 0), "while BUSY")


def check_tcxo_that_was_not_set_up_is_an_error():
    b = Bench()
    assert b.errors() == 0x20
    b.cmd(0x97, 2, 0, 1, 0x40)
    assert b.errors() == 0x20, "the flag stays until it is cleared"
    b.cmd(0x07, 0, 0)
    assert b.errors() == 0
    b.cmd(0x89, 0x7F)
    b.cmd(0x98, 0xD7, 0xDB)
    assert b.errors() == 0


def check_oscillator_does_not_start_without_its_supply():
    b = Bench()
    b.cmd(0x07, 0, 0)
    b.cmd(0x80, 1)
    assert b.mode() == 2 and b.errors() == 0x20


def check_tcxo_needs_time_and_the_right_voltage():
    b = Bench()
    b.cmd(0x97, 2, 0, 0, 0x40)  # 1 ms
    b.cmd(0x07, 0, 0)
    b.cmd(0x80, 1)
    assert b.errors() == 0x20
    b.cmd(0x97, 1, 0, 1, 0x40)  # 1.7 V
    b.cmd(0x07, 0, 0)
    b.cmd(0x80, 1)
    assert b.errors() == 0x20
    rejects(lambda: b.cmd(0x97, 3, 0, 1, 0x40), "2200 mV on a TCXO for 1800 mV")


def check_board_with_a_crystal_needs_no_tcxo():
    from board import default_world

    chips = default_world()["chips"]
    chips["radio"]["tcxo_mv"] = 0
    b = Bench(chips=chips)
    assert b.errors() == 0
    b.start(tcxo=False, calibrate=0)
    assert b.send()["flaws"] == []


def check_calibration_holds_busy_until_the_tcxo_runs():
    b = Bench()
    b.cmd(0x97, 2, 0, 1, 0x40)  # 5 ms
    b.cmd(0x07, 0, 0)
    b.cmd(0x89, 0x7F)
    start = b.board.clock.now
    b.wait()
    assert 8000 < b.board.clock.now - start < 9500


def check_calibration_in_standby_rc_only():
    b = Bench().start()
    b.cmd(0x80, 1)
    rejects(lambda: b.cmd(0x89, 0x7F), "Calibrate is not legal in mode stdby_xosc")


def check_image_calibration_in_standby_rc_only():
    b = Bench().start()
    b.cmd(0x80, 1)
    b.wait()
    rejects(lambda: b.cmd(0x98, 0xD7, 0xDB), "CalibrateImage is not legal in mode stdby_xosc")


def check_setup_commands_are_illegal_while_receiving():
    b = Bench().start()
    b.prepare()
    b.listen(0xFFFFFF)
    rejects(lambda: b.tune(), "not legal in mode rx")


def check_lora_parameters_before_packet_type():
    rejects(lambda: Bench().tune(), "before SetPacketType(LORA)")


def check_send_before_set_up():
    b = Bench().start()
    rejects(lambda: b.cmd(0x83, 0, 0, 0), "SetTx before frequency_hz was set")
    b.tune()
    b.cmd(0x8C, 0, 8, 0, 5, 1, 0)
    rejects(lambda: b.cmd(0x83, 0, 0, 0), "before SetPaConfig")


def check_amplifier_outside_the_safe_table():
    b = Bench().start()
    for unsafe in ((5, 7, 0, 1), (4, 6, 0, 1), (4, 7, 1, 1), (4, 7, 0, 0)):
        rejects(lambda bytes4=unsafe: b.cmd(0x95, *bytes4), "SX1262: ")
    for safe in ((4, 7), (3, 5), (2, 3), (2, 2)):
        b.cmd(0x95, safe[0], safe[1], 0, 1)
    rejects(lambda: b.cmd(0x8E, 23, 4), "outside -9..22")


def check_interrupt_on_a_pin_that_is_in_use():
    b = Bench().start()
    rejects(lambda: b.cmd(0x08, 2, 1, 0, 0, 2, 1, 0, 0), "DIO2")
    rejects(lambda: b.cmd(0x08, 2, 1, 0, 0, 0, 0, 2, 1), "DIO3")


def check_unknown_register():
    rejects(lambda: Bench().register(0x0123), "register 0x0123")


def check_registers_after_reset():
    b = Bench()
    for address, value in ((0x0740, 0x14), (0x0741, 0x24), (0x08AC, 0x94), (0x0736, 0x0D)):
        assert b.register(address) == value, hex(address)


def check_register_runs():
    b = Bench()
    b.cmd(0x0D, 0x07, 0x40, 0x34, 0x44)
    assert b.ask(2, 0x1D, 0x07, 0x40, 0) == b"\x34\x44"


def check_buffer_wraps_and_is_read_back():
    b = Bench()
    b.cmd(0x0E, 254, 1, 2, 3, 4)
    assert b.ask(4, 0x1E, 254, 0) == b"\x01\x02\x03\x04"
    assert b.ask(2, 0x1E, 0, 0) == b"\x03\x04"


def check_reading_in_one_transfer_or_two():
    b = Bench()
    b.wait()
    b.cs.value(0)
    answer = bytearray(4)
    b.spi.write_readinto(b"\x17\x00\x00\x00", answer)
    b.cs.value(1)
    assert answer[3] == b.errors() == 0x20


def check_erratum_bits_are_wrong_after_each_parameter_command():
    b = Bench().start()
    b.tune()
    assert b.register(0x0889) & 4 == 0
    b.tune(bw=6)
    assert b.register(0x0889) & 4 == 4
    for iq, wrong in ((1, 4), (0, 0), (1, 4)):
        b.cmd(0x8C, 0, 8, 0, 5, 1, iq)
        assert b.register(0x0736) & 4 == wrong


def check_sleep_from_standby_only_and_not_woken_at_once():
    b = Bench().start()
    b.prepare()
    b.listen(0xFFFFFF)
    rejects(lambda: b.cmd(0x84, 4), "SetSleep is not legal")
    b = Bench().start()
    b.cmd(0x84, 4)
    time.sleep_us(100)
    rejects(lambda: b.cs.value(0), "within 500 us")


def _wake(b):
    time.sleep_ms(1)
    assert b.busy.value() == 1, "BUSY is high in sleep"
    b.cs.value(0)
    b.wait()
    b.cs.value(1)


def check_command_in_sleep_needs_a_wake():
    b = Bench().start()
    b.cmd(0x84, 4)
    time.sleep_ms(1)
    rejects(lambda: b.raw(0x80, 0), "while BUSY")
    b = Bench().start()
    b.cmd(0x84, 4)
    time.sleep_ms(1)
    b.raw(0xC0, 0)  # GetStatus may serve to wake
    b.wait()
    assert b.mode() == 2


def check_warm_sleep_keeps_the_configuration_but_not_the_buffer():
    b = Bench().start()
    b.register(0x08AC, 0x96)
    b.cmd(0x0E, 0, 1, 2, 3)
    b.cmd(0x84, 4)
    _wake(b)
    assert b.register(0x0740) == 0x34
    assert b.ask(3, 0x1E, 0, 0) == b"\x00\x00\x00"
    assert b.register(0x08AC) == 0x94, "RX gain is not kept without the retention list"
    assert b.register(0x08D8) & 0x1E != 0x1E, "nor is the clamp"
    assert [flaw for flaw in b.send()["flaws"] if "0x08D8" not in flaw] == []


def check_retention_list_keeps_the_gain():
    b = Bench().start()
    b.register(0x08AC, 0x96)
    b.cmd(0x0D, 0x02, 0x9F, 1, 0x08, 0xAC)
    b.cmd(0x84, 4)
    _wake(b)
    assert b.register(0x08AC) == 0x96
    b.cmd(0x0D, 0x02, 0x9F, 2, 0x08, 0xAC, 0x08, 0xD8)
    b.register(0x08D8, 0xDE)
    b.cmd(0x84, 4)
    _wake(b)
    assert b.send()["flaws"] == []


def check_cold_sleep_forgets():
    b = Bench().start()
    b.cmd(0x84, 0)
    _wake(b)
    assert b.register(0x0740) == 0x14
    assert b.errors() == 0x20, "the TCXO must be set up anew"
    assert b.register(0x08D8) & 0x1E != 0x1E


def check_wake_up_times():
    for sleep, low, high in ((4, 300, 420), (0, 3400, 3600)):
        b = Bench().start()
        b.cmd(0x84, sleep)
        time.sleep_ms(1)
        start = b.board.clock.now
        b.cs.value(0)
        b.wait()
        assert low < b.board.clock.now - start < high
        b.cs.value(1)
