"""What a node says beside its reading, what it costs, and what becomes of what it could not say."""

# pyright: reportCallIssue=false, reportArgumentType=false, reportAttributeAccessIssue=false, reportOptionalMemberAccess=false

import sys

import items
from expect import equal, raises
from lorawan.airtime import airtime_us
from node import schedule
from node.memory import Memory
from node_fakes import Reset
from node_world import World
from payload.encode import FAILED
from payload.window import Window


def said(world, place=-1):
    return items.read(items.items_of(world.network.readings[place][1]))


def sleeping(world, wakes):
    """Wake so many times; how long it slept after each."""
    return [world.sleep_after(world.boot(woke_from_sleep=True)) for _ in range(wakes)]


def check_parity_fills_the_airtime_step_and_no_more():
    world = World(safe_window_s=0)
    world.sleep_after(world.boot())
    sleeping(world, 30)
    payload = world.network.readings[-1][1]
    equal(payload[6] & 0xF0, 0, "a plain header")
    assert len(payload) >= 10, "one symbol of 20 bits at least"
    equal(world.network.airtimes[-1], airtime_us(7, 125000, 13 + 10))
    assert airtime_us(7, 125000, 13 + len(payload) + 3) > world.network.airtimes[-1], "there was room for one more"


def check_without_parity_a_frame_is_as_short_as_it_can_be():
    world = World(safe_window_s=0, parity=0)
    world.sleep_after(world.boot())
    sleeping(world, 5)
    equal(len(world.network.readings[-1][1]), 7)


def check_a_node_with_nothing_to_measure_is_heard_all_the_same():
    """A board without battery and without sensor: its frame says that it lives, and nothing else."""
    for parity in (0, 1, 4):
        world = World(safe_window_s=0, parity=parity, sensors=[])
        for start in range(20):
            life = world.boot(woke_from_sleep=bool(start))
            world.hardware.volts = None
            slept_ms = world.sleep_after(life)
            assert 590000 < slept_ms < 610000, slept_ms
            assert not life.cycle.sensor_missing
        equal(len(world.network.readings), 20)
        for _, payload in world.network.readings:
            equal(payload[0], 0, "a bitmap without a quantity")
        equal(said(world), [])
        if not parity:
            equal(len(world.network.readings[-1][1]), 2, "the bitmap, and a header without parity")


def check_a_reading_that_waited_for_a_join_says_its_age():
    world = World(safe_window_s=0)
    world.network.deaf = 6  # joined at DR0: 1.5 s on air
    world.sleep_after(world.boot(woke_from_sleep=True))
    sleeping(world, 6)
    equal(world.network.airtimes[-2] // 250000, 5)
    equal(said(world)[0], ("age", 5))
    assert ("unsent", 6) in said(world), said(world)
    sleeping(world, 1)
    equal(said(world), [], "the next one is fresh")


def check_readings_that_the_air_refused_come_when_they_are_asked_for():
    world = World(safe_window_s=0)
    world.network.gps = (1451260818, 0)
    world.network.commands = b"\x04\x0f"  # DutyCycleReq: 1/32768
    world.sleep_after(world.boot())
    sleeping(world, 1)
    life = world.boot(woke_from_sleep=True)
    for _ in range(3):  # each made, none sent
        world.time.now_us += 1000000
        life.cycle.run()
    equal(len(world.network.readings), 2)
    life.cycle.device.session.max_duty = 0
    life.cycle.device.mac.ledger.quiet(0, 0, 0)
    world.network.downlinks = [(2, b"\x09\x04\x01\x01\x00\x02\x01")]  # the slot of the next frame, and its parts
    life.cycle.run()
    equal(said(world), [("unsent", 3)])
    life.cycle.run()
    answers = said(world)
    equal(answers[0], ("answer", 9, 0))
    equal([row[:4] for row in answers[1:]], [("reading", 1, 2, part) for part in (1, 2, 3, 0)])
    ages = [row[4] for row in answers[1:]]
    assert ages == sorted(ages, reverse=True), ages
    life.cycle.run()
    equal(said(world), [], "said once")


def check_old_readings_do_not_stretch_the_interval():
    for fair_use_s, interval_s in ((0, 600), (0, 60), (30, 900)):
        world = World(safe_window_s=0, interval_s=interval_s, fair_use_s=fair_use_s)
        world.network.gps = (1451260818, 0)
        world.sleep_after(world.boot())
        sleeping(world, 60)
        before = world.network.airtimes[-1]
        memory = Memory(world.rtc)
        memory.wanted = b"\0\x01\x00\x00\x32"
        memory.save()
        came = 0
        for _ in range(40):
            slept_ms = sleeping(world, 1)[0]
            times = 2880 if fair_use_s else 100
            assert slept_ms <= interval_s * 1000 + 10000, slept_ms
            assert world.network.airtimes[-1] * times <= interval_s * 1000000, world.network.airtimes[-1]
            came += len([row for row in said(world) if row[0] == "reading"])
            if not Memory(world.rtc).wanted:
                break
        equal(came, 50, (fair_use_s, interval_s))
        sleeping(world, 1)
        equal(world.network.airtimes[-1], before, "then as before")


def check_a_low_battery_makes_it_rest():
    equal(schedule.stretched(600000, 3.5, {}), 600000)
    equal(schedule.stretched(600000, 3.49, {}), 1200000)
    equal(schedule.stretched(600000, 3.39, {}), 2400000)
    equal(schedule.stretched(600000, 3.29, {}), 4800000)
    equal(schedule.stretched(600000, 2.5, {}), 4800000)
    equal(schedule.stretched(3600000, 2.5, {}), 7200000)
    equal(schedule.stretched(86400000, 2.5, {}), 86400000, "never more often")
    equal(schedule.stretched(600000, 2.9, {"empty_mv": 2500}), 600000, "another cell")
    equal(schedule.stretched(600000, 2.75, {"empty_mv": 2500}), 1200000)
    for volts in (None, "failed", "out_of_range"):
        equal(schedule.stretched(600000, volts, {}), 600000)
    equal(schedule.stretched(600000, 2.5, None), 600000, "a board without a battery")
    world = World(safe_window_s=0, battery={})
    life = world.boot()
    world.hardware.volts = 3.45
    assert 1195000 < world.sleep_after(life) < 1215000
    life = world.boot(woke_from_sleep=True)
    world.hardware.volts = 3.9
    assert 590000 < world.sleep_after(life) < 610000


def check_settings_take_effect_at_once_and_outlive_a_power_cut():
    world = World(safe_window_s=0)
    world.network.downlinks = [(2, bytes.fromhex("2101012c02020301"))]
    assert 295000 < world.sleep_after(world.boot()) < 306000
    equal(world.network.frames[-1][0], 0x40)
    assert 295000 < sleeping(world, 1)[0] < 306000
    equal(world.network.frames[-1][0], 0x80, "confirmed")
    equal(said(world), [("answer", 0x21, 0)])
    world.power_cut()
    assert 290000 < world.sleep_after(world.boot()) < 306000
    equal(world.network.frames[-1][0], 0x80)
    equal(said(world), [], "answered once")


def check_an_answer_that_could_not_be_sent_waits():
    world = World(safe_window_s=0)
    world.network.downlinks = [(2, b"\x21\x00")]
    world.network.commands = b"\x04\x0f"
    world.sleep_after(world.boot())
    life = world.boot(woke_from_sleep=True)
    life.cycle.run()
    life.cycle.run()
    equal(len(world.network.readings), 2)
    equal(said(world), [("answer", 0x21, 1)])


def check_restart_comes_after_the_answer_and_once():
    world = World(safe_window_s=0)
    world.network.downlinks = [(2, b"\x21\x05")]
    world.sleep_after(world.boot())
    life = world.boot(woke_from_sleep=True)

    def restart():
        raise Reset

    world.hardware.restart = restart
    raises(Reset, life.run)
    equal(said(world), [("answer", 0x21, 0)])
    life = world.boot()
    world.hardware.restart = restart
    world.sleep_after(life)
    equal(Memory(world.rtc).cut_off, 0)


def check_a_flash_that_fails_costs_the_log_not_the_reading():
    world = World(safe_window_s=0)
    world.sleep_after(world.boot())
    world.files.trouble = OSError(28)
    sleeping(world, 3)
    world.power_cut()
    world.sleep_after(world.boot())
    equal(len(world.network.readings), 5)
    world.files.trouble = None
    sleeping(world, 1)
    equal(len(world.network.readings), 6)
    rows = [row[0] for row in world.boot(woke_from_sleep=True).cycle._log.find(1, 0, 0x7FFF)]
    equal(rows, [0, world.network.readings[-1][0]])


def check_mac_answers_that_go_first_are_amended():
    """The frame that a reading was planned for carries MAC answers alone: the log knows which one it was in the end."""
    world = World(safe_window_s=0, region="AS923")
    world.sleep_after(world.boot())
    life = world.boot(woke_from_sleep=True)
    session = life.cycle.device.session
    session.dr = 2  # 11 bytes
    session.answers = b"\x06\xff\x07"  # more than there is room for beside such a reading
    session.waited = True
    reading = dict.fromkeys(("temperature", "humidity", "pressure", "battery", "pm2_5"), FAILED)
    for _ in range(2):
        life.cycle._keep(reading)
        life.cycle._send(dict(reading))
    equal([fcnt for fcnt, _ in world.network.readings], [0, 1, 2, 3])
    equal(world.network.frames[2][8], 0, "the port of the frame between")
    equal([row[:2] for row in life.cycle._log.find(1, 0, 10)], [(0, 0), (2, 0), (3, 0)])
    equal(life.cycle._log.slot, (1, 3))


def check_unreadable_settings_are_those_of_the_configuration():
    world = World(safe_window_s=0)
    world.sleep_after(world.boot())
    life = world.boot(woke_from_sleep=True)
    world.nvs.trouble = OSError(-0x1107)
    life.cycle._learn_settings()
    equal((life.cycle._interval_s, life.cycle._parity, life.cycle._confirmed), (600, 1, False))
    world = World(safe_window_s=0)
    world.nvs.stored.update({"set_interval": 3, "set_parity": 77})
    life = world.boot()
    equal((life.cycle._interval_s, life.cycle._parity), (600, 1), "what cannot be is not taken")


def check_a_frame_that_was_left_half_made_leaves_no_trace():
    """Memory ran out while the frame was made: the window is what the last frame told, or parity would name a reading
    that nobody sent."""
    world = World(safe_window_s=0)
    world.sleep_after(world.boot())
    sleeping(world, 3)
    life = world.boot(woke_from_sleep=True)
    window = life.cycle._window
    before = bytes(window.pack())

    class Exhausted(Window):
        def symbols(self, fcnt, count):
            raise MemoryError

    life.cycle._window = Exhausted(before)
    world.hardware.volts = 2.4
    raises(MemoryError, life.cycle.run)
    assert bytes(life.cycle._window.pack()) != before
    life.cycle.after_failure()
    equal(bytes(life.cycle._window.pack()), before)
    equal(Memory(world.rtc).window, before)
    world.time.now_us += 600000000
    life.cycle.run()
    equal(len(world.network.readings), 5)


def check_a_log_that_takes_long_to_read_costs_no_age():
    world = World(safe_window_s=0, parity=0)
    world.network.gps = (1451260818, 0)
    world.sleep_after(world.boot())
    sleeping(world, 8)
    memory = Memory(world.rtc)
    memory.wanted = b"\0\x01\x00\x00\x01"
    memory.save()
    life = world.boot(woke_from_sleep=True)
    real = life.cycle._log.find

    def find(session, first, count):
        world.time.now_us += 3000000
        return real(session, first, count)

    life.cycle._log.find = find
    world.sleep_after(life)
    equal([row[0] for row in said(world)], ["age", "reading"])
    equal(said(world)[0], ("age", 12))


def check_a_sensor_that_takes_long_to_stop_makes_the_reading_older():
    world = World(safe_window_s=0, sensors=[{"driver": "lingering", "quantities": ["humidity"]}])

    class Lingering:
        def read(self, bus, entry, sleep_ms):
            return {"humidity": 50}

        def stop(self, bus, entry, sleep_ms):
            sleep_ms(4000)

    sys.modules["sensors.lingering"] = Lingering()
    world.sleep_after(world.boot())
    life = world.boot(woke_from_sleep=True)
    world.hardware.bus = lambda entry: None
    life.cycle.run()
    payload = world.network.readings[-1][1]
    equal((payload[0], payload[3] & 0x40), (0x0A, 0x40))
    equal(items.read(payload[5 : 5 + payload[4]]), [("age", 16)])
