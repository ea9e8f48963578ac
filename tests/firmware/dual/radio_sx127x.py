"""The SX127x driver on the strict emulated chip: what it sends is clean, what comes is heard, sleep is survived, and a
MAC exchange is carried out on it as on the other radio."""

# pyright: reportMissingImports=false, reportMissingModuleSource=false
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false
import time

import lora_phy
import machine
from board import Board
from expect import equal, raises
from lorawan.actions import Listen, Transmit
from lorawan.airtime import airtime_us, rx_window
from radio import RadioError
from radio.clock import Clock
from radio.probe import probe
from radio.runner import run
from radio.sx127x import SX127x
from radio_world import on_the_chip

ONLY = "micropython"
PATH = ("tools/spatz/sim/device",)
WIRING = {"spi": 1, "sck": 5, "mosi": 27, "miso": 19, "cs": 18, "reset": 23, "dio0": 26}


class World:
    """An ESP32 with an SX1276, alone on its air. `chip`: more about the board's radio; `config`: about the driver's."""

    def __init__(self, config=None, chip=None, ppm=0):
        wiring = {"chip": "sx1276", "antenna_gain_dbi": 2}
        wiring.update(WIRING)
        wiring.update(chip or {})
        self.board = Board(
            {"clock": "virtual", "module": "esp32", "clock_error_ppm": ppm, "chips": {"radio": wiring, "sensors": []}}
        )
        self.air = self.board.air
        self.chip = self.board.radio
        self.settings = {"antenna_gain_dbi": 2, "max_eirp_dbm": 16, "clock_error_ppm": abs(ppm)}
        self.settings.update(config or {})
        self.new_driver()

    def new_driver(self):
        """As after a reset of the processor: the chip is as it was, the driver knows nothing."""
        pin = machine.Pin
        self.spi = machine.SPI(1, baudrate=8000000, sck=pin(5), mosi=pin(27), miso=pin(19))
        self.cs = pin(18, pin.OUT, value=1)
        self.reset = pin(23, pin.OUT, value=1)
        self.radio = SX127x(self.spi, self.cs, self.reset, pin(26, pin.IN), self.settings, time)

    @property
    def now_us(self):
        return self.board.clock.now

    def wait(self, us):
        self.board.clock.spend(us)

    def send(self, size=20, freq_hz=868100000, sf=7, bw_hz=125000, eirp_dbm=16):
        self.radio.transmit(bytes(range(size)), freq_hz, sf, bw_hz, eirp_dbm)
        assert self.radio.wait_transmitted(10000), "no TxDone"
        return self.air.log[-1]

    def hear(self, sf=7, symbols=24, after_us=2000, size=20, bw_hz=125000, **changes):
        freq_hz = 868100000
        self.radio.prepare_listen(freq_hz, sf, bw_hz, symbols)
        self.air.downlinks = []
        self.air.add(self.now_us + after_us, freq_hz, sf, bw_hz, bytes(range(size)), **changes)
        self.radio.listen()
        return self.radio.receive(10000)

    def why(self):
        return [entry[1:] for entry in self.chip.rx_log]


@on_the_chip
def check_uplink_is_clean():
    sent = World().send(size=23)
    equal(sent["flaws"], [])
    equal((sent["sf"], sent["bw"], sent["cr"], sent["preamble"]), (7, 125000, 5, 8))
    assert abs(sent["freq"] - 868100000) <= 61, "a step of the synthesizer"
    equal((sent["iq"], sent["crc"], sent["sync"]), (0, 1, 0x3444), "IQ normal, CRC on, public sync word")
    equal(sent["data"], bytes(range(23)))


@on_the_chip
def check_every_data_rate_is_clean():
    world = World()
    for sf in (7, 8, 9, 10, 11, 12):
        for size in (1, 51):
            sent = world.send(size, 867100000, sf)
            equal((sent["flaws"], sent["data"]), ([], bytes(range(size))), sf)
            equal(sent["airtime"], lora_phy.airtime_us(sf, 125000, size))
    for bw_hz in (250000, 500000):
        equal(world.send(20, 868300000, 7, bw_hz)["flaws"], [])
    equal(world.send(255)["flaws"], [])


@on_the_chip
def check_radiated_power():
    world = World()
    for eirp_dbm in (16, 14, 12, 10, 8, 6, 4):
        sent = world.send(eirp_dbm=eirp_dbm)
        equal((sent["eirp"], sent["flaws"]), (float(eirp_dbm), []))
    equal(world.send(eirp_dbm=2)["eirp"], 4.0, "PA_BOOST gives 2 dBm at least")
    equal(world.send(eirp_dbm=27)["eirp"], 16.0, "the law's limit holds")
    world = World({"antenna_gain_dbi": -4}, {"antenna_gain_dbi": -4})
    sent = world.send()
    equal((sent["eirp"], sent["flaws"]), (16.0, []), "20 dBm, and the overload protection lets it through")
    world = World({"pa_boost": False}, {"pa_boost": False})
    for eirp_dbm in (16, 2, 0):
        sent = world.send(eirp_dbm=eirp_dbm)
        assert eirp_dbm - 0.3 <= sent["eirp"] <= eirp_dbm, sent["eirp"]
        equal(sent["flaws"], [])


@on_the_chip
def check_end_of_transmission_is_noted():
    world = World()
    for sf in (7, 10):
        sent = world.send(sf=sf)
        assert -100 <= world.radio.started_us - sent["at"] <= 300, world.radio.started_us - sent["at"]
        assert 0 <= world.radio.interrupt_us - (sent["at"] + sent["airtime"]) <= 300


@on_the_chip
def check_downlink_is_heard_at_every_data_rate():
    world = World()
    for sf in (7, 8, 9, 10, 11, 12):
        for size, snr in ((12, -3.25), (40, 6.5)):
            heard = world.hear(sf=sf, symbols=12, size=size, snr=snr, rssi=-101)
            assert heard, (sf, world.why())
            equal((heard.frame, heard.snr), (bytes(range(size)), snr))
            assert abs(heard.rssi + 101) <= 1, heard.rssi


@on_the_chip
def check_downlinks_of_other_bandwidths():
    """The errata follow the bandwidth, forth and back."""
    world = World()
    for bw_hz in (500000, 125000, 250000, 500000, 125000):
        assert world.hear(sf=8, bw_hz=bw_hz, snr=lora_phy.SNR_LIMIT_DB[8] + 0.25), (bw_hz, world.why())


@on_the_chip
def check_longest_and_empty_frames():
    heard = World().hear(size=255)
    assert heard
    equal(heard.frame, bytes(range(255)))
    heard = World().hear(size=0)
    equal(heard and heard.frame, b"")


@on_the_chip
def check_weak_downlink_is_heard():
    world = World()
    for sf in (7, 12):
        assert world.hear(sf=sf, snr=lora_phy.SNR_LIMIT_DB[sf] + 0.25), world.why()
        world.radio.sleep()
        assert world.hear(sf=sf, snr=lora_phy.SNR_LIMIT_DB[sf] + 0.25), world.why()


@on_the_chip
def check_uplinks_of_others_are_not_heard():
    world = World()
    assert world.hear(iq=False) is None
    assert world.hear()
    world.radio.prepare_listen(868100000, 7, 125000, 24, iq_inverted=False)
    world.air.add(world.now_us + 2000, 868100000, 7, 125000, b"abc", iq=False)
    world.radio.listen()
    assert world.radio.receive(1000)
    equal(world.send()["iq"], 0)
    assert world.hear()


@on_the_chip
def check_broken_frame_is_nothing():
    world = World()
    assert world.hear(damaged=True, crc=True) is None
    equal(world.chip.mode, "standby")
    assert world.hear()


@on_the_chip
def check_silence_ends_with_the_symbol_timeout():
    for sf, symbols in ((7, 24), (9, 9), (12, 6), (7, 102), (7, 248), (7, 1023)):
        world = World()
        world.radio.prepare_listen(868100000, sf, 125000, symbols)
        start = world.now_us
        world.radio.listen()
        equal(world.radio.receive(5000), None)
        spent = world.now_us - start
        symbol = lora_phy.symbol_us(sf, 125000)
        assert symbols * symbol <= spent < symbols * symbol + 2500, (sf, symbols, spent)
        equal(world.radio.poll(), 0)


@on_the_chip
def check_preamble_without_a_header_does_not_hold_the_receiver():
    world = World()
    world.radio.start()
    start = world.now_us
    equal(world.hear(preamble=400), None)
    assert world.now_us - start < 60000, world.now_us - start
    assert world.hear()


@on_the_chip
def check_hearing():
    world = World()
    world.radio.prepare_listen(868100000, 9, 125000, 24)
    world.radio.listen()
    world.wait(20000)
    equal(world.radio.hearing(), False)
    world.air.add(world.now_us + 1000, 868100000, 9, 125000, b"abc")
    world.wait(50000)
    equal(world.radio.hearing(), True)
    assert world.radio.receive(1000)


@on_the_chip
def check_sleep():
    world = World()
    for warm in (True, False, True):
        world.radio.sleep(warm)
        assert world.chip.asleep()
        equal(world.send()["flaws"], [])
        world.radio.sleep(warm)
        assert world.hear(sf=12, symbols=8), world.why()
    world.radio.prepare_listen(868100000, 7, 125000, 200)
    world.radio.listen()
    world.radio.sleep()
    assert world.chip.asleep(), "out of reception"


@on_the_chip
def check_new_process_finds_a_radio_in_any_state():
    for state in ("sleep", "rx", "tx", "standby", "power cut"):
        for cold in (True, False):
            world = World()
            world.radio.start()
            if state == "sleep":
                world.radio.sleep()
            elif state == "rx":
                world.radio.prepare_listen(868100000, 12, 125000, 200)
                world.radio.listen()
            elif state == "tx":
                world.radio.transmit(bytes(51), 868100000, 12, 125000, 14)
            elif state == "power cut":
                world.chip._forget()
                world.chip._enter("standby")
            world.wait(20000)
            if state != "power cut":
                world.new_driver()
            world.radio.start(cold)
            equal(world.send()["flaws"], [], (state, cold))
            assert world.hear()


@on_the_chip
def check_new_process_puts_a_radio_to_sleep():
    world = World()
    world.radio.start()
    world.new_driver()
    world.radio.sleep(warm=False)
    assert world.chip.asleep()
    equal(world.send()["flaws"], [])


@on_the_chip
def check_tcxo():
    equal(World({"tcxo": True}, {"tcxo": True}).send()["flaws"], [])


@on_the_chip
def check_probe():
    world = World()
    equal(probe(world.spi, world.cs, world.reset, time), "sx1276")
    equal(world.send()["flaws"], [])


@on_the_chip
def check_unlawful_antenna():
    world = World({"antenna_gain_dbi": 14.5})
    raises(RadioError, world.send)
    equal(world.air.log, [])


@on_the_chip
def check_preparation_keeps_its_promise():
    """prepare_us covers the set-up, from sleep too."""
    world = World()
    world.radio.start()
    world.radio.sleep()
    began = world.now_us
    world.radio.prepare_listen(869525000, 12, 125000, 6)
    assert world.now_us - began <= world.radio.prepare_us, world.now_us - began


def exchange(sf, delay_us, error_us, found):
    """An uplink and one window, as the MAC does it."""
    yield Transmit(bytes(20), 868100000, sf, 125000, 16, airtime_us(sf, 125000, 20))
    offset_us, symbols = rx_window(sf, 125000, error_us)
    heard = yield Listen(1, delay_us + offset_us, 868100000, sf, 125000, symbols)
    found.append(heard)


@on_the_chip
def check_exchange_by_the_runner():
    for ppm in (0, 9000, -9000):
        for sf in (7, 9, 12):
            world = World(ppm=ppm)
            world.air.on_transmit = lambda frame, world=world, sf=sf: world.air.add(
                frame["at"] + frame["airtime"] + 1000000, 868100000, sf, 125000, b"downlink"
            )
            clock = Clock(time, machine.lightsleep)
            clock.stay_awake = False
            found = []
            run(exchange(sf, 1000000, 20000, found), world.radio, clock)
            assert found[0], (ppm, sf, world.why())
            equal(found[0].frame, b"downlink")
            assert world.chip.asleep()
            if found[0].after_us is not None:
                assert abs(found[0].after_us - 1000000) <= 10500, found[0].after_us


@on_the_chip
def check_empty_window_by_the_runner():
    world = World()
    clock = Clock(time, machine.lightsleep)
    clock.stay_awake = False
    found = []
    began = world.now_us
    run(exchange(7, 1000000, 20000, found), world.radio, clock)
    equal(found, [None])
    assert world.now_us - began < 1200000
