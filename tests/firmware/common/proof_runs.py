"""The programs of the proofs, for MicroPython: `proof_runs.py PROGRAM arguments…` writes its log to stdout.

    law FIRST NODES DAYS SEED      nodes FIRST…, each through weeks of bad luck
    adrift FIRST NODES DAYS SEED   nodes that no network answers and whose flash writes are cut off again and again
    cuts CUTS SEED ROTS [1]        one node that is cut off CUTS times; ROTS: percent of starts at which bits rotted;
                                   1: damage upon damage (see proof_world.World.rot)
    joins FIRST NODES CUTS SEED    new nodes, each cut off CUTS times before the network lets it join
    quiet DAYS SEED MOOD           one node that sends 96 times a day, without any accident
"""

# pyright: reportAttributeAccessIssue=false
import gc
import sys

import proof_world as w
from lorawan.device import Device
from proof_network import MOODS, Server
from proof_node import Habits, Node, app_key
from proof_world import World

HOUR_US = 3600000000
DAY_US = 24 * HOUR_US


def law(first, nodes, days, seed, make_device=Device, output=None):
    output = output or w.output()
    for number in range(first, first + nodes):
        mine = seed * 1000 + number
        server = Server(app_key(number), w.Dice(mine + 500), check=False)
        world = World(number, mine, server, output, head=8)
        node = Node(world, make_device, Habits())
        _live_through(node, server, days * DAY_US)
        output.flush()


def adrift(first, nodes, days, seed, make_device=Device, output=None):
    output = output or w.output()
    for number in range(first, first + nodes):
        mine = seed * 1000 + number
        dice = w.Dice(mine + 700)
        world = World(number, mine, Server(app_key(number), dice, "gone"), output, head=8)
        node = Node(world, make_device, Habits(join_every_ms=1000))
        while world.us < days * DAY_US:
            world.cut_kind = (w.POWER, w.POWER, w.BROWNOUT, w.RESET)[dice(4)]
            world.dies_at_us = world.us + (1 + dice(48)) * HOUR_US // 2
            if dice(3):
                world.dies_at_write = (1 + dice(4), 1 + dice(3))
            while not node.live_once():
                pass
            world.us += dice(1 + dice(3600)) * 1000000
        output.flush()


# How long a state lasts, in seconds, at least and at most, and how often it comes.
_MOOD_WEIGHTS = (
    ("normal", 9),
    ("adr", 4),
    ("chatty", 2),
    ("lossy", 2),
    ("greedy", 4),
    ("strict", 2),
    ("gone", 3),
    ("no_join", 1),
)


def _weighted(dice, table):
    at = dice(sum([row[1] for row in table]))
    for row in table:
        at -= row[1]
        if at < 0:
            return row[0]
    raise ValueError


# "fair": power fails every few days; "weak": some minutes after every start, or at a transmission, for hours or days;
# "nervous": resets, minutes or hours apart; "off": longer without power
_POWERS = (("fair", 6), ("weak", 3), ("nervous", 3), ("off", 2))


def _live_through(node, server, until_us):
    world = node.world
    dice = world.dice
    power_until = mood_until = habits_until = 0
    power = "fair"
    while world.us < until_us:
        if world.us >= mood_until:
            server.mood = MOODS[_weighted(dice, _MOOD_WEIGHTS)]
            mood_until = world.us + (1 + dice(60)) * HOUR_US
        if world.us >= habits_until:
            node.habits = _habits(dice)
            habits_until = world.us + (1 + dice(36)) * HOUR_US
        if world.us >= power_until:
            power = _weighted(dice, _POWERS)
            power_until = world.us + (2 + dice(1 + dice(72))) * HOUR_US
        _accident(world, power)
        world.dies_at_us = min(world.dies_at_us or until_us, until_us, mood_until, habits_until, power_until)
        while not node.live_once():
            pass
        if power == "off" or not dice(20):
            world.us += dice(1 + dice(30)) * HOUR_US // 3
        world.us += dice(20000000) if dice(4) else dice(600000000)


def _habits(dice):
    slow_ms = (900000, 900000, 60000, 1000)[dice(4)]
    often = 900000 if dice(30) else 20000
    return Habits(
        interval_ms=often,
        join_every_ms=(1, 1000, 60000, 600000)[dice(4)],
        deep=(100, 100, 90, 0)[dice(4)],
        confirmed=(0, 0, 20, 100)[dice(4)],
        asks=(0, 5, 50)[dice(3)],
        longest=(11, 20, 51)[dice(3)],
        slow_ms=slow_ms,
    )


def _accident(world, power):
    """When the next start will be cut off, and how."""
    dice = world.dice
    if power == "weak":
        world.cut_kind = (w.BROWNOUT, w.BROWNOUT, w.POWER, w.RESET)[dice(4)]
        if dice(3):
            world.dies_at_us = world.us + (5 + dice(295)) * 1000000
        else:
            world.steps_left = 3 + dice(40)
            world.dies_at_us = world.us + HOUR_US
    elif power == "nervous":
        world.cut_kind = (w.RESET, w.RESET, w.BROWNOUT)[dice(3)]
        world.dies_at_us = world.us + (60 + dice(1 + dice(20000))) * 1000000
    else:
        world.cut_kind = dice(3)
        world.dies_at_us = world.us + (1 + dice(96)) * HOUR_US
        if not dice(4):
            world.dies_at_write = (1 + dice(3), 1 + dice(3))


def _cut_off(node):
    """One start or more, until the node is cut off: in a flash write, at any step of an exchange, or at any time."""
    world = node.world
    dice = world.dice
    world.cut_kind = (w.POWER, w.POWER, w.POWER, w.RESET, w.BROWNOUT)[dice(5)]
    how = dice(20)
    if how < 8:
        world.dies_at_write = (1 + dice(1 + dice(3)), 1 + dice(3))
    elif how < 17:
        world.steps_left = 1 + dice(1 + dice(120))
    else:
        world.dies_at_us = world.us + dice(1 << (20 + dice(12)))
    for _ in range(60):
        if node.live_once():
            break
    else:
        world.log(w.NOTE, 0, data=b"not cut off")
        world.dies_at_write = None
        world.steps_left = 1
        node.live_once()
    world.us += dice(1 + dice(7200)) * 1000000 if dice(3) else dice(1000000)


def joins(first, nodes, count, seed, make_device=Device, output=None):
    output = output or w.output()
    for number in range(first, first + nodes):
        mine = seed * 1000 + number
        server = Server(app_key(number), w.Dice(mine + 300), "no_join")
        world = World(number, mine, server, output)
        node = Node(world, make_device, Habits(join_every_ms=(1, 1000, 20000)[number % 3]))
        for _ in range(count):
            _cut_off(node)
        world.steps_left = None
        server.mood = MOODS["normal"]
        until_us = world.us + 2 * DAY_US
        while world.us < until_us and not node.sent:
            node.live_once()
    output.flush()


def cuts(count, seed, rots, harsh=0, make_device=Device, output=None, number=7):
    output = output or w.output()
    server = Server(app_key(number), w.Dice(seed + 500))
    world = World(number, seed, server, output)
    world.radio_fails = 5
    world.harsh = bool(harsh)
    node = Node(world, make_device, Habits())
    dice = world.dice
    for cut in range(count):
        if not cut % 40:
            server.mood = MOODS[("normal", "chatty", "lossy", "greedy", "adr", "normal")[dice(6)]]
            node.habits = _habits(dice)
            node.habits.interval_ms = 900000
            node.habits.joins = (0, 0, 3, 10)[dice(4)]
            node.habits.slow_ms = (900000, 60000)[dice(2)]
        if dice(100) < rots:
            world.rot()
        _cut_off(node)
        if not cut % 100:
            gc.collect()
    for reason in server.refused:
        world.note(f"{reason}: {server.refused[reason]} times", reason in _REFUSALS)
    world.steps_left = None
    output.flush()


_REFUSALS = (
    "JoinRequest with a wrong MIC",
    "uplink with a wrong MIC",
    "DevNonce that did not rise",
    "FCntUp that went back",
)


def quiet(days, seed, mood, make_device=Device, output=None, number=9):
    output = output or w.output()
    server = Server(app_key(number), w.Dice(seed + 500), mood)
    world = World(number, seed, server, output)
    node = Node(world, make_device, Habits())
    until_us = days * DAY_US
    while world.us < until_us:
        node.live_once()
    world.note(f"{node.sent} uplinks, {server.asked} downlinks with commands", False)
    output.flush()


def main(arguments):
    gc.threshold(400000)  # type: ignore[attr-defined]  # MicroPython's
    name = arguments[0]
    if name == "quiet":
        quiet(int(arguments[1]), int(arguments[2]), arguments[3])
    else:
        {"law": law, "adrift": adrift, "joins": joins, "cuts": cuts}[name](*[int(text) for text in arguments[1:]])


if __name__ == "__main__":
    main(sys.argv[1:])
