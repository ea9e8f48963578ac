"""The driver of the SX1276 and the real MAC on the emulated chip, in virtual time: no rule of the data sheet broken, no
flaw in what is sent, and a network that is heard in either window."""

# pyright: reportMissingImports=false, reportMissingModuleSource=false
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false
import time

import machine
from board import Board
from expect import equal
from lorawan import eu868
from lorawan.mac import Mac
from lorawan.timing import Timing
from radio.clock import Clock
from radio.sx127x import SX127x
from radio_world import APP_KEY, DEV_EUI, JOIN_EUI, Network, World, joined, on_the_chip

ONLY = "micropython"
PATH = ("tools/spatz/sim/device",)

WIRING = {
    "chip": "sx1276", "spi": 1, "sck": 5, "mosi": 27, "miso": 19, "cs": 18, "reset": 23, "dio0": 26,
    "antenna_gain_dbi": 2,
}  # fmt: skip
CLOCKS_PPM = (0, 10000, -10000)


class World76(World):
    """An ESP32 with an SX1276, as on a LILYGO LoRa32; `wiring`: what is different on this board."""

    def __init__(self, ppm=0, config=None, wiring=None):
        radio = dict(WIRING)
        radio.update(wiring or {})
        world = {"module": "esp32", "chips": {"radio": radio}, "clock_error_ppm": ppm, "boot_us": 250000}
        self.board = Board(world)
        self.air = self.board.air
        self.chip = self.board.radio
        self.settings = {"chip": "sx1276", "antenna_gain_dbi": 2.0, "max_eirp_dbm": 16, "clock_error_ppm": abs(ppm)}
        self.settings.update(config or {})
        self.clock = Clock(time, self.lightsleep)
        self.clock.stay_awake = False
        self.timing = Timing(ppm=abs(ppm), jitter_us=20000)
        self.new_driver()

    def new_driver(self):
        pin = machine.Pin
        spi = machine.SPI(1, baudrate=8000000, sck=pin(5), mosi=pin(27), miso=pin(19))
        self.cs = pin(18, pin.OUT, value=1)
        reset = pin(23, pin.OUT, value=1)
        self.radio = SX127x(spi, self.cs, reset, pin(26, pin.IN), self.settings, time)


@on_the_chip
def check_transmission_at_every_data_rate_and_power():
    world = World76()
    for dr in range(7):
        rate = eu868.DATA_RATES[dr]
        assert rate
        sf, bw_hz = rate
        frame = world.send(sf=sf, bw_hz=bw_hz)
        equal((frame["sf"], frame["bw"], frame["iq"], frame["crc"], frame["sync"]), (sf, bw_hz, 0, 1, 0x3444))
        equal((frame["eirp"], frame["flaws"], frame["data"]), (16.0, [], bytes(range(20))), dr)
    for eirp_dbm in range(16, 3, -1):
        frame = world.send(eirp_dbm=eirp_dbm)
        equal((frame["eirp"], frame["flaws"]), (eirp_dbm, []))


@on_the_chip
def check_20_dbm_and_rfo():
    """An antenna that loses much takes all that the chip has; the pin RFO has less."""
    frame = World76(config={"antenna_gain_dbi": -4.0}, wiring={"antenna_gain_dbi": -4}).send()
    equal((frame["eirp"], frame["flaws"]), (16.0, []))
    for eirp_dbm in (16, 10, 3):
        world = World76(config={"pa_boost": False}, wiring={"pa_boost": False})
        frame = world.send(eirp_dbm=eirp_dbm)
        equal(frame["flaws"], [])
        assert frame["eirp"] <= eirp_dbm, frame


@on_the_chip
def check_board_with_a_tcxo():
    world = World76(config={"tcxo": True}, wiring={"tcxo": True})
    equal(world.send()["flaws"], [])
    assert world.hear()


@on_the_chip
def check_reception_at_every_data_rate():
    """Down to what the chip can do at best."""
    world = World76()
    for sf, snr in ((7, -7.5), (8, -10.0), (9, -12.5), (10, -15.0), (11, -17.5), (12, -20.0)):
        heard = world.hear(sf=sf, snr=snr, rssi=-120)
        assert heard, (sf, world.why())
        equal((heard.frame, heard.snr), (bytes(range(20)), snr))
        assert abs(heard.rssi + 120) <= 1, heard.rssi


@on_the_chip
def check_empty_window():
    world = World76()
    equal(world.hear(after_us=None), None)
    equal(world.why(), ["symbol timeout"])
    equal(world.chip.mode, "standby")


@on_the_chip
def check_sleep_and_a_driver_that_knows_nothing():
    world = World76()
    world.send()
    world.radio.sleep()
    equal(world.chip.mode, "sleep")
    world.wait(1000000)
    equal(world.send()["flaws"], [])
    world.radio.sleep()
    world.new_driver()  # a reset of the processor
    equal(world.send()["flaws"], [])
    assert world.hear(), world.why()
    world.new_driver()
    world.radio.sleep()
    equal(world.chip.mode, "sleep")


@on_the_chip
def check_join_in_each_window():
    for ppm in CLOCKS_PPM:
        for window in (1, 2):
            for dr in (5, 0):
                world = World76(ppm)
                network = Network(world, window)
                mac = Mac(eu868, rng=lambda n: 0, timing=world.timing)
                got = world.run(mac.join(DEV_EUI, JOIN_EUI, APP_KEY, 7, dr=dr))
                assert got, (ppm, window, dr, world.why())
                equal(got.window, network.window)
                equal(world.air.log[0]["flaws"], [])
                equal(world.chip.mode, "sleep")


@on_the_chip
def check_downlink_in_each_window():
    for ppm in CLOCKS_PPM:
        for rx1_delay_s in (1, 5):
            for dr in (5, 0):
                for window in (1, 2):
                    world = World76(ppm)
                    mac, network = joined(world, dr, rx1_delay_s)
                    network.window = window
                    outcome = world.run(mac.uplink(1, b"12345", confirmed=True))
                    case = (ppm, rx1_delay_s, dr, window, world.why())
                    equal(outcome.window, window, case)
                    equal((outcome.acked, outcome.downlinks), (True, [(10, b"abc", 0)]), case)
                    equal(world.chip.mode, "sleep")


@on_the_chip
def check_nothing_heard():
    world = World76()
    mac, network = joined(world, 0)
    network.window = 0
    outcome = world.run(mac.uplink(1, b"12345"))
    equal(outcome.window, 0)
    equal(world.why(), ["symbol timeout", "symbol timeout"])
    equal(world.chip.mode, "sleep")
