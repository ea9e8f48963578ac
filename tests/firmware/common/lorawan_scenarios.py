"""Exchanges between a node and a network, told step by step; `lorawan_network` computes every byte of both sides.

CPython only. `build()` gives what stands in tests/vectors/exchanges.json, which `dual/mac.py` plays on both
interpreters: run this file to write it again. The node's random numbers are all 0, so it takes the lowest free channel.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lorawan_network as network

VECTORS = Path(__file__).resolve().parents[2] / "vectors" / "exchanges.json"

APP_KEY = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
DEV_EUI = bytes.fromhex("70b3d5fffe123456")
JOIN_EUI = bytes.fromhex("70b3d57ed0000001")
NET_ID = 0x000013
DEV_ADDR = 0x26011BDA
CHANNELS = (868100000, 868300000, 868500000)
RX2 = 869525000
SPREADING = {0: 12, 1: 11, 2: 10, 3: 9, 4: 8, 5: 7}

Step = dict[str, Any]
USUAL_CFLIST = network.cflist(867100000, 867300000, 867500000, 867700000, 867900000)
ADR, ACK, FPENDING = 0x80, 0x20, 0x10


def hexed(air: list[bytes | None]) -> list[str | None]:
    return [None if frame is None else frame.hex() for frame in air]


class Story:
    """One node and its network; each call adds a step: what the node is to do, what the air answers, what follows."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.steps: list[Step] = []
        self.fcnt_up = 0
        self.turn = 0
        self.join_turn = 0
        self.channels = CHANNELS
        self.rx1_delay_s = 1
        self.rx1_dr_offset = 0
        self.rx2 = (RX2, 0)
        self.dr = 5
        self.nwk_skey = self.app_skey = bytes(16)

    def accept(self, join_nonce: int, **fields: Any) -> bytes:
        return network.join_accept(APP_KEY, join_nonce=join_nonce, net_id=NET_ID, dev_addr=DEV_ADDR, **fields)

    def down(self, fcnt: int, *, dev_addr: int = DEV_ADDR, **fields: Any) -> bytes:
        return network.data_frame(self.nwk_skey, self.app_skey, dev_addr, fcnt, direction=1, **fields)

    def join(
        self, dev_nonce: int, air: list[bytes | None], *, window: int, dr: int = 5, join_nonce: int = 0, **session: Any
    ) -> Story:
        """window: where the JoinAccept that counts stands, 0 for none. session: what the session must then hold."""
        freq = CHANNELS[self.join_turn % 3]
        self.join_turn += 1
        self.steps.append(
            {
                "do": "join",
                "dev_nonce": dev_nonce,
                "dr": dr,
                "air": hexed(air),
                "transmits": network.join_request(APP_KEY, JOIN_EUI, DEV_EUI, dev_nonce).hex(),
                "on": [freq, SPREADING[dr]],
                "listens": [[1, 5, freq, SPREADING[dr]], [2, 6, RX2, 12]][: len(air)],
                "window": window,
            }
        )
        if window:
            self.nwk_skey, self.app_skey = network.session_keys(APP_KEY, join_nonce, NET_ID, dev_nonce)
            self.fcnt_up = self.turn = 0
            self.dr = dr
            self.channels = tuple(f for f in session.get("channels", [*CHANNELS]) if f)
            self.rx1_delay_s = session.get("rx1_delay_s", 1)
            self.rx1_dr_offset = session.get("rx1_dr_offset", 0)
            self.rx2 = (session.get("rx2_freq_hz", RX2), session.get("rx2_dr", 0))
            self.session(
                dev_addr=DEV_ADDR,
                net_id=NET_ID,
                nwk_skey=self.nwk_skey.hex(),
                app_skey=self.app_skey.hex(),
                fcnt_up=0,
                fcnt_down=-1,
                dr=dr,
                **session,
            )
        return self

    def uplink(
        self,
        air: list[bytes | None],
        *,
        payload: bytes = b"\x01\x02\x03",
        port: int = 1,
        confirmed: bool = False,
        fctrl: int = 0,
        fopts: bytes = b"",
        window: int = 0,
        **outcome: Any,
    ) -> Story:
        """fctrl (besides ADR), fopts: what the node must put into its frame. outcome: what it must say of it."""
        freq = self.channels[self.turn % len(self.channels)]
        self.turn += 1
        rx1_dr = max(self.dr - self.rx1_dr_offset, 0)
        frame = network.data_frame(
            self.nwk_skey,
            self.app_skey,
            DEV_ADDR,
            self.fcnt_up,
            direction=0,
            port=port,
            payload=payload,
            confirmed=confirmed,
            fctrl=fctrl | ADR,
            fopts=fopts,
        )
        self.steps.append(
            {
                "do": "uplink",
                "port": port,
                "payload": payload.hex(),
                "confirmed": confirmed,
                "air": hexed(air),
                "transmits": frame.hex(),
                "on": [freq, SPREADING[self.dr]],
                "listens": [
                    [1, self.rx1_delay_s, freq, SPREADING[rx1_dr]],
                    [2, self.rx1_delay_s + 1, self.rx2[0], SPREADING[self.rx2[1]]],
                ][: len(air)],
                "window": window,
                "outcome": {"fcnt": self.fcnt_up, "acked": False if confirmed else None, "downlinks": [], **outcome},
            }
        )
        self.fcnt_up += 1
        return self

    def session(self, **attributes: Any) -> Story:
        """What the session must hold now."""
        self.steps[-1].setdefault("session", {}).update(attributes)
        return self

    def windows(self, *, rx1_delay_s: int, rx1_dr_offset: int, rx2: tuple[int, int]) -> Story:
        """From here on the node must listen like this."""
        self.rx1_delay_s, self.rx1_dr_offset, self.rx2 = rx1_delay_s, rx1_dr_offset, rx2
        return self


def joined(name: str) -> Story:
    story = Story(name)
    return story.join(0, [story.accept(1)], window=1, join_nonce=1)


def spoiled(frame: bytes) -> bytes:
    return frame[:-1] + bytes([frame[-1] ^ 1])


def joins() -> list[Story]:
    stories = []
    for rx_delay in range(16):
        story = Story(f"RXDelay {rx_delay}")
        accept = story.accept(1, rx_delay=rx_delay)
        story.join(7, [accept], window=1, join_nonce=1, rx1_delay_s=rx_delay or 1).uplink([None, None])
        stories.append(story)
    settings = [(offset, offset % 6) for offset in range(8)] + [(1, rx2_dr) for rx2_dr in range(16) if rx2_dr != 6]
    for offset, rx2_dr in settings:
        story = Story(f"DLSettings: RX1DROffset {offset}, RX2 DR{rx2_dr}")
        story.join(
            9,
            [None, story.accept(1, dl_settings=offset << 4 | rx2_dr, rx_delay=5)],
            window=2,
            dr=4,
            join_nonce=1,
            rx1_delay_s=5,
            rx1_dr_offset=offset if offset <= 5 else 0,  # reserved values leave the region's default
            rx2_dr=rx2_dr if rx2_dr <= 5 else 0,
        ).uplink([None, None])
        stories.append(story)
    lists = (
        ("the usual five", USUAL_CFLIST, [867100000, 867300000, 867500000, 867700000, 867900000]),
        ("one left out", network.cflist(867100000, 0, 867500000), [867100000, 0, 867500000]),
        ("not to be transmitted on", network.cflist(862000000, 870100000, 868650000, 1600000000, 867900000),
         [0, 0, 0, 0, 867900000]),
        ("none in it", network.cflist(), []),
        ("of type 1, channel masks", network.cflist(867100000, 867300000, kind=1), []),
        ("of a reserved type", network.cflist(867100000, kind=7), []),
    )  # fmt: skip
    for name, cflist, freqs in lists:
        story = Story("CFList " + name)
        channels = ([*CHANNELS, *freqs] + [0] * 16)[:16]
        mask = sum(1 << index for index, freq in enumerate(channels) if freq)
        story.join(1, [story.accept(1, cflist=cflist)], window=1, join_nonce=1, channels=channels, channel_mask=mask)
        for _ in range(9):  # more than all channels: every one once, then again
            story.uplink([None, None])
        stories.append(story)

    story = Story("Join at each data rate, answered at last, in RX2")
    for attempt, dr in enumerate((5, 4, 3, 2, 1, 0)):
        story.join(attempt, [None, None], window=0, dr=dr)
    story.join(6, [None, story.accept(3)], window=2, dr=0, join_nonce=3).uplink([None, None])
    stories.append(story)

    story = Story("Join answered by what is not for it")
    accept = story.accept(5)
    for air in (
        [spoiled(accept), b""],
        [network.join_accept(bytes(16), join_nonce=5, net_id=1, dev_addr=1), accept[:-1]],
        [b"\x60" + accept[1:], b"\x21" + accept[1:]],
        [bytes(17), bytes(255)],
    ):
        story.join(1, list(air), window=0)
    story.join(2, [spoiled(accept), accept], window=2, join_nonce=5)
    stories.append(story)

    story = Story("An old JoinAccept is refused, and the session stays")
    first = story.accept(5)
    story.join(1, [first], window=1, join_nonce=5).uplink([None, None])
    story.join(2, [first, story.accept(4)], window=0).session(fcnt_up=1, dev_addr=DEV_ADDR)
    story.uplink([None, None])
    story.join(3, [first, story.accept(6)], window=2, join_nonce=6).uplink([None, None])
    stories.append(story)
    return stories


def uplinks() -> list[Story]:
    stories = []
    story = joined("Silence: two windows, the counter goes on, every channel once before any again")
    for _ in range(7):
        story.uplink([None, None])
    story.session(fcnt_up=7, fcnt_down=-1)
    stories.append(story)

    story = joined("A downlink in RX1 closes RX2")
    down = story.down(0, port=10, payload=b"hello")
    story.uplink([down], window=1, downlinks=[[10, b"hello".hex(), 0]]).session(fcnt_down=0).uplink([None, None])
    stories.append(story)

    story = joined("A downlink in RX2")
    story.uplink([None, story.down(3, port=223, payload=bytes(50))], window=2, downlinks=[[223, "00" * 50, 3]])
    stories.append(story.session(fcnt_down=3))

    story = joined("What does not pass in RX1 leaves RX2 open")
    good = story.down(0, port=1, payload=b"\x2a")
    for number, bad in enumerate(
        (
            spoiled(good),
            story.down(0, dev_addr=DEV_ADDR ^ 1, port=1, payload=b"x"),
            good[:11],
            b"",
            story.down(0, port=0, payload=b"\x06", fopts=b"\x06"),
            network.data_frame(story.nwk_skey, story.app_skey, DEV_ADDR, 0, direction=0, port=1),
            story.accept(9),
        )
    ):
        fcnt = number
        good = story.down(fcnt, port=1, payload=b"\x2a")
        story.uplink([bad, good], window=2, downlinks=[[1, "2a", fcnt]]).session(fcnt_down=fcnt)
    story.uplink([spoiled(good), spoiled(good)]).session(fcnt_down=6, ack_owed=False)
    stories.append(story)

    story = joined("A replay is refused")
    down = story.down(5, port=2, payload=b"on")
    story.uplink([down], window=1, downlinks=[[2, b"on".hex(), 5]])
    story.uplink([down, story.down(4, port=2, payload=b"off")]).session(fcnt_down=5)
    story.uplink([down, story.down(6, port=2, payload=b"off")], window=2, downlinks=[[2, b"off".hex(), 6]])
    stories.append(story)

    story = joined("The downlink counter leaps and rolls over; no gap is too wide below 65536")
    for fcnt in (40000, 65535, 65536, 131071, 131072 + 30000):
        story.uplink([story.down(fcnt, port=3, payload=b"")], window=1, downlinks=[[3, "", fcnt]])
        story.session(fcnt_down=fcnt)
    stories.append(story)

    story = joined("Confirmed uplinks: acknowledged, not acknowledged, answered without")
    story.uplink([story.down(0, fctrl=ACK)], confirmed=True, window=1, acked=True, ok=True)
    story.uplink([None, None], confirmed=True, ok=False)
    down = story.down(1, port=4, payload=b"!")
    story.uplink([None, down], confirmed=True, window=2, downlinks=[[4, "21", 1]], ok=False)
    story.uplink([None, story.down(2, fctrl=ACK)], confirmed=True, window=2, acked=True)
    story.uplink([story.down(3, fctrl=ACK)], window=1, ok=True)  # an ACK nobody asked for means nothing
    stories.append(story)

    story = joined("A confirmed downlink is acknowledged in the next uplink, once")
    story.uplink([story.down(0, port=7, payload=b"?", confirmed=True)], window=1, downlinks=[[7, "3f", 0]])
    story.session(ack_owed=True)
    story.uplink([None, None], fctrl=ACK).session(ack_owed=False).uplink([None, None])
    story.uplink([None, story.down(1, confirmed=True)], window=2)
    down = story.down(2, port=7, payload=b"??", confirmed=True)
    story.uplink([down], fctrl=ACK, window=1, downlinks=[[7, "3f3f", 2]])
    story.uplink([None, None], fctrl=ACK)
    stories.append(story)

    story = joined("FPending is reported")
    down = story.down(0, port=1, payload=b"a", fctrl=FPENDING)
    story.uplink([down], window=1, downlinks=[[1, "61", 0]], pending=True)
    story.uplink([story.down(1, port=1, payload=b"b")], window=1, downlinks=[[1, "62", 1]], pending=False)
    stories.append(story)

    story = joined("Reserved ports count and are acknowledged, but are nothing for the application")
    for fcnt, port in enumerate((224, 225, 255)):
        story.uplink([story.down(fcnt, port=port, payload=b"x")], window=1).session(fcnt_down=fcnt)
    stories.append(story)
    return stories


def answers() -> list[Story]:
    """MAC commands in downlinks, and what stands in the next uplinks."""
    stories = []
    for where in ("FOpts", "FPort 0"):
        story = joined(f"RXTimingSetup in {where}: used from the next uplink, answered until a downlink comes")
        block = b"\x08\x05"
        fields: dict[str, Any] = {"fopts": block} if where == "FOpts" else {"port": 0, "payload": block}
        story.uplink([story.down(0, **fields)], window=1).session(rx1_delay_s=5)
        story.windows(rx1_delay_s=5, rx1_dr_offset=0, rx2=(RX2, 0))
        story.uplink([None, None], fopts=b"\x08").uplink([None, None], fopts=b"\x08")
        story.uplink([story.down(1)], fopts=b"\x08", window=1).uplink([None, None])
        stories.append(story)

    story = joined("RXParamSetup moves RX2 and RX1")
    story.uplink([story.down(0, fopts=b"\x05\x13" + (8694960).to_bytes(3, "little"))], window=1)
    story.session(rx2_freq_hz=869496000, rx2_dr=3, rx1_dr_offset=1)
    story.windows(rx1_delay_s=1, rx1_dr_offset=1, rx2=(869496000, 3))
    story.uplink([None, None], fopts=b"\x05\x07")
    story.uplink([None, story.down(1, port=5, payload=b"x")], fopts=b"\x05\x07", window=2, downlinks=[[5, "78", 1]])
    story.uplink([None, None])
    stories.append(story)

    story = joined("DevStatus is answered once, with commands beside it in order, and data beside them")
    # RXTimingSetup, DevStatus, a LinkCheckAns that nobody asked for, LinkADR with what is already so
    block = b"\x08\x02\x06\x02\x07\x01\x03\x50\x07\x00\x01"
    story.uplink([story.down(0, fopts=block, port=9, payload=b"d")], window=1, downlinks=[[9, "64", 0]])
    story.windows(rx1_delay_s=2, rx1_dr_offset=0, rx2=(RX2, 0))
    story.uplink([None, None], fopts=b"\x08\x06\xff\x07\x03\x07").uplink([None, None], fopts=b"\x08")
    stories.append(story)

    story = Story("Answers give way to the payload")
    story.join(0, [None, story.accept(1)], window=2, dr=0, join_nonce=1)
    story.uplink([story.down(0, fopts=b"\x06\x08\x01")], window=1)
    story.uplink([None, None], payload=bytes(48), fopts=b"\x06\xff\x07")
    story.uplink([None, None], payload=bytes(50), fopts=b"\x08").uplink([None, None], fopts=b"\x08")
    stories.append(story)

    story = joined("A block full of nonsense changes nothing")
    story.uplink([story.down(0, port=0, payload=b"\xff\x08\x05" + bytes(100))], window=1).uplink([None, None])
    story.uplink([story.down(1, fopts=b"\x05\x13")], window=1).session(rx1_dr_offset=0, rx1_delay_s=1)
    stories.append(story.uplink([None, None]))
    return stories


def build() -> dict[str, Any]:
    return {
        "source": "computed by tests/firmware/common/lorawan_scenarios.py with the cryptography package",
        "app_key": APP_KEY.hex(),
        "dev_eui": DEV_EUI.hex(),
        "join_eui": JOIN_EUI.hex(),
        "heard": {"rssi": -97, "snr": 7.25},
        "stories": [{"name": story.name, "steps": story.steps} for story in [*joins(), *uplinks(), *answers()]],
    }


def text() -> str:
    """The file, one step a line."""
    whole = build()
    stories = whole.pop("stories")
    head = json.dumps(whole, indent=1)[:-2]
    told = []
    for story in stories:
        steps = ",\n".join(json.dumps(step) for step in story["steps"])
        told.append('{"name": ' + json.dumps(story["name"]) + ', "steps": [\n' + steps + "\n]}")
    return head + ',\n "stories": [\n' + ",\n".join(told) + "\n]\n}\n"


if __name__ == "__main__":
    VECTORS.write_text(text(), encoding="utf-8")
