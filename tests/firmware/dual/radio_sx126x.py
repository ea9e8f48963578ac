"""The SX126x driver against its data sheet, byte by byte ("DS": DS.SX1261-2, revision 2.1), without a chip."""

# pyright: reportAttributeAccessIssue=false
from expect import equal, raises
from radio import RadioError
from radio import sx126x_tables as t
from radio_wire import Pin, Wire

COLD_START = (
    "c0",  # GetStatus: is a chip there, and in STDBY_RC?
    "8000",  # SetStandby STDBY_RC
    "9601",  # SetRegulatorMode DC-DC
    "9702000140",  # SetDIO3AsTcxoCtrl 1.8 V, 320 * 15.625 us = 5 ms (DS 13.3.6)
    "070000",  # ClearDeviceErrors: XOSC_START_ERR is expected
    "897f",  # Calibrate, all blocks (DS 13.1.12)
    "1700",  # GetDeviceErrors
    "9d01",  # SetDIO2AsRfSwitchCtrl
    "8a01",  # SetPacketType LoRa
    "8f0000",  # SetBufferBaseAddress
    "9f00",  # StopTimerOnPreamble off
    "0d07403444",  # LoRa sync word, public network
    "0d08ac96",  # RX gain boosted (DS 9.6)
    "0d029f0208ac0889",  # retention list: two registers (DS 9.6)
)
IMAGE = (
    "8000",  # SetStandby STDBY_RC: the mode for calibrations
    "98d7db",  # CalibrateImage 863-870 MHz (DS table 9-2)
    "1700",  # GetDeviceErrors
)
TRANSMIT = (
    "8001",  # SetStandby STDBY_XOSC
    "863641999a",  # 868.1 MHz * 2^25 / 32 MHz, to the nearest
    "9502020001",  # SetPaConfig: 14 dBm (DS table 13-21), SX1262
    "0d08e738",  # over-current protection 140 mA
    "1d08d800",  # erratum 15.2: read ...
    "0d08d8de",  # ... 0xC8 | 0x1E
    "8e1602",  # SetTxParams 22, 40 us
    "8b07040100",  # SF7, 125 kHz, 4/5, no low data rate optimisation
    "1d088900",  # erratum 15.1 ...
    "0d088904",
    "8c000800030100",  # preamble 8, explicit header, 3 bytes, CRC on, IQ standard
    "1d073600",  # erratum 15.4 ...
    "0d073604",  # ... bit 2 set: standard IQ
    "0e00abcdef",  # WriteBuffer
    "02ffff",  # ClearIrqStatus
    "080201020100000000",  # TxDone and Timeout on DIO1
    "830022c0",  # SetTx with its guard: 5/4 of 30.976 ms, and 100 ms more, rounded up to a ms: 139 ms
)
LISTEN = (
    "8000",  # SetStandby STDBY_RC: SetRx starts the TCXO by itself
    "8636586666",  # 869.525 MHz
    "8b0c040101",  # SF12: low data rate optimisation on
    "1d088900",
    "0d088904",
    "8c000800ff0001",  # explicit header, at most 255 bytes, no CRC, IQ inverted
    "1d073600",
    "0d0736e0",  # 0xE4 with bit 2 cleared: inverted IQ
    "a006",  # SetLoRaSymbNumTimeout 6
    "0d070618",  # mantissa 3, exponent 0
    "02ffff",
    "080266026200000000",  # RxDone, HeaderErr, CrcErr, Timeout on DIO1; PreambleDetected not
)


def started(config=None):
    wire = Wire()
    driver = wire.driver(config)
    driver.start()
    wire.take()
    return wire, driver


def check_cold_start():
    wire = Wire()
    driver = wire.driver()
    equal(wire.take(), [], "nothing is sent before start()")
    driver.start(cold=True)
    equal(wire.take(), list(COLD_START))


def check_processor_may_sleep_while_the_chip_calibrates():
    """From the start of the TCXO to the end of all blocks, or of the image; what is sent is the same."""
    wire = Wire()
    driver = wire.driver()
    dozed = []
    driver.doze = lambda us: dozed.append((us, wire.take()[-1]))
    driver.start()
    equal([sent for _, sent in dozed], ["897f"])
    equal(wire.take(), list(COLD_START[COLD_START.index("897f") + 1 :]))
    driver.transmit(b"\x00", 868100000, 7, 125000, 16)
    equal([sent for _, sent in dozed], ["897f", "98d7db"])
    for us, _ in dozed:
        assert 8500 <= us <= 9000, dozed


def check_board_without_tcxo_dcdc_and_switch():
    wire = Wire()
    wire.driver({"tcxo_mv": 0, "dcdc": False, "dio2_rf_switch": False, "rx_boost": False}).start()
    equal(wire.take(), [one for one in COLD_START if one not in ("9601", "9702000140", "9d01", "0d08ac96")])


def check_transmit():
    wire, driver = started()
    wire.answers[b"\x1d\x08\xd8\x00"] = b"\xc8"
    driver.transmit(b"\xab\xcd\xef", 868100000, 7, 125000, 16)
    equal(wire.take(), list(IMAGE + TRANSMIT))
    driver.transmit(b"\xab\xcd\xef", 868100000, 7, 125000, 16)
    equal(wire.take(), list(TRANSMIT), "calibrated once")


def check_the_receive_path_is_on_while_it_listens_only():
    wire, driver = started()
    driver.receive_path = Pin(0)
    seen = []
    write = wire.write

    def note(data):
        if data[0] in (0x82, 0x83, 0x84):
            seen.append((data[0], driver.receive_path.level))
        write(data)

    wire.write = note
    for _ in range(2):
        driver.transmit(b"\x00", 868100000, 7, 125000, 16)
        driver.prepare_listen(868100000, 7, 125000, 8)
        driver.listen()
    driver.sleep()
    equal(seen, [(0x83, 0), (0x82, 1), (0x83, 0), (0x82, 1), (0x84, 1)])
    equal(driver.receive_path.level, 0)
    driver.prepare_listen(868100000, 7, 125000, 8)  # from warm sleep
    equal(driver.receive_path.level, 1)


def check_image_calibration_fits_the_band():
    """DS table 9-2: 863-870 MHz (EU868, IN865), 902-928 MHz (AS923); anew after a cold start and for another band."""
    for first, again, want in (
        (865062500, 869525000, ["98d7db"]),
        (923200000, 921400000, ["98e1e9"]),
        (868100000, 923200000, ["98d7db", "98e1e9"]),
    ):
        wire, driver = started()
        for freq_hz in (first, again, again):
            driver.transmit(b"\x00", freq_hz, 7, 125000, 16)
            driver.prepare_listen(freq_hz, 7, 125000, 6)
        sent = wire.take()
        equal([one for one in sent if one.startswith("98")], want)
        for at in [at for at, one in enumerate(sent) if one.startswith("98")]:
            equal((sent[at - 1], sent[at + 1]), ("8000", "1700"), "in STDBY_RC, and its result is looked at")
        driver.sleep(warm=False)
        driver.transmit(b"\x00", again, 7, 125000, 16)
        equal([one for one in wire.take() if one.startswith("98")], want[-1:])


def check_listen():
    wire, driver = started()
    wire.answers[b"\x1d\x07\x36\x00"] = b"\xe4"
    driver.prepare_listen(869525000, 12, 125000, 6)
    equal(wire.take(), list(IMAGE + LISTEN))
    driver.listen()
    equal(wire.take(), ["8200f600"])  # SetRx: (6 + 24) symbols of 32.768 ms, rounded up to 984 ms


def check_iq_is_set_right_after_every_set_packet_params():
    wire, driver = started()
    for inverted in (True, False, True):
        driver.prepare_listen(868100000, 9, 125000, 6, inverted)
        sent = wire.take()
        at = [i for i, one in enumerate(sent) if one.startswith("8c")]
        equal(len(at), 1)
        equal(sent[at[0] + 1 : at[0] + 3], ["1d073600", "0d0736" + ("00" if inverted else "04")])


def check_500_khz_erratum():
    wire, driver = started()
    wire.answers[b"\x1d\x08\x89\x00"] = b"\x05"
    driver.transmit(b"\x00", 868100000, 8, 500000, 14)
    assert "0d088901" in wire.take()  # bit 2 cleared to send at 500 kHz
    driver.prepare_listen(868100000, 8, 500000, 6)
    assert "0d088905" in wire.take()  # set otherwise
    driver.transmit(b"\x00", 868100000, 8, 125000, 14)
    assert "0d088905" in wire.take()


def check_frequencies():
    for khz in range(863000, 870001, 25):
        equal(t.frequency_steps(khz * 1000), ((khz * 1000 << 25) + 16000000) // 32000000, khz)


def check_amplifier():
    """The four optimal settings of DS table 13-21, and whole decibels below."""
    for dbm, duty_cycle, hp_max, power in (
        (22, 4, 7, 22),
        (20, 3, 5, 22),
        (17, 2, 3, 22),
        (14, 2, 2, 22),
        (21, 4, 7, 21),
        (15, 2, 3, 20),
        (0, 2, 2, 8),
        (-9, 2, 2, -1),
        (30, 4, 7, 22),  # the chip can do no more
    ):
        equal(t.amplifier(dbm), (duty_cycle, hp_max, power), dbm)


def check_symbol_timeouts():
    for symbols in range(1, 249):
        mantissa, exponent = t.symbol_timeout(symbols)
        got = mantissa << (2 * exponent + 1)
        assert mantissa < 32, symbols
        assert symbols <= got < symbols + (2 if symbols <= 62 else 8), (symbols, got)
        assert got <= 248, symbols
    equal(t.symbol_timeout(249), (0, 0))


def check_window_too_long_for_the_symbol_counter():
    wire, driver = started()
    driver.prepare_listen(868100000, 7, 125000, 400)
    sent = wire.take()
    assert "a000" in sent  # no symbol timeout ...
    assert not [one for one in sent if one.startswith("0d0706")]
    driver.listen()
    equal(wire.take(), ["82006cc0"])  # ... but the timer: (400 + 24) * 1.024 ms, rounded up to 435 ms


def check_tcxo_voltages():
    for code, millivolts in enumerate((1600, 1700, 1800, 2200, 2400, 2700, 3000, 3300)):
        equal(t.tcxo_command(millivolts, 5000), bytes((0x97, code, 0, 1, 0x40)))
    equal(t.tcxo_command(0, 5000), None)
    raises(ValueError, t.tcxo_command, 2000, 5000)


def check_received_frame():
    wire, driver = started()
    driver.prepare_listen(868100000, 7, 125000, 24)
    driver.listen()
    wire.dio1.level = 1
    wire.answers[b"\x12\x00"] = b"\x00\x02"  # RxDone
    wire.answers[b"\x13\x00"] = b"\x03\x10"  # 3 bytes from 16 on
    wire.answers[b"\x14\x00"] = b"\xc3\xf2\xc8"
    wire.answers[b"\x1e\x10\x00"] = b"\x60\x61\x62"
    heard = driver.receive(100)
    assert heard
    equal((heard.frame, heard.rssi, heard.snr), (b"\x60\x61\x62", -97, -3.5))


def check_broken_frames_are_nothing():
    for flags in (b"\x00\x42", b"\x00\x20", b"\x02\x00", b"\x00\x60"):  # CRC, header, timeout, header and CRC
        wire, driver = started()
        driver.prepare_listen(868100000, 7, 125000, 24)
        driver.listen()
        wire.dio1.level = 1
        wire.answers[b"\x12\x00"] = flags
        equal(driver.receive(100), None, flags)
        equal(wire.take()[-2:], ["8000", "02ffff"])


def check_sleep_and_wake():
    wire, driver = started()
    driver.sleep()
    equal(wire.take(), ["8000", "8404"])
    driver.sleep()
    equal(wire.take(), [], "already asleep: NSS would wake it")
    driver.prepare_listen(869525000, 12, 125000, 6)
    equal(wire.take()[:3], ["070000", "1d074000", "8000"])  # errors cleared, sync word still there
    driver.sleep(warm=False)
    equal(wire.take(), ["8000", "8400"])
    driver.prepare_listen(869525000, 12, 125000, 6)
    equal(wire.take()[: len(COLD_START)], list(COLD_START))


def check_forgotten_configuration_means_cold_start():
    wire, driver = started()
    driver.sleep()
    wire.answers[b"\x1d\x07\x40\x00"] = b"\x14\x24"  # the value after reset: power was lost while asleep
    wire.take()
    driver.start(cold=False)
    equal(wire.take(), ["070000", "1d074000"] + list(COLD_START))


def check_no_chip():
    for status in (b"\x00", b"\xff"):
        wire = Wire()
        wire.answers[b"\xc0"] = status
        error = raises(RadioError, wire.driver().start)
        assert "no radio chip answers" in str(error)


def check_stuck_busy():
    wire, driver = started()
    wire.busy.level = 1
    error = raises(RadioError, driver.transmit, b"\x00", 868100000, 7, 125000, 14)
    assert "stays busy" in str(error)
    assert wire.time.us < 3000000
    wire.busy.level = 0
    wire.take()
    driver.transmit(b"\x00", 868100000, 7, 125000, 14)
    equal(wire.take()[: len(COLD_START)], list(COLD_START), "started anew, nothing assumed")


def check_slow_calibration_is_no_error():
    """rsCardputer #19: a cap of 100 ms was too short."""
    wire = Wire()
    driver = wire.driver()
    wire.busy.level = 1
    wire.time.events.append((600000, lambda: wire.busy.value(0)))
    driver.start()
    equal(wire.take(), list(COLD_START))


def check_device_errors_are_named():
    wire = Wire()
    wire.answers[b"\x17\x00"] = b"\x00\x60"
    error = raises(RadioError, wire.driver().start)
    assert "crystal oscillator start, PLL lock" in str(error)


def check_interrupt_notes_its_time_once():
    wire, driver = started()
    driver.transmit(b"\x00", 868100000, 7, 125000, 14)
    equal(driver.interrupt_us, None)
    start = driver.started_us
    assert start is not None
    wire.answers[b"\x12\x00"] = b"\x00\x01"

    def rise():
        wire.dio1.level = 1
        wire.dio1.interrupt()

    wire.time.events.append((start + 25000, rise))
    assert driver.wait_transmitted(500)
    assert driver.interrupt_us is not None
    assert 25000 <= driver.interrupt_us - start <= 26000
    noted = driver.interrupt_us
    wire.time.sleep_ms(5)
    wire.dio1.interrupt()
    equal(driver.interrupt_us, noted)


def check_transmission_that_never_ends():
    _, driver = started()
    driver.transmit(b"\x00", 868100000, 7, 125000, 14)
    equal(driver.wait_transmitted(300), False)


def check_interrupt_handler_allocates_nothing():
    try:
        from micropython import heap_lock, heap_unlock  # type: ignore[attr-defined]  # CPython's stand-in has none
    except ImportError:
        return
    wire, driver = started()
    driver.transmit(b"\x00", 868100000, 7, 125000, 14)
    heap_lock()
    try:
        wire.dio1.interrupt()
    finally:
        heap_unlock()
    equal(driver.interrupt_us, wire.time.us)
