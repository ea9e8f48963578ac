# ruff: noqa: B905, PT018 - MicroPython has no strict zip, and a check is no pytest function
"""The SX1262 on the air: what is transmitted and heard, when, and what a missing set-up step costs."""

import time

from bench import Bench, rejects
from board import default_world
from machine import Pin

TX_DONE, RX_DONE, PREAMBLE, HEADER, HEADER_ERR, CRC_ERR, TIMEOUT = 1, 2, 4, 16, 32, 64, 512


def check_transmission_as_the_air_gets_it():
    b = Bench().start()
    frame = b.send(b"hello", sf=9, freq=868300000)
    assert (frame["sf"], frame["bw"], frame["iq"], frame["crc"], frame["sync"]) == (9, 125000, 0, 1, 0x3444)
    assert abs(frame["freq"] - 868300000) < 2 and frame["data"] == b"hello" and frame["preamble"] == 8
    assert frame["eirp"] == 16.0 and frame["flaws"] == []
    assert b.irq() & TX_DONE and b.mode() == 2


def check_airtime_table():
    # reference 4.1, Semtech's calculator
    table = {7: (46336, 61696, 118016), 9: (164864, 205824, 390144), 12: (1155072, 1482752, 2793472)}
    for sf, times in table.items():
        for size, airtime in zip((13, 23, 64), times):
            b = Bench().start()
            assert b.send(bytes(size), sf=sf)["airtime"] == airtime


def check_tx_done_comes_after_the_airtime():
    b = Bench().start()
    seen = []
    b.dio1.irq(lambda pin: seen.append(b.board.clock.now), Pin.IRQ_RISING)
    frame = b.send()
    late = seen[0] - frame["at"] - frame["airtime"]
    assert 0 <= late < 100, late
    assert b.dio1.value() == 1
    b.cmd(0x02, 0xFF, 0xFF)
    assert b.dio1.value() == 0


def check_interrupt_masks():
    b = Bench().start()
    b.cmd(0x08, 0x02, 0x03, 0x02, 0x02, 0, 0, 0, 0)
    b.send()
    assert b.irq() == TX_DONE and b.dio1.value() == 0
    b.cmd(0x08, 0x00, 0x00, 0xFF, 0xFF, 0, 0, 0, 0)
    b.cmd(0x02, 0xFF, 0xFF)
    b.send()
    assert b.irq() == 0


def check_power_of_each_amplifier_setting():
    for pa, dbm in (((4, 7), 22), ((3, 5), 20), ((2, 3), 17), ((2, 2), 14)):
        for power in (22, 20, 10, -9):
            assert Bench().start().send(pa=pa, power=power)["eirp"] == dbm - 22 + power + 2


def check_send_timeout_cuts_the_transmission():
    b = Bench().start()
    b.send(bytes(50), timeout=640)  # 10 ms
    assert b.irq() & TIMEOUT and not b.irq() & TX_DONE and b.mode() == 2


def check_fallback_mode_after_sending():
    b = Bench().start()
    b.cmd(0x93, 0x30)
    b.send()
    assert b.mode() == 3


def check_missing_clamp_fix_costs_power_at_14_dbm():
    frame = Bench().start(clamp=False).send()
    assert frame["eirp"] == 10.0 and "0x08D8" in frame["flaws"][0]
    assert Bench().start(clamp=False).send(power=20)["flaws"] == []


def check_missing_modulation_fix_spoils_the_transmission():
    frame = Bench().start().send(fix_modulation=False)
    assert frame["eirp"] < -10 and "0x0889" in frame["flaws"][0]


def check_missing_iq_fix_turns_the_polarity():
    assert Bench().start().send(fix_iq=False)["iq"] == 1
    assert Bench().start().send(fix_iq=False, iq=1)["iq"] == 0


def check_missing_calibration_sends_off_frequency():
    frame = Bench().start(calibrate=0).send()
    assert abs(frame["freq"] - 868100000) > 100000 and frame["flaws"]
    frame = Bench().start(calibrate=0xFE).send()
    assert frame["flaws"], "one block left out"


def check_error_not_cleared_makes_the_calibration_fail():
    b = Bench().start(clear=False)
    assert b.errors() & 0x24 == 0x24
    assert b.send()["flaws"]


def check_missing_tcxo_sends_nothing():
    b = Bench().start(tcxo=False)
    assert b.send() is None and b.irq() == 0 and b.errors() & 0x20


def check_missing_antenna_switch():
    assert Bench().start(switch=False).send()["eirp"] < -20
    b = Bench().start(switch=False)
    assert b.receive(symbols=24) == TIMEOUT and "rf switch" in b.chip.rx_log[0][1]


def check_receive_path_of_the_antenna_switch():
    """A pin beside DIO2: high to receive, low to send."""
    chips = default_world()["chips"]
    chips["radio"]["rx_enable"] = 38
    b = Bench(chips=chips).start()
    path = Pin(38, Pin.OUT, value=0)
    assert b.send()["flaws"] == []
    assert b.receive(symbols=24) == TIMEOUT and "receive path" in b.chip.rx_log[0][1]
    path.value(1)
    b.cmd(0x02, 0xFF, 0xFF)
    assert b.receive(symbols=24) & RX_DONE
    rejects(b.send, "receive path on")
    b = Bench(chips=chips).start()
    rejects(b.send, "receive path on")  # nobody drives it


def check_reception():
    b = Bench().start()
    b.register(0x08AC, 0x96)
    flags = b.receive(b"downlink!", symbols=24, frame={"rssi": -97, "snr": -3.25})
    assert flags == RX_DONE | PREAMBLE | HEADER, flags
    assert b.ask(2, 0x13, 0) == b"\x09\x00"
    assert b.ask(9, 0x1E, 0, 0) == b"downlink!"
    rssi, snr, _ = b.ask(3, 0x14, 0)
    assert (-rssi / 2, (snr - 256) / 4) == (-97, -3.25)
    assert b.mode() == 2 and b.why() == "received"


def check_rx_done_at_the_end_of_the_frame():
    b = Bench().start()
    seen = []
    b.cmd(0x08, 0xFF, 0xFF, 0, 2, 0, 0, 0, 0)
    b.dio1.irq(lambda pin: seen.append(b.board.clock.now), Pin.IRQ_RISING)
    b.receive(symbols=24)
    frame = b.board.air.downlinks[-1]
    assert 0 <= seen[0] - frame["at"] - frame["airtime"] < 100


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
        b = Bench().start()
        assert b.receive(symbols=24, frame=frame) == TIMEOUT and why in b.chip.rx_log[0][1], why


def check_a_quarter_of_the_bandwidth_is_tolerated():
    assert Bench().start().receive(symbols=24, frame={"freq": 868130000}) & RX_DONE


def check_deaf_without_the_iq_fix():
    b = Bench().start()
    assert b.receive(symbols=24, fix_iq=False) == TIMEOUT and "0x0736" in b.chip.rx_log[0][1]


def check_deaf_without_calibrations():
    # SF7 needs -7.5 dB: a downlink with 8 dB to spare is lost
    for start, why in (({"calibrate": 0}, "TCXO"), ({"image": None}, "image"), ({"image": b"\xe1\xe9"}, "image")):
        b = Bench().start(**start)
        assert b.receive(symbols=24, frame={"snr": 12.0}) == TIMEOUT and why in b.chip.rx_log[0][1]


def check_calibrate_after_image_calibration_undoes_it():
    b = Bench().start()
    b.cmd(0x89, 0x7F)
    assert b.receive(symbols=24) == TIMEOUT and "image" in b.chip.rx_log[0][1]


def check_image_calibration_before_calibration_is_an_error():
    b = Bench()
    b.cmd(0x97, 2, 0, 1, 0x40)
    b.cmd(0x07, 0, 0)
    b.cmd(0x98, 0xD7, 0xDB)
    assert b.errors() & 0x10


def check_boosted_gain_hears_two_decibels_more():
    weak = {"snr": -6.5}
    assert Bench().start().receive(symbols=24, frame=weak) == TIMEOUT
    b = Bench().start()
    b.register(0x08AC, 0x96)
    assert b.receive(symbols=24, frame=weak) & RX_DONE


def check_low_data_rate_optimisation_must_fit():
    b = Bench().start()
    assert b.receive(symbols=24, sf=12, ldro=0, frame={"sf": 12}) == TIMEOUT
    assert Bench().start().receive(symbols=24, sf=12, frame={"sf": 12}) & RX_DONE


def check_symbol_timeout_lasts_that_many_symbols():
    for symbols, really in ((8, 8), (9, 10), (62, 62), (63, 64), (100, 104), (248, 248), (255, 248)):
        b = Bench().start()
        seen = []
        b.dio1.irq(lambda pin: seen.append(b.board.clock.now), Pin.IRQ_RISING)  # noqa: B023
        b.prepare(symbols=symbols)
        opens = b.listen()
        time.sleep_ms(1000)
        assert 0 <= seen[0] - opens - really * 1024 < 100, (symbols, seen[0] - opens)
        assert b.irq() == TIMEOUT and b.mode() == 2


def check_window_must_hold_five_symbols_of_preamble():
    # SF7: a symbol is 1.024 ms; 8 symbols of window; the frame starts before or after the receiver
    for after_us, heard in ((2900, True), (3200, False), (-2900, True), (-3200, False)):
        b = Bench().start()
        assert bool(b.receive(symbols=8, after_us=after_us) & RX_DONE) == heard, after_us
        assert heard or "preamble missed" in b.chip.rx_log[0][1]


def check_symbol_timeout_does_not_cut_a_reception():
    assert Bench().start().receive(bytes(200), symbols=8) & RX_DONE


def check_timer_ends_the_window():
    b = Bench().start()
    b.prepare()
    opens = b.listen(6400)  # 100 ms
    time.sleep_ms(99)
    assert b.chip.mode == "rx"
    time.sleep_ms(5)
    assert b.irq() == TIMEOUT and b.chip.rx_log[-1][0] - opens == 100000


def check_timer_stops_at_the_header_or_the_preamble():
    # preamble found 5 symbols after 2 ms = 7.1 ms; header over at 22.7 ms; the timer is set to 15.6 ms
    b = Bench().start()
    assert b.receive(timeout=1000) & (TIMEOUT | RX_DONE) == TIMEOUT
    b = Bench().start()
    b.cmd(0x9F, 1)
    assert b.receive(timeout=1000) & RX_DONE
    assert Bench().start().receive(timeout=1600) & RX_DONE


def check_no_timeout_waits_for_ever():
    b = Bench().start()
    b.prepare()
    b.listen(0)
    time.sleep_ms(20000)
    assert b.irq() == 0 and b.mode() == 5


def check_continuous_reception():
    b = Bench().start()
    b.prepare()
    opens = b.listen(0xFFFFFF)
    for number in range(3):
        b.board.air.add(opens + 5000 + number * 200000, 868100000, 7, 125000, bytes([number]) * 4)
    time.sleep_ms(500)
    size, at = b.ask(2, 0x13, 0)
    assert (size, at) == (4, 8) and b.ask(12, 0x1E, 0, 0) == b"\0\0\0\0\1\1\1\1\2\2\2\2"
    assert b.mode() == 5


def check_damaged_frame():
    b = Bench().start()
    assert b.receive(symbols=24, frame={"damaged": True, "crc": True}) & (RX_DONE | CRC_ERR) == RX_DONE | CRC_ERR
    b = Bench().start()
    flags = b.receive(b"downlink", symbols=24, frame={"damaged": True})
    assert flags & RX_DONE and not flags & CRC_ERR, "without CRC the chip cannot know"
    assert b.ask(8, 0x1E, 0, 0) != b"downlink"


def check_longer_than_allowed():
    b = Bench().start()
    flags = b.receive(bytes(60), symbols=24, longest=59)
    assert flags & HEADER_ERR and not flags & RX_DONE


def check_first_come_first_heard():
    b = Bench().start()
    b.prepare(symbols=24)
    opens = b.listen()
    b.board.air.add(opens + 4000, 868100000, 7, 125000, b"second")
    b.board.air.add(opens + 1000, 868100000, 7, 125000, b"first")
    time.sleep_ms(300)
    assert b.irq() & RX_DONE and b.ask(5, 0x1E, 0, 0) == b"first"


def check_standby_ends_a_reception():
    b = Bench().start()
    b.prepare()
    opens = b.listen()
    b.board.air.add(opens + 2000, 868100000, 7, 125000, b"x")
    time.sleep_ms(15)
    b.cmd(0x80, 0)
    time.sleep_ms(300)
    assert not b.irq() & (RX_DONE | TIMEOUT)


def check_start_of_reception_costs_the_tcxo_in_standby_rc():
    b = Bench().start()
    b.prepare()
    b.wait()
    before = b.board.clock.now
    b.raw(0x82, 0, 0, 0)
    assert b.chip.window.start - before > 5000
    b = Bench().start()
    b.prepare()
    b.cmd(0x80, 1)
    b.wait()
    before = b.board.clock.now
    b.raw(0x82, 0, 0, 0)
    assert b.chip.window.start - before < 200


def check_scripted_downlinks_as_tuples():
    b = Bench().start()
    b.prepare(symbols=24)
    start = b.board.clock.now + 3000
    b.board.air.downlinks.append((start, 868100000, 7, 125000, True, -80, 6.0, b"tuple"))
    b.listen()
    time.sleep_ms(300)
    assert b.irq() & RX_DONE and b.ask(5, 0x1E, 0, 0) == b"tuple"


def check_answer_to_an_uplink():
    b = Bench().start()
    b.board.air.on_transmit = lambda f: b.board.air.add(f["at"] + f["airtime"] + 5000000, f["freq"], 7, 125000, b"ok")
    frame = b.send()
    b.prepare(symbols=24)
    b.cmd(0x80, 1)
    b.board.clock.run_until(frame["at"] + frame["airtime"] + 4995000)
    b.listen()
    time.sleep_ms(200)
    assert b.irq() & RX_DONE


def check_channel_activity():
    b = Bench().start()
    b.prepare()
    b.cmd(0x88, 2, 22, 10, 0, 0, 0, 0)
    b.cmd(0xC5)
    time.sleep_ms(50)
    assert b.irq() == 0x80
    b.board.air.add(b.board.clock.now + 1000, 868100000, 7, 125000, bytes(40))
    b.cmd(0x02, 0xFF, 0xFF)
    b.cmd(0xC5)
    time.sleep_ms(50)
    assert b.irq() == 0x180


def check_ledger_of_modes_and_regulator():
    b = Bench().start()
    b.cmd(0x96, 0)
    frame = b.send()
    assert frame["airtime"] <= b.chip.ledger["tx/ldo"] < frame["airtime"] + 6000
    b.cmd(0x96, 1)
    b.prepare(symbols=100)
    b.listen()
    time.sleep_ms(500)
    assert 104 * 1024 <= b.chip.ledger["rx/dcdc"] < 104 * 1024 + 500


def check_rssi_of_the_moment():
    b = Bench().start()
    b.prepare()
    b.listen(0xFFFFFF)
    assert b.ask(1, 0x15, 0)[0] == 234
    b.board.air.add(b.board.clock.now, 868100000, 7, 125000, bytes(40), rssi=-80)
    time.sleep_ms(5)
    assert b.ask(1, 0x15, 0)[0] == 160


def check_low_current_limit_spoils_high_power():
    for limit_ma, power, fine in ((140, 22, True), (120, 22, True), (60, 22, False), (60, 8, True), (100, 14, True)):
        b = Bench().start()
        b.register(0x08E7, limit_ma * 2 // 5)
        b.cmd(0x95, 4, 7, 0, 1)
        assert b.register(0x08E7) == 0x38, "SetPaConfig sets it to 140 mA"
        frame = b.send(pa=(4, 7), power=power, ocp=limit_ma * 2 // 5)
        assert ("0x08E7" in "".join(frame["flaws"])) != fine, (limit_ma, power)
        assert frame["eirp"] == power + 2 - (0 if fine else 10)
