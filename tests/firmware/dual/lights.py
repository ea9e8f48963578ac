"""What the light says: which pattern stands for what, and how it is played."""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOptionalMemberAccess=false

from expect import equal
from node.lights import BROKEN, HEARD, LOOKING, NO_SENSOR, SET_UP, SILENT, Lights
from node_fakes import Time
from node_world import World
from payload.encode import FAILED
from radio import RadioError

ALL = (LOOKING, HEARD, SILENT, NO_SENSOR, BROKEN, SET_UP)


class Seen:
    """What an eye sees: [(on, ms)]."""

    def __init__(self):
        self.time = Time()
        self.spans = []
        self._on = False
        self._since_us = self.time.now_us

    def light(self, on):
        self.end()
        self._on = bool(on)

    def end(self):
        ms = (self.time.now_us - self._since_us) // 1000
        self._since_us = self.time.now_us
        if ms and self.spans and self.spans[-1][0] == self._on:
            self.spans[-1] = self._on, self.spans[-1][1] + ms
        elif ms:
            self.spans.append((self._on, ms))


def watch(patterns, slices_ms, count):
    seen = Seen()
    played = Lights(seen.light, seen.time, patterns)
    for _ in range(count):
        played.wait(slices_ms)
    seen.end()
    return seen.spans


def check_no_two_patterns_are_alike():
    equal(len(set(ALL)), len(ALL))
    for pattern in ALL:
        assert not len(pattern) & 1, "it ends with a pause"
        assert min(pattern) > 0


def check_flashes_that_are_counted_have_a_pause_behind_them():
    for pattern, count in ((HEARD, 2), (SILENT, 1), (NO_SENSOR, 3)):
        equal(len(pattern) // 2, count)
        assert pattern[-1] >= 100, "a second: else nobody can count"
        for at in range(1, len(pattern) - 1, 2):
            assert pattern[at] <= 30


def check_it_is_played_whatever_the_slices():
    for slices_ms in (1, 7, 250, 10000):
        spans = watch((HEARD,), slices_ms, 10000 // slices_ms)
        equal(spans[:4], [(True, 80), (False, 250), (True, 80), (False, 2000)])
        equal(sum(ms for _, ms in spans), 10000 // slices_ms * slices_ms)


def check_two_things_are_said_one_after_the_other():
    spans = watch((SILENT, NO_SENSOR), 250, 40)
    lit = [ms for on, ms in spans if on]
    equal(lit[:5], [1500, 80, 80, 80, 1500])


def check_waiting_without_end_allocates_nothing():
    try:
        from micropython import heap_lock, heap_unlock
    except ImportError:
        return
    played = Lights(lambda on: None, Still(), (HEARD, NO_SENSOR))
    played.wait(250)
    heap_lock()
    try:
        for _ in range(100):
            played.wait(250)
    finally:
        heap_unlock()


class Still:
    @staticmethod
    def sleep_ms(ms):
        pass


def said(world, life):
    """What it shows once it waits."""
    shown = []
    lights = __import__("node.lights", None, None, ("Lights",))  # the one that a node imports now
    made = lights.Lights.__init__

    def note(self, light, time, patterns):
        made(self, light, time, patterns)
        shown.append(patterns)

    lights.Lights.__init__ = note
    try:
        world.sleep_after(life)
    finally:
        lights.Lights.__init__ = made
    return shown


def world_in_the_window(**changes):
    return World(safe_window_s=60, interval_s=25, **changes)


def check_a_node_that_is_heard():
    world = world_in_the_window(sensors=[])
    shown = said(world, world.boot())
    equal(shown[0], (HEARD,))


def check_a_sensor_that_does_not_answer_is_said_besides():
    world = world_in_the_window()
    equal(said(world, world.boot())[0], (HEARD, NO_SENSOR))


def check_a_battery_that_is_not_measured_is_no_sensor():
    world = world_in_the_window(sensors=[])
    life = world.boot()
    world.hardware.volts = FAILED
    equal(said(world, life)[0], (HEARD,))


def check_a_node_that_shall_find_its_sensors_and_finds_none_says_so():
    """With nothing plugged in it must not say that all is well."""
    find = [{"driver": "bme280", "address": 0x76, "quantities": ["temperature"]}]
    world = world_in_the_window(sensors=[], find=find)
    life = world.boot()
    world.hardware.found_sensors = False
    equal(said(world, life)[0], (HEARD, NO_SENSOR))


def check_a_sensor_that_is_not_due_is_as_it_was():
    sensors = [{"driver": "bme280", "address": 0x76, "quantities": ["temperature"], "every_s": 600}]
    world = world_in_the_window(sensors=sensors)
    shown = said(world, world.boot())
    equal([patterns[-1] for patterns in shown], [NO_SENSOR] * 3)


def check_a_node_that_nobody_answers_goes_on_looking():
    world = world_in_the_window(sensors=[])
    world.network.deaf = 10
    equal(set(said(world, world.boot())), {(LOOKING,)})


def check_a_node_whose_gateway_has_gone():
    """It has its session from before; the first uplink after a start asks for the time."""
    world = world_in_the_window(sensors=[])
    world.sleep_after(world.boot())
    world.network.deaf = 10
    equal(said(world, world.boot())[-1], (SILENT,))


def check_a_program_that_stumbles():
    world = world_in_the_window(sensors=[])
    life = world.boot()
    world.network.broken = RadioError("no radio")
    equal(said(world, life)[0], (BROKEN,))


def check_it_is_dark_outside_the_window_and_while_it_works():
    world = World(safe_window_s=0)
    world.sleep_after(world.boot())
    equal(world.hardware.lights, 0)

    world = world_in_the_window()
    life = world.boot()
    lit = []
    switch = world.hardware.light
    world.hardware.light = lambda on: (lit.append(on), switch(on))
    run = life.cycle.run

    def cycle():
        assert not lit or not lit[-1], "the light is on when a cycle begins"
        count = len(lit)
        result = run()
        equal(len(lit), count)
        return result

    life.cycle.run = cycle
    world.sleep_after(life)
    assert len(lit) > 10
