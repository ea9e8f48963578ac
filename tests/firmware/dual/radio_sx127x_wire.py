"""The SX127x driver against its data sheet, byte by byte ("DS": SX1276/77/78/79, revision 7), without a chip."""

from expect import equal, raises, some
from radio import RadioError
from radio import sx127x_tables as t
from registers_wire import Registers

COLD_START = (
    "42",  # RegVersion: is it an SX127x?
    "8100",  # FSK, sleep, high band
    "8101",  # FSK, standby
    "86d90000",  # 868 MHz / (32 MHz / 2^19): the image is calibrated for the band of RegFrf
    "bb42",  # RegImageCal: start (0x40); temperature threshold as after reset (0x02)
    "3b",  # ... still running?
    "8100",
    "8180",  # LoRa can be chosen in sleep only
    "8181",  # standby
    "8c23",  # RegLna: G1, LnaBoostHf 150 %
    "b934",  # RegSyncWord: public
    "01",  # does it remember?
    "39",
)
AWAKE = ("01", "39", "8181")  # still what it was set to; standby
TRANSMIT = (
    "898c092b",  # RegPaConfig: PA_BOOST, 14 = 17 - (15 - 12) dBm; RegPaRamp 40 us; RegOcp on, 45 + 5 * 11 = 100 mA
    "cd84",  # RegPaDac: not the +20 dBm option
    "86d90666",  # 868.1 MHz, to the nearest
    "9d727404",  # 125 kHz, 4/5, explicit; SF7, CRC; symbol timeout: not used here
    "a0000803",  # preamble 8, 3 bytes
    "a604",  # AGC, no low data rate optimisation
    "b327",  # standard IQ: bit 0 set ...
    "bb1d",
    "8d000000",  # FIFO pointer, transmit base, receive base
    "c040",  # DIO0: TxDone
    "92ff",  # all flags cleared
    "80abcdef",
    "8183",  # transmit
)
LISTEN = (
    "86d9619a",  # 869.525 MHz
    "9d72c006",  # 125 kHz; SF12, no CRC, 6 symbols
    "a00008ff",
    "a60c",  # low data rate optimisation
    "b603",  # errata 2.1: not at 125 kHz
    "af400043",  # errata 2.3: IF 0x40, 0x00; automatic IF off (bit 7), SF7 to SF12 (3)
    "b367",  # IQ of the receiver inverted: bit 6
    "bb19",
    "8d000000",
    "c000",  # DIO0: RxDone
    "92ff",
)


def started(config=None):
    wire = Registers()
    driver = wire.driver(config)
    driver.start()
    wire.take()
    return wire, driver


def listening(config=None, **changes):
    wire, driver = started(config)
    driver.prepare_listen(868100000, changes.get("sf", 7), changes.get("bw_hz", 125000), changes.get("symbols", 24))
    driver.listen()
    wire.take()
    return wire, driver


def check_cold_start():
    wire = Registers()
    driver = wire.driver()
    equal(wire.take(), [], "nothing is sent before start()")
    driver.start(cold=True)
    equal(wire.take(), list(COLD_START))
    equal(len(wire.reset.pulses), 1)
    assert wire.reset.pulses[0] >= 100, "reset is low for at least 100 us (DS 7.2.2)"


def check_tcxo():
    wire = Registers()
    wire.driver({"tcxo": True}).start()
    # RegTcxo: TcxoInputOn (bit 4) over the reset value 0x09, in sleep
    equal(wire.take(), list(COLD_START[:2] + ("cb19",) + COLD_START[2:]))


def check_calibration_is_awaited():
    wire = Registers()
    driver = wire.driver()
    read = wire.readinto
    left = [3]

    def readinto(into, fill):
        read(into, fill)
        if wire.now == b"\x3b" and left[0]:
            left[0] -= 1
            into[0] = 0x22  # ImageCalRunning

    wire.readinto = readinto
    driver.start()
    equal(wire.take().count("3b"), 4)
    left[0] = 1000
    error = raises(RadioError, driver.start)
    assert "calibration" in str(error)


def check_transmit():
    wire, driver = started()
    driver.transmit(b"\xab\xcd\xef", 868100000, 7, 125000, 16)
    equal(wire.take(), list(AWAKE + TRANSMIT))
    equal(bytes(wire.fifo[:3]), b"\xab\xcd\xef")
    assert wire.time.us - some(driver.started_us) <= 100


def check_listen():
    wire, driver = started()
    driver.prepare_listen(869525000, 12, 125000, 6)
    equal(wire.take(), list(AWAKE + LISTEN))
    driver.listen()
    equal(wire.take(), ["8186"], "one short command: single reception")


def check_iq():
    """Class A sends standard IQ and hears inverted IQ; whatever came before."""
    wire, driver = started()
    for inverted in (True, False, True):
        driver.prepare_listen(868100000, 9, 125000, 6, inverted)
        equal((wire.bank[0x33], wire.bank[0x3B]), (0x67, 0x19) if inverted else (0x27, 0x1D))
        driver.transmit(b"\x00", 868100000, 9, 125000, 14)
        equal((wire.bank[0x33], wire.bank[0x3B]), (0x27, 0x1D))


def check_500_khz_errata():
    wire, driver = started()
    driver.prepare_listen(868300000, 8, 500000, 6)
    equal((wire.bank[0x36], wire.bank[0x3A], wire.bank[0x31]), (0x02, 0x64, 0xC3))
    driver.prepare_listen(868300000, 8, 250000, 6)
    equal((wire.bank[0x36], wire.bank[0x2F], wire.bank[0x30], wire.bank[0x31]), (0x03, 0x40, 0x00, 0x43))


def check_low_data_rate_optimisation():
    wire, driver = started()
    for sf, bw_hz, slow in ((10, 125000, 0), (11, 125000, 8), (12, 125000, 8), (12, 250000, 8), (11, 250000, 0)):
        driver.prepare_listen(868300000, sf, bw_hz, 6)
        equal(wire.bank[0x26], 0x04 | slow, (sf, bw_hz))
        driver.transmit(b"\x00", 868300000, sf, bw_hz, 14)
        equal(wire.bank[0x26], 0x04 | slow, (sf, bw_hz))


def check_frequencies():
    for khz in range(863000, 870001, 25):
        equal(t.frequency_steps(khz * 1000), ((khz * 1000 << 19) + 16000000) // 32000000, khz)


def check_symbol_timeouts():
    wire, driver = started()
    for symbols, want in ((1, 4), (4, 4), (6, 6), (255, 255), (256, 256), (1023, 1023), (5000, 1023)):
        equal(driver.prepare_listen(868100000, 7, 125000, symbols), want)
        equal((wire.bank[0x1E] & 3) << 8 | wire.bank[0x1F], want, symbols)
        equal(wire.bank[0x1E] & 0xFC, 0x70)
    equal(driver.max_symbols, 1023)


def output_dbm(wire):
    """What the registers say the chip puts out (DS 3.4.2, 3.4.3), and the current that is allowed (DS 3.4.4)."""
    config, ocp, dac = wire.bank[0x09], wire.bank[0x0B], wire.bank[0x4D]
    assert ocp & 0x20, "overload protection is on"
    trim = ocp & 0x1F
    current = 45 + 5 * trim if trim <= 15 else -30 + 10 * trim if trim <= 27 else 240
    output = config & 15
    if config & 0x80:
        assert dac in (0x84, 0x87), hex(dac)
        return (20 if dac == 0x87 else 17) - (15 - output), current
    equal(dac, 0x84)
    return 10.8 + 0.6 * (config >> 4 & 7) - (15 - output), current


def check_power_of_pa_boost():
    wire, driver = started({"antenna_gain_dbi": -4})
    for eirp_dbm in range(-10, 31):
        driver.transmit(b"\x00", 868100000, 7, 125000, eirp_dbm)
        dbm, current = output_dbm(wire)
        equal(dbm, min(max(eirp_dbm + 4, 2), 20), eirp_dbm)
        # DS table 6: 90 mA at 17 dBm, 120 mA at 20 dBm
        assert (120 if dbm > 17 else 90) < current <= (150 if dbm > 17 else 110), (dbm, current)


def check_power_of_rfo():
    wire, driver = started({"antenna_gain_dbi": 0, "pa_boost": False})
    for eirp_dbm in range(-10, 31):
        driver.transmit(b"\x00", 868100000, 7, 125000, eirp_dbm)
        dbm, current = output_dbm(wire)
        want = min(max(eirp_dbm, -4), 14)
        assert want - 0.25 <= dbm <= want, (eirp_dbm, dbm)
        assert current <= 80


def check_unlawful_antenna_sends_nothing():
    wire, driver = started({"antenna_gain_dbi": 14.5})
    raises(RadioError, driver.transmit, b"\x00", 868100000, 7, 125000, 2)
    equal(wire.take(), [])


def check_received_frame():
    for snr, rssi, want in ((0xF2, 63, (-98, -3.5)), (0x20, 60, (-93, 8.0)), (0x80, 30, (-159, -32.0))):
        wire, driver = listening()
        wire.fifo[16:19] = b"\x60\x61\x62"
        wire.bank[0x10], wire.bank[0x13], wire.bank[0x19], wire.bank[0x1A] = 16, 3, snr, rssi
        wire.bank[0x12] = 0x50  # RxDone, ValidHeader
        heard = driver.receive(100)
        assert heard
        equal((heard.frame, heard.rssi, heard.snr), (b"\x60\x61\x62",) + want)
        equal(wire.bank[0x12], 0, "flags cleared")


def check_preamble_is_told():
    """RegModemStat (DS table 41): nothing, waiting, a signal, synchronised, with a header."""
    for status, hears in ((0x10, False), (0x04, False), (0x05, True), (0x07, True), (0x0F, True)):
        wire, driver = listening()
        wire.bank[0x18] = status
        equal(driver.hearing(), hears, status)


def check_frame_of_no_bytes():
    wire, driver = listening()
    wire.bank[0x12] = 0x50
    heard = driver.receive(100)
    assert heard
    equal(heard.frame, b"")


def check_broken_frames_are_nothing():
    for flags in (0x70, 0x80, 0xA0):  # CRC error, timeout
        wire, driver = listening()
        wire.bank[0x12] = flags
        equal(driver.receive(100), None, flags)
        equal(wire.take()[-2:], ["8181", "92ff"])


def check_header_that_never_comes():
    """A preamble that was noise: RX1 must end before RX2 opens, and a real frame is waited for."""
    wire, driver = listening(symbols=24)
    before = wire.time.us
    equal(driver.receive(10000), None)
    assert 48 * 1024 <= wire.time.us - before <= 60000, wire.time.us - before
    wire, driver = listening(symbols=24)
    wire.bank[0x12] = 0x10  # ValidHeader
    wire.time.events.append((wire.time.us + 300000, lambda: wire.flags(0x50)))
    assert driver.receive(1000)


def check_sleep_and_wake():
    wire, driver = started()
    for warm in (True, False):
        driver.sleep(warm)
        equal(wire.take(), ["8180"])
        driver.sleep(warm)
        equal(wire.take(), [], "already asleep")
        before = wire.time.us
        driver.prepare_listen(869525000, 12, 125000, 6)
        equal(wire.take()[:3], list(AWAKE), "registers live on in sleep")
        assert wire.time.us - before >= 250, "the crystal takes its time (DS table 8)"


def check_sleep_of_a_chip_that_nobody_knows():
    """After the processor's own deep sleep."""
    wire = Registers()
    driver = wire.driver()
    driver.sleep(warm=False)
    equal(wire.take(), ["42", "8100"])
    driver.transmit(b"\x00", 868100000, 7, 125000, 14)
    equal(wire.take()[: 1 + len(COLD_START)], ["01"] + list(COLD_START))  # it is in FSK mode: not configured


def check_forgotten_configuration_means_cold_start():
    """The radio lost its power while the processor ran on, asleep or awake."""
    for asleep in (True, False):
        wire, driver = started()
        if asleep:
            driver.sleep()
        wire.power_on()
        wire.take()
        driver.prepare_listen(869525000, 12, 125000, 6)
        equal(wire.take(), ["01"] + list(COLD_START + LISTEN))


def check_no_chip():
    for version in (0x00, 0xFF, 0x22):
        wire = Registers()
        driver = wire.driver()
        power_on = wire.power_on

        def other(power_on=power_on, wire=wire, version=version):
            power_on()
            wire.bank[0x42] = version

        wire.power_on = other
        error = raises(RadioError, driver.start)
        assert "no radio chip answers" in str(error)


def check_chip_that_forgets_at_once():
    wire = Registers()
    driver = wire.driver()
    written = wire.written
    wire.written = lambda transfer: None if transfer[0] == 0xB9 else written(transfer)
    error = raises(RadioError, driver.start)
    assert "does not keep" in str(error)


def check_end_of_transmission():
    wire, driver = started()
    driver.transmit(b"\x00", 868100000, 7, 125000, 14)
    start = some(driver.started_us)
    equal(driver.interrupt_us, None)

    def rise():
        wire.flags(0x08)  # TxDone
        wire.dio0.interrupt()

    wire.time.events.append((start + 25000, rise))
    assert driver.wait_transmitted(500)
    noted = some(driver.interrupt_us)
    assert 25000 <= noted - start <= 26000
    wire.time.sleep_ms(5)
    wire.dio0.interrupt()
    equal(driver.interrupt_us, noted, "the first edge counts")
    driver.transmit(b"\x00", 868100000, 7, 125000, 14)
    equal(driver.interrupt_us, None)
    equal(driver.wait_transmitted(300), False, "a transmission that never ends")


def check_chip_that_does_not_finish_is_reset():
    """By the runner's sleep, and by whatever comes next."""
    for action in (lambda driver: driver.sleep(False), lambda driver: driver.prepare_listen(868100000, 7, 125000, 8)):
        wire, driver = started()
        driver.transmit(b"\x00", 868100000, 7, 125000, 16)
        assert driver.wait_transmitted(500) is False
        wire.take()
        action(driver)
        equal(wire.take()[:2], ["42", "8100"], "only after a reset it is asked who it is")


def check_interrupt_handler_allocates_nothing():
    try:
        from micropython import heap_lock, heap_unlock  # type: ignore[attr-defined]  # CPython's stand-in has none
    except ImportError:
        return
    wire, driver = started()
    driver.transmit(b"\x00", 868100000, 7, 125000, 14)
    heap_lock()
    try:
        wire.dio0.interrupt()
    finally:
        heap_unlock()
    equal(driver.interrupt_us, wire.time.us)
