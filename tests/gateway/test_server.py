"""The whole nest as its users run it: a process, a gateway on UDP, a browser's API, a broker, and SIGKILL."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from nest import town
from nest.archive import Archive, open_database
from nest.archive.downlinks import DownlinkQueue
from nest.gateways import GatewayRegistry
from nest.registry import Registry

from .lorawan.device import Downlink, EndDevice
from .running import LIMIT_S, PROMPTLY_S, RunningNest, UdpGateway, nest_command

CLIMATE = bytes.fromhex("0f65ce39a776")  # 21.4 °C, 56.5 %, 1008.3 hPa, 3.87 V


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = town.create(
        tmp_path / "town", "Brandis", udp_port=0, web_port=0, mqtt_port=0, udp_host="127.0.0.1", web_host="127.0.0.1",
        station_host="127.0.0.1",
    ).path  # fmt: skip
    for eui in ("aa" * 8, "bb" * 8):
        admit(path, eui)
    return path


def admit(folder: Path, eui: str) -> None:
    engine = open_database(folder / "nest.db")
    GatewayRegistry(engine).add(eui)
    engine.dispose()


@pytest.fixture
def nest(folder: Path) -> Iterator[RunningNest]:
    with RunningNest(folder) as running:
        yield running


@pytest.fixture
def gateway(nest: RunningNest) -> Iterator[UdpGateway]:
    gateway = UdpGateway(nest.ports["semtech_udp"])
    gateway.pull()
    yield gateway
    gateway.close()


def register(folder: Path, device: EndDevice, slug: str = "amsel") -> None:
    engine = open_database(folder / "nest.db")
    Registry(engine).add(slug, device.dev_eui, device.join_eui, device.app_key, latitude=51.3, longitude=12.6)
    engine.dispose()


def join(gateway: UdpGateway, device: EndDevice) -> None:
    gateway.hear(device.join_request())
    answer = gateway.downlink()
    assert answer, "no JoinAccept"
    phy, txpk = answer
    assert txpk["tmst"] == (gateway.tmst + 5_000_000) % 2**32
    device.join_accept(phy)


def send(gateway: UdpGateway, device: EndDevice, payload: bytes = CLIMATE, *, confirmed: bool = False) -> None:
    gateway.hear(device.uplink(payload, confirmed=confirmed))


def answer(gateway: UdpGateway, device: EndDevice) -> tuple[Downlink, int]:
    """The downlink that follows, and how many µs after the uplink it is to begin."""
    found = gateway.downlink()
    assert found, "no downlink"
    phy, txpk = found
    return device.downlink(phy), (txpk["tmst"] - gateway.tmst) % 2**32


def until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end, f"{what} did not come"
        time.sleep(0.02)


def readings(nest: RunningNest, slug: str = "amsel", quantity: str = "temperature") -> list[list[float]]:
    return nest.api(f"/api/v1/nodes/{slug}/readings?quantity={quantity}")["readings"]


def frame_counters(folder: Path) -> list[int]:
    rows = sqlite3.connect(folder / "nest.db").execute("select fcnt from frames order by id").fetchall()
    return [row[0] for row in rows]


def queue(folder: Path, payload: bytes) -> None:
    engine = open_database(folder / "nest.db")
    node = Registry(engine).get("amsel")
    assert node
    DownlinkQueue(engine).add(node.id, 10, payload, confirmed=True)
    engine.dispose()


def test_a_reading_goes_from_the_gateway_to_the_api(folder: Path, nest: RunningNest, gateway: UdpGateway) -> None:
    device = EndDevice()
    register(folder, device)  # while the nest runs: known at once
    join(gateway, device)
    send(gateway, device)
    until(lambda: readings(nest), "the reading")
    node = nest.api("/api/v1/nodes/amsel")
    assert {name: value["value"] for name, value in node["values"].items()} == {
        "temperature": 21.4, "humidity": 56.5, "pressure": 1008.3, "battery": 3.87,
    }  # fmt: skip
    assert abs(readings(nest)[0][0] - time.time()) < LIMIT_S


def test_a_downlink_goes_out_in_the_window_that_was_asked_for(
    folder: Path, nest: RunningNest, gateway: UdpGateway
) -> None:
    device = EndDevice()
    register(folder, device)
    asked = time.monotonic()
    join(gateway, device)
    until(lambda: time.monotonic() > asked + 5.5, "the end of the JoinAccept")  # its gateway can send nothing beside it
    for window, payload in ((1, b"one"), (2, b"two")):
        done = nest_command("send", folder, "amsel", "--port", 10, "--hex", payload.hex(), "--window", window)
        assert done.returncode == 0, done.stderr
        send(gateway, device)
        downlink, delay = answer(gateway, device)
        assert (downlink.fport, downlink.payload, downlink.confirmed) == (10, payload, False)
        assert delay == window * 1_000_000
    assert nest.status()["downlinks_waiting"] == 0


def test_a_confirmed_uplink_is_acknowledged(folder: Path, gateway: UdpGateway) -> None:
    device = EndDevice()
    register(folder, device)
    join(gateway, device)
    send(gateway, device, confirmed=True)
    downlink, delay = answer(gateway, device)
    assert downlink.ack
    assert delay == 1_000_000


def test_two_gateways_give_one_reading(folder: Path, nest: RunningNest, gateway: UdpGateway) -> None:
    device = EndDevice()
    register(folder, device)
    join(gateway, device)
    second = UdpGateway(nest.ports["semtech_udp"], "bb" * 8)
    second.pull()
    phy = device.uplink(CLIMATE)
    gateway.hear(phy, rssi=-110)
    second.hear(phy, rssi=-50)
    until(lambda: readings(nest), "the reading")
    engine = open_database(folder / "nest.db")
    assert Archive(engine).counts() == {"frames": 1, "undecodable": 0, "readings": 1}
    with engine.begin() as connection:
        heard = json.loads(connection.exec_driver_sql("select heard from frames").scalar_one())
    engine.dispose()
    assert [entry["gateway"] for entry in heard] == ["bb" * 8, "aa" * 8]
    second.close()


def test_after_sigkill_the_nest_goes_on_without_a_new_join_and_without_a_gap(
    folder: Path, nest: RunningNest, gateway: UdpGateway
) -> None:
    device = EndDevice()
    register(folder, device)
    join(gateway, device)
    sent = 0
    for life in range(3):
        queue(folder, bytes([life]))
        for _ in range(4):
            send(gateway, device)
            sent += 1
        downlink, _ = answer(gateway, device)
        assert downlink.payload == bytes([life])
        assert downlink.fcnt >= life, "an FCntDown was used twice"
        gateway.downlinks.clear()
        # A PUSH_ACK comes before the processing and promises nothing; what stands in the database is promised.
        until(lambda: len(frame_counters(folder)) == sent, "the frames")  # noqa: B023  asked within this round
        if life == 1:  # once when everything is published, else as soon as the last frame is stored
            until(lambda: len(readings(nest)) == sent, "the readings")  # noqa: B023  asked within this round
        nest.kill()
        nest.start()
        gateway.close()
        gateway.__init__(nest.ports["semtech_udp"])
        gateway.pull()
    send(gateway, device)
    until(lambda: len(readings(nest)) == sent + 1, "all readings")
    assert frame_counters(folder) == list(range(sent + 1))
    engine = open_database(folder / "nest.db")
    assert len(Archive(engine).joins()) == 1
    engine.dispose()


def test_used_nonces_are_remembered_over_a_restart(folder: Path, nest: RunningNest, gateway: UdpGateway) -> None:
    device = EndDevice()
    register(folder, device)
    replayed = EndDevice().join_request()
    join(gateway, device)
    send(gateway, device)
    until(lambda: frame_counters(folder), "the frame")
    nest.kill()
    nest.start()
    gateway.close()
    gateway.__init__(nest.ports["semtech_udp"])
    gateway.pull()
    gateway.hear(replayed)
    assert gateway.downlink(timeout=0.6) is None
    join(gateway, device)  # asserts that the JoinNonce has risen
    send(gateway, device)
    until(lambda: len(frame_counters(folder)) == 2, "the uplink under the new session")


def test_frames_stored_but_not_decoded_are_decoded_at_the_next_start(
    folder: Path, nest: RunningNest, gateway: UdpGateway
) -> None:
    device = EndDevice()
    register(folder, device)
    join(gateway, device)
    send(gateway, device)
    until(lambda: frame_counters(folder), "the frame")
    nest.kill()  # within the 200 ms in which the frame waits for its copies, or just after: both must end well
    nest.start()
    assert [value for _, value in readings(nest)] == [21.4]


def test_what_is_wrong_is_counted_by_kind_and_stops_nothing(
    folder: Path, nest: RunningNest, gateway: UdpGateway
) -> None:
    device, stranger = EndDevice(1), EndDevice(2)
    register(folder, device)
    for junk in (b"", b"\x02", b"\x09abc", b"\x02ab\x00" + b"a" * 8 + b"{", b"\x02ab\x00" + b"\xff" * 300, bytes(2000)):
        gateway.datagram(junk)
    gateway.hear(b"\x40")  # not a LoRaWAN frame
    gateway.hear(stranger.join_request())
    forged = bytearray(device.join_request(99))
    forged[-1] ^= 1
    gateway.hear(bytes(forged))
    stranger.dev_addr = 0x01020304
    gateway.hear(stranger.uplink(b"x"))
    join(gateway, device)
    phy = device.uplink(CLIMATE)
    tampered = phy[:-1] + bytes([phy[-1] ^ 1])
    gateway.hear(phy)
    gateway.hear(tampered)
    send(gateway, device, b"\xff")  # a good frame whose payload nobody understands
    send(gateway, device)
    gateway.hear(phy)
    expected = {
        "malformed": 1, "unknown_device": 1, "unknown_session": 1, "mic_bad": 2, "join_accepted": 1, "accepted": 3,
        "readings": 2, "undecodable": 1,
    }  # fmt: skip

    def counted() -> dict[str, int]:
        counters = nest.api("/api/v1/status")["counters"]
        return {kind: counters.get(kind, 0) for kind in expected}

    until(lambda: counted() == expected, f"{expected}")
    until(lambda: {**nest.status()["counters"], **expected} == nest.status()["counters"], "the same in nest status")
    counters = nest.status()["counters"]
    assert sum(counters.get(kind, 0) for kind in ("replay", "late_copy", "duplicate", "retransmission")) == 1
    assert sum(count for kind, count in counters.items() if kind.startswith("datagram_")) >= 4
    assert len(readings(nest)) == 2
    shown = nest_command("status", folder).stdout
    assert "mic_bad" in shown
    assert "aaaaaaaaaaaaaaaa" in shown


def test_counters_go_on_after_a_restart(folder: Path, nest: RunningNest, gateway: UdpGateway) -> None:
    gateway.hear(b"\x40")
    assert nest.terminate()[0] == 0
    assert nest.status()["running"] is False
    assert nest.status()["counters"]["malformed"] == 1
    nest.start()
    assert nest.status()["running"] is True
    assert nest.status()["counters"]["malformed"] == 1


def test_a_removed_node_is_forgotten_by_the_running_nest(folder: Path, nest: RunningNest, gateway: UdpGateway) -> None:
    device = EndDevice()
    register(folder, device)
    join(gateway, device)
    send(gateway, device)
    until(lambda: readings(nest), "the reading")
    assert nest_command("nodes", "remove", folder, "amsel").returncode == 0

    def unknown() -> bool:
        send(gateway, device)
        return nest.api("/api/v1/status")["counters"].get("unknown_session", 0) > 0

    until(unknown, "the refusal")
    gateway.hear(device.join_request())
    assert gateway.downlink(timeout=0.6) is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_nest_ends_promptly_while_somebody_listens(nest: RunningNest, number: int) -> None:
    browser = socket.create_connection(("127.0.0.1", nest.ports["web"]))
    browser.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
    assert browser.recv(100).startswith(b"HTTP/1.1 200")
    subscriber = socket.create_connection(("127.0.0.1", nest.ports["mqtt"]))
    subscriber.sendall(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01x")
    assert subscriber.recv(4) == b"\x20\x02\x00\x00"
    status, seconds = nest.terminate(number)
    assert status == 0
    assert seconds < PROMPTLY_S
    assert "Traceback" not in nest.log()
    browser.close()
    subscriber.close()


def test_the_nest_ends_promptly_while_the_database_is_busy(
    folder: Path, nest: RunningNest, gateway: UdpGateway
) -> None:
    device = EndDevice(0xAB)
    register(folder, device)
    join(gateway, device)  # so there is airtime to be noted for the next run, too
    other = sqlite3.connect(folder / "nest.db", isolation_level=None)
    other.execute("begin immediate")
    status, seconds = nest.terminate()
    other.close()
    assert status == 0
    assert seconds < PROMPTLY_S
    assert nest.status()["running"] is False


def test_two_nests_on_one_town_are_refused(folder: Path, nest: RunningNest) -> None:
    done = nest_command("run", folder)
    assert done.returncode == 2
    assert "running already" in done.stderr
    assert nest.api("/health")["status"] == "ok"


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 on this machine")
def test_a_page_for_ipv6_is_there_for_ipv4_too(tmp_path: Path) -> None:
    made = town.create(tmp_path / "six", "Sechs", udp_port=0, web_port=0, mqtt_port=0, udp_host="::", web_host="::")
    with RunningNest(made.path) as nest:
        for address in ("127.0.0.1", "::1"):
            socket.create_connection((address, nest.ports["web"]), timeout=LIMIT_S).close()


def test_keys_appear_nowhere(folder: Path, nest: RunningNest, gateway: UdpGateway) -> None:
    device = EndDevice(0xAB)
    register(folder, device)
    join(gateway, device)
    send(gateway, device)
    until(lambda: readings(nest), "the reading")
    shown = nest.log() + json.dumps(nest.status()) + json.dumps(nest.api("/api/v1/nodes"))
    shown += json.dumps(nest.api("/api/v1/status")) + nest_command("nodes", "list", folder, "--json").stdout
    for key in (device.app_key, device.nwk_skey, device.app_skey):
        assert key.hex() not in shown.lower()


def test_a_broker_that_is_away_does_not_stop_the_nest(folder: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        settings = (folder / "town.toml").read_text()
        url = f'url = "mqtt://me:secret@127.0.0.1:{closed.getsockname()[1]}"'
        (folder / "town.toml").write_text(settings.replace('url = ""\nca_file', f"{url}\nca_file"))
        device = EndDevice()
        register(folder, device)
        with RunningNest(folder) as nest:
            gateway = UdpGateway(nest.ports["semtech_udp"])
            gateway.pull()
            join(gateway, device)
            send(gateway, device)
            until(lambda: readings(nest), "the reading")
            until(lambda: nest.status()["mqtt"]["trouble"], "the trouble")
            assert nest.status()["mqtt"]["connected"] is False
            assert "is away" in nest.log()
            assert "Start it, or correct url under [mqtt] in town.toml." in nest.log()
            assert "secret" not in nest.log() + json.dumps(nest.status())
            assert nest.terminate()[1] < PROMPTLY_S
            gateway.close()
