"""The SX126x driver on the strict emulated chip: what it sends is clean, what comes is heard, and sleep is survived.

`tests/firmware/radio/mutations.toml` shows that these checks see every erratum fix and every step of the start-up.
"""

# pyright: reportMissingImports=false
import lora_phy
from expect import equal, raises
from radio import RadioError
from radio_world import World, on_the_chip

ONLY = "micropython"
PATH = ("tools/spatz/sim/device",)


@on_the_chip
def check_uplink_is_clean():
    world = World()
    sent = world.send(size=23)
    equal(sent["flaws"], [])
    equal((sent["freq"], sent["sf"], sent["bw"], sent["cr"], sent["preamble"]), (868100000, 7, 125000, 5, 8))
    equal((sent["iq"], sent["crc"], sent["sync"]), (0, 1, 0x3444), "IQ normal, CRC on, public sync word")
    equal(sent["data"], bytes(range(23)))
    equal(sent["eirp"], 16.0)


@on_the_chip
def check_every_data_rate_is_clean():
    world = World()
    for sf in (7, 8, 9, 10, 11, 12):
        for size in (1, 51):
            sent = world.send(size, 867100000, sf)
            equal(sent["flaws"], [], sf)
            equal(sent["airtime"], lora_phy.airtime_us(sf, 125000, size))
    equal(world.send(20, 868300000, 7, 250000)["flaws"], [])
    equal(world.send(255)["flaws"], [])


@on_the_chip
def check_500_khz_is_clean():
    world = World()
    equal(world.send(20, 868300000, 8, 500000)["flaws"], [])
    equal(world.send(20, 868300000, 8, 125000)["flaws"], [], "and back")


@on_the_chip
def check_whole_band_is_clean():
    world = World()
    for freq_hz in (863100000, 868500000, 869525000, 869900000):
        sent = world.send(freq_hz=freq_hz)
        equal((sent["freq"], sent["flaws"]), (freq_hz, []))


@on_the_chip
def check_radiated_power():
    world = World()
    for eirp_dbm in (16, 14, 12, 10, 8, 6, 4, 2):  # TXPower 0 to 7
        equal(world.send(eirp_dbm=eirp_dbm)["eirp"], float(eirp_dbm))
    equal(world.send(eirp_dbm=27)["eirp"], 16.0, "the configured limit holds")
    for limit, eirp_dbm in ((10, 10.0), (16, 16.0), (24, 16.0)):
        sent = World(config={"max_eirp_dbm": limit}).send(eirp_dbm=30)
        equal((sent["eirp"], sent["flaws"]), (eirp_dbm, []), "never more than the law allows")


@on_the_chip
def check_end_of_transmission_is_noted():
    world = World()
    sent = world.send()
    start, end = world.radio.started_us, world.radio.interrupt_us
    assert 0 <= start - sent["at"] <= 300, start - sent["at"]
    assert 0 <= end - (sent["at"] + sent["airtime"]) <= 300


@on_the_chip
def check_downlink_is_heard_at_every_data_rate():
    world = World()
    for sf in (7, 8, 9, 10, 11, 12):
        for size in (12, 40):
            heard = world.hear(sf=sf, symbols=12, size=size, snr=-3.25, rssi=-101)
            assert heard, (sf, world.why())
            equal((heard.frame, heard.rssi, heard.snr), (bytes(range(size)), -101, -3.25))


@on_the_chip
def check_longest_downlink():
    heard = World().hear(size=255)
    assert heard
    equal(heard.frame, bytes(range(255)))


@on_the_chip
def check_weak_downlink_is_heard():
    """As weak as the boosted receiver hears, before and after warm sleep."""
    world = World()
    for sf in (7, 12):
        assert world.hear(sf=sf, snr=lora_phy.SNR_LIMIT_DB[sf] + 0.25), world.why()
        world.radio.sleep()
        assert world.hear(sf=sf, snr=lora_phy.SNR_LIMIT_DB[sf] + 0.25), world.why()


@on_the_chip
def check_image_calibration_fits_the_band():
    """EU868, IN865 and AS923; anew after a cold start, which forgets it, and when the band changes."""
    world = World()
    for freq_hz in (868100000, 865062500, 923200000, 869525000):
        for warm in (True, False):
            assert world.hear(freq_hz=freq_hz), (freq_hz, world.why())
            equal(world.send(freq_hz=freq_hz)["flaws"], [])
            world.radio.sleep(warm)


@on_the_chip
def check_uplinks_of_others_are_not_heard():
    """Inverted IQ is what keeps nodes from waking each other; IQ follows from window to window."""
    world = World()
    assert world.hear(iq=False) is None
    assert world.hear()
    world.radio.prepare_listen(868100000, 7, 125000, 24, iq_inverted=False)
    world.air.add(world.now_us + world.radio.listen_latency_us + 2000, 868100000, 7, 125000, b"abc", iq=False)
    world.radio.listen()
    assert world.radio.receive(1000)
    equal(world.send()["iq"], 0)
    assert world.hear()


@on_the_chip
def check_alternating_ways():
    """Each command that spoils an erratum register is followed by its repair, however often the way changes."""
    world = World()
    for _ in range(3):
        equal(world.send()["flaws"], [])
        assert world.hear(), world.why()


@on_the_chip
def check_broken_frame_is_nothing():
    world = World()
    assert world.hear(damaged=True, crc=True) is None
    equal(world.chip.mode, "stdby_rc")
    assert world.hear()


@on_the_chip
def check_empty_frame_is_received_as_such():
    """Anybody can send one: it must not be an error of the bus (an ESP32 refuses to transfer no bytes)."""
    heard = World().hear(size=0)
    equal(heard and heard.frame, b"")


def check_silence_ends_with_the_symbol_timeout():
    for sf, symbols in ((7, 24), (9, 9), (12, 6), (7, 44), (7, 102), (7, 248)):
        world = World()
        world.radio.prepare_listen(868100000, sf, 125000, symbols)
        start = world.now_us
        world.radio.listen()
        equal(world.radio.receive(5000), None)
        symbol = lora_phy.symbol_us(sf, 125000)
        equal(world.chip.rx_log[-1][1], "symbol timeout", (sf, symbols))
        spent = world.chip.rx_log[-1][0] - start
        assert symbols * symbol <= spent < (symbols + 8) * symbol + 200, (sf, symbols, spent)
        equal(world.radio.poll(), 0)


@on_the_chip
def check_long_window_ends_by_the_timer():
    world = World()
    assert world.hear(symbols=400, after_us=398 * 1024), "a frame that starts in the last symbols"
    start = world.now_us
    equal(world.hear(symbols=400, after_us=None), None)
    assert 400 * 1024 <= world.now_us - start < 440 * 1024


@on_the_chip
def check_timer_runs_on_after_a_preamble():
    """Something with a preamble and no header (another network's tone, noise) cannot hold the receiver."""
    world = World()
    equal(world.hear(preamble=400), None)
    equal(world.why()[-1], "timeout")


@on_the_chip
def check_downlinks_are_expected_without_crc():
    """An explicit header says itself whether a CRC follows, so this is the set-up, not its effect (DS 6.1.3.1)."""
    world = World()
    world.radio.prepare_listen(868100000, 7, 125000, 24)
    equal((world.chip.crc, world.chip.iq_inverted, world.chip.implicit), (False, True, False))


@on_the_chip
def check_regulator():
    """DC-DC in every mode that costs: reception takes 4.6 mA instead of 8.2 (DS 3.2)."""
    world = World()
    world.send()
    world.hear()
    world.radio.sleep()
    spent = [mode for mode in world.chip.ledger if mode.endswith("/ldo")]
    equal(spent, [])
    assert "rx/dcdc" in world.chip.ledger


@on_the_chip
def check_sleep_of_both_kinds():
    world = World()
    for warm in (True, False, True):
        world.radio.sleep(warm)
        assert world.chip.asleep()
        equal(world.send()["flaws"], [])
        world.radio.sleep(warm)
        assert world.hear(sf=12, symbols=8), world.why()
    world.radio.sleep(True)
    world.radio.sleep(False)
    equal(world.chip.mode, "sleep_cold")


@on_the_chip
def check_sleep_during_reception():
    world = World()
    world.radio.prepare_listen(868100000, 7, 125000, 200)
    world.radio.listen()
    world.radio.sleep()
    equal(world.chip.mode, "sleep_warm")


@on_the_chip
def check_woken_at_once():
    """The chip may not be woken within 500 us of SetSleep; whoever calls need not know."""
    world = World()
    world.radio.start()
    world.radio.sleep()
    equal(world.send()["flaws"], [])


@on_the_chip
def check_new_process_finds_a_radio_in_any_state():
    """After deep sleep or a reset of the processor the driver knows nothing, and assumes nothing."""
    for state in ("sleep_warm", "sleep_cold", "rx", "tx", "stdby"):
        for cold in (True, False):
            world = World()
            world.radio.start()
            if state.startswith("sleep"):
                world.radio.sleep(state == "sleep_warm")
            elif state == "rx":
                world.radio.prepare_listen(868100000, 12, 125000, 200)
                world.radio.listen()
            elif state == "tx":
                world.radio.transmit(bytes(51), 868100000, 12, 125000, 14)
            world.wait(20000)
            world.new_driver()
            world.radio.start(cold)
            equal(world.send()["flaws"], [], (state, cold))
            assert world.hear()


@on_the_chip
def check_wrong_tcxo_is_reported():
    """A board file with too low a voltage: the oscillator does not start, the message names it, nothing radiates."""
    world = World(config={"tcxo_mv": 1600})
    error = raises(RadioError, world.radio.start)
    assert "crystal oscillator start" in str(error)
    world.radio.sleep()
    assert world.chip.asleep()


@on_the_chip
def check_stuck_chip_is_reported():
    world = World()
    world.radio.start()
    world.chip.busy_until = world.now_us + 10000000
    error = raises(RadioError, world.radio.transmit, b"abc", 868100000, 7, 125000, 14)
    assert "stays busy" in str(error)
