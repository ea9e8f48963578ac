# ruff: noqa: PT018 - a check is no pytest function
"""The supply fails: cuts at flash operations, brown-outs, and what survives of each; wear of the flash."""

import time

import esp32
import machine
from bench import Bench, ends
from board import Board


def _stored(board, key):
    return board.flash.committed.get("spatz", {}).get(key, {}).get("i32")


def _cut_at(operation, seed=1):
    """Two values are set twice and committed each time, with a cut at one operation; what the next boot finds."""
    b = Board({"seed": seed})
    nvs = esp32.NVS("spatz")
    b.flash.cut_at = operation

    def write():
        for value in (1, 2):
            nvs.set_i32("a", value)
            nvs.set_i32("b", value)
            nvs.commit()

    assert ends(write)["event"] == "power_cut"
    b = b.reboot()
    assert machine.reset_cause() == machine.PWRON_RESET and b.cause == "power_on"
    return _stored(b, "a"), _stored(b, "b")


def check_cut_at_each_flash_operation():
    """Committed values stay; of the others the first ones may be there, never a later one without an earlier one."""
    possible = {
        1: {(None, None), (1, None)},
        2: {(None, None), (1, None), (1, 1)},
        3: {(None, None), (1, None), (1, 1)},
        4: {(1, 1), (2, 1)},
        5: {(1, 1), (2, 1), (2, 2)},
        6: {(1, 1), (2, 1), (2, 2)},
    }
    for operation in possible:
        seen = {_cut_at(operation, seed) for seed in range(40)}
        assert seen == possible[operation], (operation, seen)


def check_cut_repeats_with_the_seed():
    assert [_cut_at(5, seed) for seed in range(5)] == [_cut_at(5, seed) for seed in range(5)]


def check_cut_counts_from_when_it_is_set_and_once():
    b = Board()
    nvs = esp32.NVS("spatz")
    for value in range(5):
        nvs.set_i32("a", value)
    b.flash.cut_at = 2
    nvs.set_i32("a", 7)
    assert ends(nvs.commit)["event"] == "power_cut"
    b = b.reboot()
    assert b.flash.cut_at is None


def check_erasing_can_be_cut():
    seen = set()
    for seed in range(40):
        b = Board({"seed": seed})
        nvs = esp32.NVS("spatz")
        nvs.set_i32("a", 1)
        nvs.commit()
        b.flash.cut_at = 1
        ends(lambda n=nvs: n.erase_key("a"))
        seen.add(_stored(b.reboot(), "a"))
    assert seen == {1, None}


def check_nothing_else_survives_a_cut_at_the_flash():
    b = Bench().start()
    machine.RTC().memory(b"session")
    b.board.flash.cut_at = 1
    ends(lambda: esp32.NVS("spatz").set_i32("a", 1))
    b = b.board.reboot()
    assert machine.RTC().memory() == b"" and b.radio.registers[0x0740] == 0x14 and time.time() == 0


def check_wear():
    b = Board()
    nvs = esp32.NVS("spatz")
    nvs.set_i32("a", 1)
    nvs.set_i32("a", 2)
    nvs.set_i32("a", 2)  # writes nothing
    nvs.set_blob("b", b"x")
    nvs.commit()
    assert b.flash.writes == 3 and b.flash.wear == {"spatz/a": 2, "spatz/b": 1}
    b = b.reboot("power_on")
    esp32.NVS("spatz").set_i32("a", 3)
    assert b.flash.writes == 4 and b.flash.wear["spatz/a"] == 3


def check_power_cut_on_a_condition():
    b = Bench().start()
    b.board.cut_power_when(lambda board: board.radio.mode == "tx")
    event = ends(b.send)
    assert event["event"] == "power_cut"
    assert b.board.air.log == [], "the supply broke down before anything was on the air"
    board = b.board.reboot()
    assert machine.reset_cause() == machine.PWRON_RESET
    assert len(Bench(board).start().send()["data"]) == 10, "it held for one boot"


def check_power_cut_in_the_middle_of_a_frame():
    b = Bench().start()
    board = b.board
    board.air.on_transmit = lambda frame: board.cut_power_at(frame["at"] + 10000)
    event = ends(b.send)
    sent = board.air.log[-1]
    assert event["event"] == "power_cut" and event["at_us"] == sent["at"] + 10000 < sent["at"] + sent["airtime"]


def check_brown_out_some_time_after_the_start_of_a_frame():
    b = Bench(brown_out_at={"mode": "tx", "after_us": 25000}).start()
    event = ends(b.send)
    assert event["event"] == "brown_out" and 19000 < event["at_us"] - b.board.air.log[-1]["at"] < 20000


def check_brown_out_loses_the_rtc_memory_by_chance():
    kept = 0
    for seed in range(60):
        b = Board({"seed": seed, "brown_out_at": {"after_us": 5000}})
        machine.RTC().memory(b"session")
        nvs = esp32.NVS("spatz")
        nvs.set_i32("kept", 1)
        nvs.commit()
        nvs.set_i32("lost", 1)
        event = ends(lambda: time.sleep(1))
        assert event["event"] == "brown_out"
        b = b.reboot()
        assert b.cause == "brown_out" and machine.reset_cause() == machine.PWRON_RESET
        assert machine.RTC().memory() in (b"session", b"")
        assert (_stored(b, "kept"), _stored(b, "lost")) == (1, None)
        kept += machine.RTC().memory() == b"session"
    assert 20 < kept < 40, kept


def check_brown_out_loop_when_the_transmitter_switches_on():
    b = Bench(brown_out_at={"mode": "tx"}).start()
    for _ in range(3):
        assert ends(b.send)["event"] == "brown_out"
        board = b.board.reboot()
        assert board.radio.registers[0x0740] == 0x14, "the radio starts anew, too"
        b = Bench(board).start()
    assert b.board.air.log == [], "never on the air"
    b = Bench(b.board.reboot("power_on", brown_out_at=None)).start()
    assert b.send()
