# ruff: noqa: PT018 - a check is no pytest function
"""The SX1276 on the air: what is transmitted and heard, when, and what a missing set-up step costs."""

import time

import machine
from bench76 import CAD, INVERTED, NORMAL, RX, SINGLE, SLEEP, STANDBY, TX, Bench76
from machine import Pin

TIMEOUT, RX_DONE, CRC, HEADER, TX_DONE, CAD_DONE, CAD_FOUND = 0x80, 0x40, 0x20, 0x10, 0x08, 0x04, 0x01


def check_transmission_as_the_air_gets_it():
    b = Bench76().start()
    frame = b.send(b"hello", sf=9, freq=868300000)
    assert (frame["sf"], frame["bw"], frame["iq"], frame["crc"], frame["sync"]) == (9, 125000, 0, 1, 0x3444)
    assert abs(frame["freq"] - 868300000) < 62 and frame["data"] == b"hello" and frame["preamble"] == 8
    assert frame["eirp"] == 19.0 and frame["flaws"] == []
    assert b.irq() == TX_DONE and b.now() == STANDBY


def check_sync_words():
    assert Bench76().start(public=False).send()["sync"] == 0x1424


def check_airtime_is_that_of_every_lora_chip():
    # reference 4.1, Semtech's calculator
    for sf, size, airtime in ((7, 13, 46336), (9, 23, 205824), (12, 64, 2793472)):
        assert Bench76().start().send(bytes(size), sf=sf)["airtime"] == airtime


def check_tx_done_comes_after_the_airtime():
    b = Bench76().start()
    seen = []
    b.dio0.irq(lambda pin: seen.append(b.board.clock.now), Pin.IRQ_RISING)
    frame = b.send()
    late = seen[0] - frame["at"] - frame["airtime"]
    assert 0 <= late < 100, late
    assert b.dio0.value() == 1
    b.write(0x12, 0xFF)
    assert b.dio0.value() == 0 and b.irq() == 0


def check_time_to_the_air():
    """Synthesizer and ramp from standby; the oscillator besides from sleep."""
    b = Bench76().start()
    b.tune()
    b.load(b"x")
    before = b.board.clock.now
    b.mode(TX)
    time.sleep_ms(100)
    assert 100 < b.board.air.log[-1]["at"] - before < 200
    b.mode(SLEEP)
    before = b.board.clock.now
    b.mode(RX)
    assert 350 < b.chip.window.start - before < 450


def check_lines_follow_the_mapping():
    b = Bench76().start()
    b.tune()
    b.load(b"x")
    for mapping, dio0 in ((0x00, 0), (0x40, 1), (0x80, 0), (0xC0, 0)):
        b.write(0x12, 0xFF)
        b.write(0x40, mapping)
        b.mode(TX)
        time.sleep_ms(100)
        assert (b.dio0.value(), b.dio1.value()) == (dio0, 0), mapping
    b = Bench76().start()
    b.listen(symbols=8)
    time.sleep_ms(50)
    assert (b.dio0.value(), b.dio1.value()) == (0, 1)
    b.write(0x40, 0x10)
    assert b.dio1.value() == 0


def check_masked_interrupts_do_not_happen():
    b = Bench76().start()
    b.write(0x11, 0xFF & ~TX_DONE)
    b.send()
    assert b.irq() == TX_DONE
    b.write(0x12, 0xFF)
    b.write(0x11, TX_DONE)
    b.send()
    assert b.irq() == 0 and b.dio0.value() == 0


def check_transmitted_polarity():
    """Bit 0 of 0x33 at 1 is normal, and 0x3B goes with it."""
    for iq, sent, fine in ((NORMAL, 0, True), ((0x26, 0x19), 1, True), ((0x67, 0x1D), 0, True), (INVERTED, 1, False)):
        frame = Bench76().start().send(iq=iq)
        assert frame["iq"] == sent and (frame["flaws"] == []) == fine, iq


def check_reception():
    b = Bench76().start()
    flags = b.receive(b"downlink!", frame={"rssi": -97, "snr": -3.25})
    assert flags == RX_DONE | HEADER, flags
    assert b.dio0.value() == 1 and b.dio1.value() == 0
    assert b.read(0x13) == 9
    b.write(0x0D, b.read(0x10))
    assert b.run(0x00, 9) == b"downlink!"
    snr = (b.read(0x19) - 256) / 4
    assert snr == -3.25 and abs(-157 + b.read(0x1A) + snr + 97) <= 0.5
    assert b.now() == STANDBY and b.why() == "received"
    assert b.read(0x1C) & 0x40 == 0, "a downlink has no CRC"
    assert b.read(0x15) == b.read(0x17) == 1


def check_strength_of_a_strong_signal():
    b = Bench76().start()
    b.receive(frame={"rssi": -60, "snr": 9.0})
    assert abs(-157 + 16 / 15 * b.read(0x1A) + 60) <= 0.6 and b.read(0x19) == 36


def check_rx_done_at_the_end_of_the_frame():
    b = Bench76().start()
    seen = []
    b.dio0.irq(lambda pin: seen.append(b.board.clock.now), Pin.IRQ_RISING)
    b.receive()
    frame = b.board.air.downlinks[-1]
    assert 0 <= seen[0] - frame["at"] - frame["airtime"] < 100


def check_receive_base_address():
    b = Bench76().start()
    b.write(0x0F, 100)
    b.receive(b"abc")
    assert b.read(0x10) == 100
    b.write(0x0D, 100)
    assert b.run(0x00, 3) == b"abc"


def check_deaf_to_what_does_not_match():
    rows = (
        ({"sf": 8}, "spreading"),
        ({"bw": 250000}, "bandwidth"),
        ({"freq": 868140000}, "frequency"),
        ({"iq": False}, "IQ"),
        ({"sync": 0x1424}, "sync word"),
        ({"snr": -11.0}, "too weak"),
    )
    for frame, why in rows:
        b = Bench76().start()
        assert b.receive(frame=frame) == TIMEOUT and why in b.chip.rx_log[0][1], why


def check_implicit_headers_hear_nothing_explicit():
    b = Bench76().start()
    assert b.receive(implicit=1) == TIMEOUT and "implicit" in b.chip.rx_log[0][1]


def check_polarity_registers_must_fit():
    for iq in ((0x67, 0x1D), (0x27, 0x1D), (0x27, 0x19)):
        b = Bench76().start()
        assert b.receive(iq=iq) == TIMEOUT and "IQ" in b.chip.rx_log[0][1]
    assert Bench76().start().receive(iq=NORMAL, frame={"iq": False}) & RX_DONE


def check_image_calibration():
    """SF7 needs -7.5 dB: without the calibration a downlink with 15 dB to spare is lost. In the LF band it is none."""
    b = Bench76().start(image=False)
    assert b.receive(frame={"snr": 12.0}) == TIMEOUT and "image" in b.chip.rx_log[0][1]
    b = Bench76()
    b.write(0x3B, 0xC2)  # at 434 MHz, as after reset
    time.sleep_ms(11)
    b.start(image=False)
    assert b.receive(frame={"snr": 12.0}) == TIMEOUT and "image" in b.chip.rx_log[0][1]


def check_erratum_2_3():
    weak = {"snr": -4.0}
    assert Bench76().start().receive(frame=weak) & RX_DONE
    b = Bench76().start(iq_frequency=False)
    assert b.receive(frame=weak) == TIMEOUT and "2.3" in b.chip.rx_log[0][1]
    b = Bench76().start()
    b.write(0x2F, 0x44)  # for a narrower band
    assert b.receive(frame=weak) == TIMEOUT and "2.3" in b.chip.rx_log[0][1]
    b = Bench76().start()
    assert b.receive(bw=9, frame=dict(weak, bw=500000)) == TIMEOUT and "2.3" in b.chip.rx_log[0][1]


def check_erratum_2_1():
    weak = {"snr": -6.0, "bw": 500000}
    b = Bench76().start()
    b.write(0x31, 0xC3)
    assert b.receive(bw=9, frame=weak) == TIMEOUT and "2.1" in b.chip.rx_log[0][1]
    b.write(0x36, 0x02)
    b.write(0x3A, 0x64)
    assert b.receive(bw=9, frame=weak) & RX_DONE
    b = Bench76().start()
    b.write(0x36, 0x02)
    assert b.receive(frame={"snr": -6.0}) == TIMEOUT and "2.1" in b.chip.rx_log[0][1]


def check_gain():
    weak = {"snr": -6.5}
    assert Bench76().start().receive(frame=weak) & RX_DONE
    assert Bench76().start(gain=False).receive(frame=weak) == TIMEOUT, "without LnaBoostHf"
    b = Bench76().start()
    b.tune()
    b.write(0x0C, 0xC3)
    opens = b.listen()
    assert opens and b.chip.mode == "rx"
    b.mode(STANDBY)
    b.write(0x26, 0)
    b.chip.registers[0x1E] = 0x74
    b.mode(SINGLE)
    b.board.air.add(b.chip.window.start + 2000, 868100000, 7, 125000, b"x")
    time.sleep_ms(200)
    assert not b.irq() & RX_DONE and "gain" in b.chip.rx_log[0][1]


def check_low_data_rate_optimisation_must_fit():
    b = Bench76().start()
    assert b.receive(sf=12, ldro=0, frame={"sf": 12}) == TIMEOUT and "low data rate" in b.chip.rx_log[0][1]
    assert Bench76().start().receive(sf=12, frame={"sf": 12}) & RX_DONE
    assert "low data rate" in Bench76().start().send(ldro=1)["flaws"][0]


def check_detection_registers_must_fit():
    for address, value in ((0x31, 0x45), (0x37, 0x0C)):
        b = Bench76().start()
        b.write(address, value)
        assert b.receive() == TIMEOUT and "0x37" in b.chip.rx_log[0][1]


def check_symbol_timeout_lasts_that_many_symbols():
    """Ten bits, counted from when the receiver is on."""
    for symbols in (4, 5, 23, 255, 256, 1023):
        b = Bench76().start()
        seen = []
        b.dio1.irq(lambda pin: seen.append(b.board.clock.now), Pin.IRQ_RISING)  # noqa: B023
        opens = b.listen(symbols=symbols)
        time.sleep_ms(1500)
        assert 0 <= seen[0] - opens - symbols * 1024 < 100, (symbols, seen[0] - opens)
        assert b.irq() == TIMEOUT and b.now() == STANDBY


def check_window_must_hold_five_symbols_of_preamble():
    for after_us, heard in ((2900, True), (3200, False), (-2900, True), (-3200, False)):
        b = Bench76().start()
        assert bool(b.receive(symbols=8, after_us=after_us) & RX_DONE) == heard, after_us
        assert heard or "preamble missed" in b.chip.rx_log[0][1]


def check_symbol_timeout_does_not_cut_a_reception():
    assert Bench76().start().receive(bytes(200), symbols=8) & RX_DONE


def check_continuous_reception():
    b = Bench76().start()
    opens = b.listen(RX)
    for number in range(3):
        b.board.air.add(opens + 5000 + number * 200000, 868100000, 7, 125000, bytes([number]) * 4)
    time.sleep_ms(20000)
    assert b.read(0x13) == 4 and b.read(0x10) == 8 and b.read(0x17) == 3
    b.write(0x0D, 0)
    assert b.run(0x00, 12) == b"\0\0\0\0\1\1\1\1\2\2\2\2"
    assert b.now() == RX and not b.irq() & TIMEOUT


def check_damaged_frame():
    b = Bench76().start()
    assert b.receive(frame={"damaged": True, "crc": True}) == RX_DONE | CRC | HEADER
    assert b.read(0x1C) & 0x40
    b = Bench76().start()
    assert b.receive(b"downlink", frame={"damaged": True}) == RX_DONE | HEADER, "without CRC the chip cannot know"
    b.write(0x0D, 0)
    assert b.run(0x00, 8) != b"downlink"


def check_longer_than_allowed():
    b = Bench76().start()
    b.write(0x23, 59)
    assert b.receive(bytes(60)) == TIMEOUT and b.now() == STANDBY
    b = Bench76().start()
    b.write(0x23, 60)
    assert b.receive(bytes(60)) & RX_DONE


def check_standby_ends_a_reception():
    b = Bench76().start()
    opens = b.listen()
    b.board.air.add(opens + 2000, 868100000, 7, 125000, b"x")
    time.sleep_ms(15)
    assert b.read(0x18) == 0x07
    b.mode(STANDBY)
    time.sleep_ms(300)
    assert not b.irq() & (RX_DONE | TIMEOUT) and b.read(0x18) == 0x10


def check_channel_activity():
    b = Bench76().start()
    b.tune(iq=INVERTED)
    b.mode(CAD)
    time.sleep_ms(50)
    assert b.irq() == CAD_DONE and b.now() == STANDBY
    b.board.air.add(b.board.clock.now + 1000, 868100000, 7, 125000, bytes(40))
    b.write(0x12, 0xFF)
    b.write(0x40, 0xA0)
    time.sleep_ms(5)
    b.mode(CAD)
    time.sleep_ms(50)
    assert b.irq() == CAD_DONE | CAD_FOUND and b.dio0.value() == b.dio1.value() == 1


def check_ledger_and_what_it_draws():
    b = Bench76().start()
    mark = b.board.energy.mark()
    frame = b.send()
    assert frame["airtime"] <= b.chip.ledger["tx"] < frame["airtime"] + 300
    b.listen(symbols=100)
    time.sleep_ms(500)
    assert 100 * 1024 <= b.chip.ledger["rx"] < 100 * 1024 + 500
    us = b.board.energy.since(mark)["us"]
    assert us["radio tx/boost/17"] == b.chip.ledger["tx"] and us["radio rx"] == b.chip.ledger["rx"]
    b.write(0x4D, 0x87)
    b.write(0x0B, 0x31)
    b.send()
    b.mode(SLEEP)
    machine.lightsleep(1000)
    us = b.board.energy.since(mark)["us"]
    assert us["radio tx/boost20/20"] and us["radio sleep"] > 1000000


def check_rssi_of_the_moment():
    b = Bench76().start()
    b.listen(RX)
    assert b.read(0x1B) == 157 - 117
    b.board.air.add(b.board.clock.now, 868100000, 7, 125000, bytes(40), rssi=-80)
    time.sleep_ms(5)
    assert b.read(0x1B) == 157 - 80


def check_light_sleep_through_a_reception():
    """An ESP32 keeps its pads in light sleep, and DIO0 ends it."""
    import esp32

    b = Bench76().start()
    esp32.wake_on_ext0(b.dio0, True)
    opens = b.listen()
    frame = b.board.air.add(opens + 2000, 868100000, 7, 125000, b"x")
    machine.lightsleep(10000)
    assert 0 <= b.board.clock.now - frame["at"] - frame["airtime"] < 2000
    assert b.irq() & RX_DONE
