"""A node's life against a small network: order of things, resets at every moment, failures survived."""

# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false, reportArgumentType=false

from expect import equal, raises
from lorawan import eu868
from lorawan.timing import Timing
from node import measure
from node.app import ask_for_help
from node.cycle import Cycle
from node.identity import Identity, IdentityError
from node.memory import Memory
from node_fakes import Hardware, Nvs, Reset, Time, config
from node_world import World
from payload.encode import FAILED
from payload.table import QUANTITIES
from radio import RadioError
from radio.clock import Clock


def check_joins_sends_and_sleeps():
    world = World(safe_window_s=0)
    slept_ms = world.sleep_after(world.boot())
    equal(len(world.network.frames), 2, "a join and a reading")
    equal([fcnt for fcnt, _ in world.network.readings], [0])
    assert 595000 < slept_ms < 610000, slept_ms


def check_reading_arrives_with_its_values():
    world = World(safe_window_s=0)
    world.sleep_after(world.boot())
    # no sensor answers: temperature, humidity, pressure failed (31 ones), battery 3.87 V = 187; first step
    equal(world.network.readings[0][1].hex(), "0f" + "ffffffff76" + "20")


def check_wakes_with_its_session():
    world = World(safe_window_s=0)
    world.sleep_after(world.boot())
    for _ in range(3):
        world.sleep_after(world.boot(woke_from_sleep=True))
    equal([fcnt for fcnt, _ in world.network.readings], [0, 1, 2, 3])
    equal(len(world.network.nonces), 1)


def check_rhythm_is_even():
    world = World(safe_window_s=0)
    world.sleep_after(world.boot())
    starts = []
    for _ in range(5):
        starts.append(world.time.now_us)
        world.sleep_after(world.boot(woke_from_sleep=True))
    for index, start_us in enumerate(starts):
        assert abs(start_us - starts[0] - index * 600000000) < 10000000, starts


def check_session_is_stored_before_every_transmission():
    world = World(safe_window_s=0)
    world.sleep_after(world.boot())
    first = world.log.index("transmit")
    assert "commit" in world.log[:first], "the DevNonce is not committed before the JoinRequest"
    second = world.log.index("transmit", first + 1)
    equal(world.log[second - 1], "rtc", "the session is not stored just before the frame")


def check_reset_at_any_moment_repeats_no_number():
    """Cut it off at its n-th stored or sent thing and start it again: the network asserts that nothing repeats."""
    for power in (True, False):
        for moment in range(1, 14):
            world = World(safe_window_s=0)
            cut = CutAt(moment)
            world.log = world.nvs.log = world.rtc.log = world.network.log = cut
            for attempt in range(6):
                try:
                    world.sleep_after(world.boot(woke_from_sleep=attempt > 0))
                except Reset:
                    if power:
                        world.power_cut()
            assert world.network.readings


class CutAt:
    """A log that resets the node at its n-th entry, once; after that it only counts."""

    def __init__(self, moment):
        self.moment = moment

    def append(self, entry):
        self.moment -= 1
        if self.moment == 0:
            raise Reset


def check_power_cut_keeps_the_session():
    world = World(safe_window_s=0)
    world.sleep_after(world.boot())
    world.power_cut()
    world.sleep_after(world.boot())
    equal(world.network.nonces, [0])
    equal(len(world.network.readings), 2)


def check_damaged_memory_is_like_a_power_cut():
    world = World(safe_window_s=0)
    world.sleep_after(world.boot())
    world.rtc.data = world.rtc.data[:-1] + bytes([world.rtc.data[-1] ^ 1])
    world.sleep_after(world.boot(woke_from_sleep=True))
    equal(world.network.nonces, [0])
    equal(len(world.network.readings), 2)


def check_erased_flash_means_a_new_join():
    world = World(safe_window_s=0)
    world.sleep_after(world.boot())
    world.power_cut()
    world.nvs = Nvs(world.log, dev_nonce=1)  # set up again, with the number it may go on with
    world.network.readings = []
    world.sleep_after(world.boot())
    equal(world.network.nonces, [0, 1])
    equal([fcnt for fcnt, _ in world.network.readings], [0])


def check_another_key_does_not_take_the_session():
    world = World(safe_window_s=0)
    world.sleep_after(world.boot())
    nvs = Nvs(app_key=bytes(16))
    clock = Clock(world.time, None)
    cycle = Cycle(
        world.config, eu868, Timing(), Identity(nvs), Memory(world.rtc), world.hardware, clock, None, lambda n: 0
    )
    equal(cycle.device.joined, False)


def check_lost_session_is_joined_again():
    """The network forgot it: after the ADR backoff the node joins again, and until that works goes on sending."""
    world = World(safe_window_s=0)
    world.sleep_after(world.boot())
    world.network.nwk_skey = bytes(16)  # what it hears from now on has a wrong MIC
    boots = 0
    while len(world.network.nonces) == 1:
        world.sleep_after(world.boot(woke_from_sleep=True))
        boots += 1
        assert boots < 400
    assert boots > 340, boots
    equal(world.network.readings[-1][0], 0)


def check_join_in_vain_costs_no_reading():
    world = World(safe_window_s=0)
    world.sleep_after(world.boot())
    world.network.nwk_skey = bytes(16)
    accept = world.network.accept
    world.network.accept = lambda frame: None  # nor does it answer joins
    for _ in range(360):
        world.sleep_after(world.boot(woke_from_sleep=True))
    joins = [frame for frame in world.network.frames if frame[0] == 0]
    readings = [frame for frame in world.network.frames if frame[0] == 0x40]
    assert 2 <= len(joins) <= 12, len(joins)
    equal(len(readings), 361)
    world.network.accept = accept
    while world.network.readings[-1][0] or len(world.network.readings) < 2:
        world.sleep_after(world.boot(woke_from_sleep=True))


def check_time_of_deep_sleep_counts():
    world = World(safe_window_s=0)
    slept_ms = world.sleep_after(world.boot())
    life = world.boot(woke_from_sleep=True)
    now_ms = life.cycle.device.now_ms()
    assert slept_ms <= now_ms < slept_ms + 10000, (slept_ms, now_ms)
    assert world.boot().cycle.device.now_ms() == now_ms - slept_ms, "a reset in deep sleep: nobody knows when"


def fopts(world):
    frame = world.network.frames[-1]
    return frame[8 : 8 + (frame[5] & 15)]


def check_battery_is_told():
    world = World(safe_window_s=0)
    world.network.commands = b"\x06"
    world.sleep_after(world.boot())
    world.sleep_after(world.boot(woke_from_sleep=True))
    assert b"\x06\xff" in fopts(world), "not measured: this board cannot"
    for volts, level in ((3.2, 1), (2.9, 1), (4.2, 254), (4.4, 254), (3.7, 127)):
        assert abs(measure.battery_level(volts, {}) - level) <= 1, volts
    equal(measure.battery_level(FAILED, {}), 255)
    equal(measure.battery_level(None, {}), 255)


def check_a_supply_from_outside_is_told():
    """As far as a board can tell: by a voltage that a cell has only while it is charged."""
    usb = {"sense": "battery-above", "mv": 4250}
    equal(measure.battery_level(4.26, {}, usb), 0)
    equal(measure.battery_level(4.25, {}, usb), 254)
    equal(measure.battery_level(4.26, {}, {"sense": "none"}), 254)
    equal(measure.battery_level(FAILED, {}, usb), 255)
    world = World(safe_window_s=0, battery={}, usb=usb)
    for volts, level in ((4.3, 0), (4.2, 254)):
        world.network.commands = b"\x06"
        life = world.boot()
        world.hardware.volts = volts
        world.sleep_after(life)
        life = world.boot(woke_from_sleep=True)
        world.hardware.volts = volts
        world.sleep_after(life)
        assert bytes((6, level)) in fopts(world), volts


def check_a_node_with_a_solar_panel_sleeps_after_an_hour():
    world = World(safe_window_s=0, usb={"sense": "pmu"})
    life = world.boot()
    world.hardware.usb = True
    world.sleep_after(life)
    assert 3600 <= world.time.now_us // 1000000 < 3600 + 1200, world.time.now_us
    began_us = world.time.now_us
    life = world.boot(woke_from_sleep=True)
    world.hardware.usb = True
    slept_ms = world.sleep_after(life)
    assert world.time.now_us - began_us - slept_ms * 1000 < 60000000, "it did not stay awake again"
    began_us = world.time.now_us
    life = world.boot()  # the reset button
    world.hardware.usb = True
    world.sleep_after(life)
    assert world.time.now_us - began_us >= 3600000000


def check_a_node_far_from_every_gateway_joins_slowly_and_stays_so():
    world = World(safe_window_s=0, lorawan={"join_dr": 2})
    world.sleep_after(world.boot())
    equal(len(world.network.frames), 2, "a join and a reading")
    equal(world.network.airtimes[0], 370688, "us of a JoinRequest at SF10")
    assert world.network.airtimes[1] > 300000, "SF10, too; SF7 takes a sixth of that"


def check_fair_use_stretches_the_interval():
    """30 s of airtime a day at a slow data rate."""
    world = World(safe_window_s=0, fair_use_s=30)
    world.network.deaf = 6  # joined at DR0
    for _ in range(7):
        world.sleep_after(world.boot(woke_from_sleep=True))
    slept_ms = world.sleep_after(world.boot(woke_from_sleep=True))
    assert slept_ms > 86400 / 30 * world.network.airtimes[-1] / 1000 - 5000, slept_ms


def check_used_up_airtime_is_waited_for():
    world = World(safe_window_s=0)
    world.network.commands = b"\x04\x0f"  # DutyCycleReq: 1/32768
    world.sleep_after(world.boot())
    world.sleep_after(world.boot(woke_from_sleep=True))
    slept_ms = world.sleep_after(world.boot(woke_from_sleep=True))
    assert slept_ms > 1000 * 1000, slept_ms
    equal(len(world.network.readings), 2)
    world.sleep_after(world.boot(woke_from_sleep=True))
    equal(len(world.network.readings), 3)


def check_resets_in_a_row_send_rarely():
    """A weak battery gives way at every transmission: no storm on the air, joined or not, and it mends by itself."""
    for joined in (True, False):
        world = World(safe_window_s=0)
        if joined:
            world.sleep_after(world.boot())
        world.network.broken = Reset()
        world.log.clear()
        began_us = world.time.now_us
        woke_from_sleep = True
        while world.time.now_us - began_us < 3600000000:
            world.time.now_us += 300000
            try:
                world.sleep_after(world.boot(woke_from_sleep))
                woke_from_sleep = True
            except Reset:
                woke_from_sleep = False
        tries = world.log.count("transmit")
        assert 5 <= tries <= 15, tries
        world.network.broken = None
        while not world.network.readings or world.hardware.woke_from_sleep is False:
            world.sleep_after(world.boot(woke_from_sleep))
            woke_from_sleep = True
        world.network.readings = []
        before_us = world.time.now_us
        world.sleep_after(world.boot())
        equal(len(world.network.readings), 1, "a single reset costs no time")
        assert world.time.now_us - before_us < 620000000


def check_join_backs_off_and_remembers():
    world = World(safe_window_s=0)
    world.network.deaf = 4
    waits = [world.sleep_after(world.boot(woke_from_sleep=True)) for _ in range(4)]
    equal(waits, [23750, 47500, 55000, 70000])  # in the middle of what they may be
    equal(world.network.readings, [])
    world.sleep_after(world.boot(woke_from_sleep=True))
    equal(len(world.network.readings), 1)
    equal(Memory(world.rtc).join_failures, 0)


def check_join_counts_even_when_reset_during_it():
    world = World(safe_window_s=0)
    world.network.broken = Reset()
    raises(Reset, world.boot(woke_from_sleep=True).run)
    equal(Memory(world.rtc).join_failures, 1)


def check_broken_radio_is_survived():
    world = World(safe_window_s=0)
    world.sleep_after(world.boot())
    world.network.broken = RadioError("the radio stays busy")
    slept_ms = world.sleep_after(world.boot(woke_from_sleep=True))
    assert 590000 < slept_ms <= 610000, slept_ms
    world.network.broken = None
    world.sleep_after(world.boot(woke_from_sleep=True))
    equal([fcnt for fcnt, _ in world.network.readings], [0, 2])


def check_broken_radio_at_the_join_is_no_fast_loop():
    world = World(safe_window_s=0, interval_s=10)
    world.network.broken = RadioError("no radio")
    waits = [world.sleep_after(world.boot(woke_from_sleep=True)) for _ in range(6)]
    assert waits[-1] > 100000, waits


def check_stays_awake_in_the_safe_window_and_goes_on_sending():
    world = World(safe_window_s=60, interval_s=10)
    world.sleep_after(world.boot())
    assert world.time.now_us > 60000000
    assert 5 <= len(world.network.readings) <= 8, len(world.network.readings)
    equal(world.hardware.lightsleeps, [])
    assert max(world.time.slept) <= 2000, "nobody could reach it for that long"


def check_sleeps_lightly_outside_the_window():
    world = World(safe_window_s=0)
    life = world.boot()
    world.sleep_after(life)
    equal(life._clock.stay_awake, False)


def check_usb_keeps_it_awake_until_it_is_gone():
    world = World(safe_window_s=0, interval_s=20)
    life = world.boot(woke_from_sleep=True)
    world.hardware.usb = True
    sleep_ms = world.time.sleep_ms

    def sleep(ms):
        sleep_ms(ms)
        if world.time.now_us > 100000000:
            world.hardware.usb = False

    world.time.sleep_ms = sleep
    world.sleep_after(life)
    assert 100000000 < world.time.now_us < 150000000
    assert len(world.network.readings) >= 5


def check_slow_data_rate_lengthens_the_interval():
    world = World(safe_window_s=0, interval_s=10)
    world.network.deaf = 6
    waits = [world.sleep_after(world.boot(woke_from_sleep=True)) for _ in range(7)]
    assert waits[-1] > 100000, "DR0 every ten seconds would be 13 % of the time"


def check_join_counts_as_airtime():
    world = World(safe_window_s=0, interval_s=10)
    world.network.deaf = 6  # the seventh join, at DR0, is heard, and the reading goes out in the same wake
    for _ in range(6):
        world.sleep_after(world.boot(woke_from_sleep=True))
    began_us = world.time.now_us
    world.sleep_after(world.boot(woke_from_sleep=True))
    assert world.time.now_us - began_us > 100 * sum(world.network.airtimes[-2:]) - 2000, world.network.airtimes


def check_airtime_of_other_wakes_does_not_count():
    """A wake that breaks before it sent anything waits for the interval, however slow the frames before it were."""
    world = World(safe_window_s=0, interval_s=10)
    world.network.deaf = 6  # joined at DR0
    life = world.boot()
    for _ in range(7):
        life.cycle.run()
    life.cycle._config["sensors"] = None
    raises(TypeError, life.cycle.run)
    equal(life.cycle.after_failure(), (10000, True))


def check_downlink_is_printed_and_counted():
    world = World(safe_window_s=0)
    world.network.downlinks = [(5, b"\x01\x02"), (6, b"\x03")]
    world.sleep_after(world.boot())
    world.sleep_after(world.boot(woke_from_sleep=True))
    equal(world.network.downlinks, [])
    life = world.boot(woke_from_sleep=True)
    equal(life.cycle.device.session.fcnt_down, 1)


def check_confirmed_readings():
    world = World(safe_window_s=0, confirmed=True)
    world.sleep_after(world.boot())
    equal(world.network.frames[-1][0], 0x80)


def check_sensor_without_answer_is_failed_and_power_is_cut():
    hardware = Hardware(Time())
    reading = measure.take(config()["sensors"], hardware)
    equal(reading, {"temperature": FAILED, "humidity": FAILED, "pressure": FAILED, "battery": 3.87})
    equal(hardware.powered, [True, False])


def check_unknown_driver_is_failed_not_fatal():
    sensors = [{"driver": "crystal_ball", "address": 1, "quantities": ["rain"]}]
    equal(measure.take(sensors, Hardware(Time()))["rain"], FAILED)


def check_board_without_battery_sends_none():
    hardware = Hardware(Time())
    hardware.volts = None
    equal(measure.take([], hardware), {})


def check_unusable_node_asks_for_help_and_stays_awake():
    time = Time()
    hardware = Hardware(time)
    sleep_ms = time.sleep_ms

    def sleep(ms):
        sleep_ms(ms)
        if time.now_us > 100000000:
            raise Reset

    time.sleep_ms = sleep
    raises(Reset, ask_for_help, "This node has no config.json yet.", hardware, time)
    assert hardware.lights > 50
    assert max(time.slept) <= 1000


def check_used_up_join_numbers_ask_for_help():
    world = World(safe_window_s=0)
    world.nvs.stored["dev_nonce"] = 0x10000
    life = world.boot()
    raises(IdentityError, life.cycle.run)


def lost(world):
    """A node whose network has been silent through the whole ADR backoff."""
    world.sleep_after(world.boot())
    life = world.boot()
    life.cycle.device.session.adr_ack_cnt = 400
    life.cycle.device.save()


def check_lost_node_without_join_numbers_goes_on_sending():
    world = World(safe_window_s=0)
    lost(world)
    world.nvs.stored["dev_nonce"] = 0x10000
    for _ in range(3):
        world.sleep_after(world.boot(woke_from_sleep=True))
    equal(len(world.network.readings), 4)


def check_join_that_breaks_costs_a_lost_node_one_reading_only():
    """Flash refuses the DevNonce: the uplinks need no flash for a while."""
    world = World(safe_window_s=0)
    lost(world)

    def boot():
        life = world.boot(woke_from_sleep=True)

        def refuse(key, value):
            raise OSError(-0x1105)

        world.nvs.set_blob = refuse
        return life

    for _ in range(4):
        world.sleep_after(boot())
    assert len(world.network.readings) >= 4, len(world.network.readings)


def check_a_week_awake_ends():
    """Ticks come round after 12 days, differences after 6."""
    world = World(safe_window_s=0, interval_s=7 * 86400, usb={"sense": "usb-frames"})
    life = world.boot(woke_from_sleep=True)
    world.hardware.usb = True
    sleep_ms = world.time.sleep_ms

    def sleep(ms):
        sleep_ms(ms * 10000)
        if world.time.now_us > 20 * 86400 * 1000000:
            raise Reset

    world.time.sleep_ms = sleep
    raises(Reset, life.run)
    equal(len(world.network.readings), 3)
    assert life.cycle.device.now_ms() > 19 * 86400000, life.cycle.device.now_ms()


def check_certification_that_has_ended_keeps_no_node_awake():
    world = World(safe_window_s=0, certification=True)
    world.nvs.stored["cert_off"] = 1
    equal(world.boot(woke_from_sleep=True)._window.reason(), "")


def check_reading_that_does_not_fit_is_cut_not_kept_back():
    """AS923 at DR2 with a dwell time takes 11 bytes: a node that sent nothing would never get to another data rate."""
    names = [row[1] for row in QUANTITIES]
    reading = dict.fromkeys(names, FAILED)
    world = World(safe_window_s=0, region="AS923")
    life = world.boot()
    life.cycle._join()
    life.cycle.device.session.dr = 2
    life.cycle._send(reading)
    life.cycle._send(dict.fromkeys(names[:3], FAILED))
    first, second = [payload for _, payload in world.network.readings]
    equal((first[0], len(first)), (0x3F, 11))
    equal((second[0], len(second)), (0x07, 7))  # with a bitmap, because quantities were missing


def check_certification_keeps_the_ledger_that_counts():
    """Flash that failed gave the MAC another ledger; the one from before knows nothing of what was sent since."""
    world = World(safe_window_s=0, certification="lab")
    life = world.boot()
    life.cycle._join()
    device = life.cycle.device
    device.mac.ledger = ledger = type(device.mac.ledger)(eu868)
    life.cycle._send({"temperature": 1})
    assert device.mac.ledger is ledger
    certified = life.cycle._certified
    for on in (False, False, True):
        certified.tool.duty_cycle = on
        life.cycle._send({"temperature": 1})
        equal(device.mac.ledger is ledger, on)
