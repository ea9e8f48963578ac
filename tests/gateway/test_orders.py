"""Orders to a node as bytes: what is written is read again, and bytes of anybody do no harm."""

from __future__ import annotations

import json
import random
import struct
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nest import orders
from nest.lorawan import NetworkServer, Settings
from nest.model import Device
from nest.orders import Command, Confirmed, Interval, Log, Parity, Range, Restart

for _folder in ("firmware", "tests/firmware/cpython"):
    _path = str(Path(__file__).resolve().parents[2] / _folder)
    if _path not in sys.path:
        sys.path.insert(0, _path)

from node import orders as firmware  # noqa: E402

RANGES = st.builds(Range, st.integers(0, 255), st.integers(0, 65535), st.integers(1, 255))
COMMANDS = st.one_of(
    st.builds(Interval, st.integers(5, 65535)),
    st.builds(Parity, st.integers(0, 4)),
    st.builds(Confirmed, st.booleans()),
    st.builds(Log, st.lists(RANGES, max_size=orders.MOST_RANGES).map(tuple)),
    st.just(Restart()),
)


def test_the_bytes_are_those_of_the_contract() -> None:
    commands = [Interval(900), Parity(2), Confirmed(True), Log((Range(3, 0x0102, 96), Range(4, 0, 1))), Restart()]
    assert orders.encode(7, commands).hex(" ") == "07 01 03 84 02 02 03 01 04 02 03 01 02 60 04 00 00 01 05"


@given(st.integers(1, 255), st.lists(COMMANDS, max_size=6))
def test_what_is_written_is_read_again(ticket: int, commands: list[Command]) -> None:
    try:
        payload = orders.encode(ticket, commands)
    except ValueError:
        assert 1 + sum(1 + len(command.fields()) for command in commands) > orders.MOST_BYTES
        return
    assert orders.decode(payload) == orders.Decoded(ticket, tuple(commands))


@given(COMMANDS)
def test_the_archive_keeps_an_order_as_it_is(command: Command) -> None:
    assert orders.from_json(command.kind, json.loads(json.dumps(orders.to_json(command)))) == command


@given(st.binary(max_size=60))
def test_any_bytes_are_read_as_far_as_they_make_sense(payload: bytes) -> None:
    found = orders.decode(payload)
    again = b"".join(bytes([orders.NUMBERS[command.kind]]) + command.fields() for command in found.commands)
    assert payload[1:] == again + found.rest
    assert found.ticket == (payload[0] if payload else 0)


@pytest.mark.parametrize(
    ("payload", "rest"),
    [
        ("01 01 00 04", "01 00 04"),  # every 4 s
        ("01 02 05", "02 05"),
        ("01 03 02", "03 02"),
        ("01 04 01 00 00 00 00", "04 01 00 00 00 00"),  # no FCnt at all
        ("01 04 02 00 00 00 01", "04 02 00 00 00 01"),  # one range of two
        ("01 05 06 05", "06 05"),  # nobody knows command 6, and so not where it ends
    ],
)
def test_what_a_node_would_refuse_is_not_read(payload: str, rest: str) -> None:
    assert orders.decode(bytes.fromhex(payload)).rest == bytes.fromhex(rest)


@pytest.mark.parametrize(
    "command",
    [Interval(4), Interval(65536), Parity(5), Parity(-1), Log((Range(0, 0, 0),)), Log((Range(256, 0, 1),))],
)
def test_what_a_node_would_refuse_is_not_written(command: Command) -> None:
    with pytest.raises(ValueError, match="is not within"):
        orders.encode(1, [command])
    with pytest.raises(ValueError, match="is not within"):
        orders.encode(0, [])


def test_one_of_each_command_fits_into_the_smallest_downlink() -> None:
    most = Log(tuple(Range(255, 65535, 255) for _ in range(orders.MOST_RANGES)))
    assert len(orders.encode(255, [Interval(900), Parity(2), Confirmed(False), most, Restart()])) <= orders.MOST_BYTES
    with pytest.raises(ValueError, match="at most 51"):
        orders.encode(1, [most, most])


def test_the_network_server_lets_go_of_what_it_has_not_sent() -> None:
    eui = bytes(8)
    core = NetworkServer(Settings(), [Device(eui, bytes(8), bytes(16), "amsel")], [], [], random.Random(1))  # noqa: S311
    for reference in (1, 2, 3):
        core.enqueue(eui, orders.FPORT, b"", reference=reference)
    assert core.withdraw(eui, 2)
    assert core.queued(eui) == 2
    assert not core.withdraw(eui, 2), "it is gone"
    assert not core.withdraw(bytes([1] * 8), 1), "a stranger"


@given(st.integers(1, 255), st.lists(COMMANDS, max_size=4))
def test_the_firmware_understands_what_is_written(ticket: int, commands: list[Command]) -> None:
    try:
        payload = orders.encode(ticket, commands)
    except ValueError:
        return
    settings: dict[str, int] = {}
    memory = SimpleNamespace(ticket=0, result=0, wanted=b"", restart=False)
    identity = SimpleNamespace(set=lambda name, value: settings.__setitem__(name, value) or True)
    assert firmware.carry_out(payload, memory, identity)
    assert (memory.ticket, memory.result) == (ticket, 0)
    last = {command.kind: command for command in commands}
    values = {kind: [*orders.to_json(command).values()] for kind, command in last.items()}
    assert settings == {kind: values[kind][0] for kind in ("interval", "parity", "confirmed") if kind in values}
    assert memory.restart is ("restart" in last)
    ranges = memory.wanted[1:]  # behind how far the first of them is done
    log = last.get("log")
    assert [Range(*one) for one in struct.iter_unpack(">BHB", ranges)] == (
        list(log.ranges) if isinstance(log, Log) else []
    )


@given(st.binary(min_size=1, max_size=30).filter(lambda payload: payload[0] > 0))
def test_the_firmware_refuses_where_the_nest_stops_reading(payload: bytes) -> None:
    memory = SimpleNamespace(ticket=0, result=0, wanted=b"", restart=False)
    firmware.carry_out(payload, memory, SimpleNamespace(set=lambda *_: True))
    read = orders.decode(payload)
    assert memory.result == (len(read.commands) + 1 if read.rest else 0)
