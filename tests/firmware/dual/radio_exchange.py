"""The real MAC, the runner and the driver on the emulated chip, in virtual time: a network answers in either window."""

# pyright: reportMissingImports=false, reportOptionalMemberAccess=false
from expect import equal, raises
from lorawan import eu868
from lorawan.mac import Mac
from lorawan.timing import Timing
from radio import RadioError
from radio_world import APP_KEY, DEV_EUI, JOIN_EUI, Network, World, joined, on_the_chip
from window_trial import Trial

ONLY = "micropython"
PATH = ("tools/spatz/sim/device",)

CLOCKS_PPM = (0, 10000, -10000)


def join(world, network, dr=5):
    mac = Mac(eu868, rng=lambda n: 0, timing=world.timing)
    return world.run(mac.join(DEV_EUI, JOIN_EUI, APP_KEY, 7, dr=dr)), mac


@on_the_chip
def check_join_in_each_window():
    for ppm in CLOCKS_PPM:
        for window in (1, 2):
            for dr in (5, 0):
                world = World(ppm)
                got, mac = join(world, Network(world, window), dr)
                assert got, (ppm, window, dr, world.why())
                equal(got.window, window)
                equal(mac.session, got.session)
                equal(world.air.log[0]["flaws"], [])
                equal(world.chip.mode, "sleep_cold")


@on_the_chip
def check_downlink_in_each_window():
    """RX1 after 1 s and 5 s, SF7 and SF12, and a node's clock that is 1 % fast or slow."""
    for ppm in CLOCKS_PPM:
        for rx1_delay_s in (1, 5, 15):
            for dr in (5, 0):
                for window in (1, 2):
                    world = World(ppm)
                    mac, network = joined(world, dr, rx1_delay_s)
                    network.window = window
                    outcome = world.run(mac.uplink(1, b"12345", confirmed=True))
                    case = (ppm, rx1_delay_s, dr, window, world.why())
                    equal(outcome.window, window, case)
                    equal((outcome.acked, outcome.downlinks), (True, [(10, b"abc", 0)]), case)
                    equal(world.chip.mode, "sleep_cold")


@on_the_chip
def check_weakest_downlink_in_each_window():
    for dr, snr in ((5, -7.25), (0, -19.75)):
        for window in (1, 2):
            world = World()
            mac, network = joined(world, dr)
            network.window, network.snr = window, snr
            equal(world.run(mac.uplink(1, b"12345")).window, window, (dr, window, world.why()))


@on_the_chip
def check_windows_open_when_they_should():
    """Seen from the air: the receiver is on from before the earliest to after the latest moment a frame may start."""
    for ppm in CLOCKS_PPM:
        for dr in (5, 0):
            world = World(ppm)
            mac, network = joined(world, dr)
            network.window = 0
            world.run(mac.uplink(1, b"12345"))
            end = world.air.log[0]["at"] + world.air.log[0]["airtime"]
            equal(world.why(), ["symbol timeout", "symbol timeout"])
            for number, entry in enumerate(world.chip.rx_log):
                closed = entry[0] - end - (number + 1) * 1000000
                # a frame that begins at the nominal moment has 5 symbols in the window
                symbol = 32768 if dr == 0 or number == 1 else 1024
                assert 5 * symbol <= closed <= 5 * symbol + 180000, (ppm, dr, number, closed)


@on_the_chip
def check_nothing_heard():
    """Nobody answers: both windows, then asleep, and no later than the second window's end."""
    world = World()
    mac, network = joined(world)
    network.window = 0
    outcome = world.run(mac.uplink(1, b"12345"))
    equal(outcome.window, 0)
    equal(world.why(), ["symbol timeout", "symbol timeout"])
    equal(world.chip.mode, "sleep_cold")
    end = world.air.log[0]["at"] + world.air.log[0]["airtime"]
    assert 2000000 < world.now_us - end < 2000000 + 8 * 32768
    spent = world.chip.ledger
    assert spent["sleep_warm"] > 1600000, spent
    assert spent["rx/dcdc"] < 300000, spent
    assert spent.get("stdby_xosc/dcdc", 0) < 100000, spent


@on_the_chip
def check_rx2_is_not_opened_after_rx1():
    world = World()
    mac, _ = joined(world)
    equal(world.run(mac.uplink(1, b"12345")).window, 1)
    equal(world.why(), ["received"])


@on_the_chip
def check_foreign_frame_in_rx1_leaves_rx2():
    world = World()
    mac, network = joined(world)
    network.window = 2

    def both(frame):
        world.air.add(frame["at"] + frame["airtime"] + 1000000, frame["freq"], 7, 125000, b"\x60" + bytes(15))
        network.answer(frame)

    world.air.on_transmit = both
    equal(world.run(mac.uplink(1, b"12345")).window, 2, world.why())
    equal(world.why().count("received"), 2, world.why())


@on_the_chip
def check_long_frame_in_rx1_makes_rx2_late():
    """A foreign SF12 frame of 2.8 s fills RX1 until RX2 is over: RX2 is left out, and the node goes to sleep."""
    world = World()
    mac, network = joined(world, dr=0)
    network.window = 0
    world.air.on_transmit = lambda frame: world.air.add(
        frame["at"] + frame["airtime"] + 1000000, frame["freq"], 12, 125000, b"\x60" + bytes(63)
    )
    equal(world.run(mac.uplink(1, b"12345")).window, 0)
    equal(world.why(), ["received"])
    equal(world.chip.mode, "sleep_cold")


@on_the_chip
def check_session_goes_on_over_many_wakes():
    world = World()
    network = Network(world)
    got, mac = join(world, network)
    network.session = got.session
    stored = []
    for fcnt in range(5):
        network.window = fcnt % 3
        exchange = mac.uplink(1, b"12345", now_ms=world.now_us // 1000)
        outcome = world.run(exchange, before=lambda action: stored.append(got.session.fcnt_up))
        equal((outcome.fcnt, outcome.window), (fcnt, fcnt % 3))
        equal(world.chip.mode, "sleep_cold")
        world.wait(10000000)
    equal(stored, [1, 2, 3, 4, 5], "counted on before the frame goes out")
    equal([sent["flaws"] for sent in world.air.log], [[]] * 6)


@on_the_chip
def check_busy_processor_does_not_move_the_window():
    """The interrupt of TxDone is served 30 ms late: the computed end takes its place, and RX1 is met."""
    world = World()
    world.timing = Timing(0, 3000)  # a window that 30 ms would miss
    mac, _ = joined(world)
    handler = world.radio._on_dio1

    def late(pin):
        if len(world.chip.rx_log) == 0:
            world.board.clock.spend(30000)
        handler(pin)

    machine_pin = world.radio._dio1
    machine_pin.irq(handler=late, trigger=machine_pin.IRQ_RISING)
    equal(world.run(mac.uplink(1, b"12345")).window, 1, world.why())


@on_the_chip
def check_failing_radio_is_left_asleep():
    """The chip hangs in the middle: RadioError, the exchange is over, and a chip that recovers is put to sleep."""
    world = World()
    mac, network = joined(world)
    network.window = 0
    listen = world.radio.listen

    def hangs():
        world.chip.busy_until = world.now_us + 1500000
        listen()

    world.radio.listen = hangs
    exchange = mac.uplink(1, b"12345")
    raises(RadioError, world.run, exchange)
    raises(StopIteration, next, exchange)
    assert world.chip.asleep(), world.chip.mode


@on_the_chip
def check_windows_are_met_awake_too():
    """While somebody may want to reach the node, its processor does not light-sleep."""
    for window in (1, 2):
        world = World()
        world.clock.stay_awake = True
        mac, network = joined(world)
        network.window = window
        equal(world.run(mac.uplink(1, b"12345")).window, window, world.why())
        equal(world.board.light_sleep_us, 0)


@on_the_chip
def check_processor_sleeps_through_the_waits():
    world = World()
    mac, network = joined(world, rx1_delay_s=5)
    network.window = 2
    start = world.now_us
    world.run(mac.uplink(1, b"12345"))
    assert world.board.light_sleep_us > (world.now_us - start) * 3 // 4, (
        world.board.light_sleep_us,
        world.now_us - start,
    )


@on_the_chip
def check_arrival_is_measured():
    """What the MAC is told of a downlink's time, on a clock that is right and on two that are 1 % wrong."""
    for ppm in CLOCKS_PPM:
        for window in (1, 2):
            world = World(ppm)
            mac, network = joined(world)
            mac.session.rx2_dr = 4
            network.window = window
            told = []
            mac.timing.heard = lambda delay_us, after_us, told=told: told.append((delay_us, after_us))
            world.run(mac.uplink(1, b"12345"))
            delay_us, after_us = told[0]
            equal(delay_us, window * 1000000)
            # a frame of 17 bytes takes up to 92 ms, which this clock measures 0.9 ms wrong; interrupts take 40 us
            assert abs(after_us - delay_us * (1000000 + ppm) // 1000000) < 1300, (ppm, window, after_us)


@on_the_chip
def check_downlinks_are_caught_and_windows_short():
    """At 1 % clock error and 20 ms jitter (99 %, normal), of the network or of the node: every data rate, RX1 after 1 s
    and 5 s, joins between. The long run is tests/benchmarks/windows.py."""
    opened = least = 0
    for ppm in CLOCKS_PPM:
        for rx1_delay_s in (1, 5):
            for late_node in (False, True):
                trial = Trial(ppm, rx1_delay_s, ppm + rx1_delay_s, late_node).life(30)
                assert not trial.missed, (ppm, rx1_delay_s, late_node, trial.missed)
                opened += trial.opened_us
                least += trial.least_us
    assert opened <= 1.3 * least, opened / least


@on_the_chip
def check_processor_is_hardly_awake():
    """An uplink with 11 bytes and two empty windows, from a radio that is switched off until it is asleep again."""
    for dr in (5, 3, 0):
        for rx2_dr in (0, 3):
            world = World(config={"clock_error_ppm": 1000})
            mac, network = joined(world, dr)
            mac.session.rx2_dr, network.window = rx2_dr, 0
            start, asleep = world.now_us, world.board.light_sleep_us
            world.run(mac.uplink(1, bytes(11)))
            awake_us = world.now_us - start - (world.board.light_sleep_us - asleep)
            assert awake_us < 35000, (dr, rx2_dr, awake_us)


@on_the_chip
def check_processor_sleeps_until_a_long_frame_may_end():
    """An SF12 downlink takes a second at least; the processor is awake for what its length leaves open."""
    world = World()
    mac, _ = joined(world, dr=0)
    assert world.run(mac.uplink(1, bytes(11))).window == 1
    frame = world.air.downlinks[0]
    opened = world.chip.ledger["rx/dcdc"]
    assert opened > 1000000, opened
    start = frame["at"] + frame["airtime"]
    assert world.now_us - start < 10000, "asleep soon after its end"
    assert world.board.light_sleep_us > world.now_us - 10000000 - 600000, (world.board.light_sleep_us, world.now_us)
