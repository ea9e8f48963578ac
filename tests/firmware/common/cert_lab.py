"""The test tool of the virtual laboratory: it knows what a certifier knows, and speaks to the device over `cert_air`.

CPython only; every byte of the network's side comes from `lorawan_network`. `Lab.join` and `Lab.uplink` let the device
do one exchange, answer it as told, and look at everything that holds for every exchange: frequencies, data rates,
windows, power, counters, MIC, repetitions. A scenario then looks at what it is about.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import lorawan_network as network
from cert_air import NEEDED, PREAMBLE, Air, Down, Sent, Window, symbol_us
from cert_devices import DutError
from cert_terms import (
    ACK,
    ADR,
    ADR_ACK_REQ,
    APP_KEY,
    DATA_RATES,
    DEFAULT_CHANNELS,
    DEV_ADDR,
    DEV_EUI,
    JOIN_EUI,
    MAX_EIRP_DBM,
    NET_ID,
    RX2_HZ,
    SUB_BANDS,
)  # fmt: skip

Reply = bytes | Down | None


@dataclass
class Up:
    """A data frame of the device, decrypted."""

    sent: Sent
    confirmed: bool
    fctrl: int
    fcnt: int
    fopts: bytes
    port: int | None
    payload: bytes
    dr: int

    @property
    def ack(self) -> bool:
        return bool(self.fctrl & ACK)

    @property
    def adr(self) -> bool:
        return bool(self.fctrl & ADR)

    @property
    def adr_ack_req(self) -> bool:
        return bool(self.fctrl & ADR_ACK_REQ)


@dataclass
class Exchange:
    """What the device did: its frame, once for each transmission, the windows of each, and what it says came of it.

    ahead: the transmissions of a frame of MAC answers on FPort 0 that went ahead of it; windows has theirs first.
    """

    ups: list[Up] = field(default_factory=list)
    ahead: list[Up] = field(default_factory=list)
    windows: list[list[Window]] = field(default_factory=list)
    outcome: Any = None

    @property
    def up(self) -> Up:
        return self.ups[0]

    @property
    def downlinks(self) -> list[tuple[int, bytes, int]]:
        return [(port, bytes.fromhex(payload), fcnt) for port, payload, fcnt in self.outcome.downlinks]


class Lab:
    """dut: CPythonDut or MicroPythonDut. What stands here is the certifier's view; a scenario changes it as commands
    are accepted (`rx1_delay_s`, `rx1_dr_offset`, `rx2_hz`, `rx2_dr`, `channels`, `dl_hz`, `dr`, `tx_power`)."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self.air = Air()
        dut.perform = self.air.perform
        self.limit_dbm = MAX_EIRP_DBM
        self.dev_nonce = 0
        self.join_nonce = 0
        self.joins: list[Sent] = []
        self.new()

    # --- the device

    def new(self, **settings: Any) -> Lab:
        """A device with factory settings; see `cert_dut.Dut.do_new`."""
        self.limit_dbm = min(MAX_EIRP_DBM, settings.get("max_eirp_dbm") or MAX_EIRP_DBM)
        self.dev_nonce = self.join_nonce = 0
        self.order("new", dev_eui=DEV_EUI.hex(), join_eui=JOIN_EUI.hex(), app_key=APP_KEY.hex(), **settings)
        return self

    def restart(self, *, power_cut: bool = False) -> None:
        """A reset of the processor; a power cut costs counters that were reserved ahead, which the tool skips."""
        self.order("restart", power_cut=power_cut)
        if power_cut and (session := self.session()):
            assert session.fcnt_up >= self.fcnt_up, "FCntUp went back"
            self.fcnt_up = session.fcnt_up

    def order(self, do: str, **arguments: Any) -> Any:
        said = self.dut.do({"do": do, "now_ms": self.now_ms, **arguments})
        if "error" in said:
            raise DutError(*said["error"])
        return said["value"]

    def session(self) -> Any:
        """What the device remembers; None without a session."""
        got = self.order("session")
        return SimpleNamespace(**got) if got else None

    def set(self, **values: Any) -> None:
        for name, value in values.items():
            self.order("set", name=name, value=value)

    @property
    def now_ms(self) -> int:
        return self.air.now_us // 1000

    def wait(self, seconds: float) -> None:
        self.air.sleep(seconds)

    def patiently(self, ask: Callable[[], Any]) -> Any:
        """What `ask` gives; where the law leaves no airtime, after as much time as the device says."""
        for _ in range(3):
            try:
                return ask()
            except DutError as error:
                if error.kind != "NoAirtime":
                    raise
                self.wait((error.wait_ms or 0) / 1000)
        return ask()

    # --- the network's frames

    def accept(self, *, join_nonce: int | None = None, key: bytes = APP_KEY, **fields: Any) -> bytes:
        """A JoinAccept, with the next JoinNonce unless told otherwise. fields: dl_settings, rx_delay, cflist."""
        if join_nonce is None:
            self.join_nonce += 1
            join_nonce = self.join_nonce
        frame = network.join_accept(key, join_nonce=join_nonce, net_id=NET_ID, dev_addr=DEV_ADDR, **fields)
        self._accepts[frame] = {"join_nonce": join_nonce, **fields}
        return frame

    _accepts: dict[bytes, dict[str, Any]] = {}  # noqa: RUF012 - frames are unique

    def down(self, *, fcnt: int | None = None, dev_addr: int = DEV_ADDR, **fields: Any) -> bytes:
        """A downlink with the next FCntDown unless told otherwise. fields: port, payload, confirmed, fctrl, fopts."""
        if fcnt is None:
            fcnt = self.fcnt_down
        self.fcnt_down = fcnt + 1
        return network.data_frame(self.nwk_skey, self.app_skey, dev_addr, fcnt, direction=1, **fields)

    # --- activation

    def join(self, *, dr: int | None = None, rx1: Reply | str = "good", rx2: Reply = None, late_us: int = 0) -> Any:
        """One JoinRequest, answered; by default with a good JoinAccept in RX1. Returns the device's word, or None."""
        if isinstance(rx1, str):
            rx1 = self.accept() if rx2 is None else None
        began = len(self.air.log)

        def answer(sent: Sent) -> None:
            sf, bw = sent.sf, sent.bw_hz
            self._reply(rx1, sent.end_us + 5_000_000 + late_us, sent.freq_hz, sf, bw)
            self._reply(rx2, sent.end_us + 6_000_000 + late_us, RX2_HZ, *DATA_RATES[0])

        self.air.on_transmit = answer
        got = self.patiently(lambda: self.order("join", dr=dr))
        sent, *windows = self.air.log[began:]
        assert isinstance(sent, Sent)
        self.joins.append(sent)
        nonce = int.from_bytes(sent.frame[17:19], "little")
        assert sent.frame == network.join_request(APP_KEY, JOIN_EUI, DEV_EUI, nonce), "JoinRequest"
        assert nonce >= self.dev_nonce, "DevNonce used again"
        self.dev_nonce = nonce + 1
        assert sent.freq_hz in DEFAULT_CHANNELS.values()
        assert sent.eirp_dbm == self.limit_dbm
        places = [(1, 5_000_000, sent.freq_hz, sent.sf, sent.bw_hz), (2, 6_000_000, RX2_HZ, *DATA_RATES[0])]
        self._look_at_windows(sent, windows, places[:1] if got and got["window"] == 1 else places)
        if got:
            heard = self._heard(windows[-1])
            self._activated(self._accepts[heard], nonce, sent)
        self.wait(10)
        return SimpleNamespace(**got) if got else None

    def _activated(self, accept: dict[str, Any], dev_nonce: int, sent: Sent) -> None:
        self.nwk_skey, self.app_skey = network.session_keys(APP_KEY, accept["join_nonce"], NET_ID, dev_nonce)
        self.fcnt_up = self.fcnt_down = 0
        settings = accept.get("dl_settings", 0)
        self.rx1_delay_s = accept.get("rx_delay", 0) & 0x0F or 1
        self.rx1_dr_offset, self.rx2_dr, self.rx2_hz = settings >> 4 & 7, settings & 0x0F, RX2_HZ
        self.channels = dict(DEFAULT_CHANNELS)
        self.dl_hz: dict[int, int] = {}
        self.dr = next(dr for dr, rate in DATA_RATES.items() if rate == (sent.sf, sent.bw_hz))
        self.tx_power = 0
        self.nb_trans = 1

    # --- uplinks

    def uplink(
        self,
        payload: bytes = b"\x01\x02\x03",
        *,
        port: int = 1,
        confirmed: bool = False,
        rx1: Reply = None,
        rx2: Reply = None,
        replies: Sequence[tuple[Reply, Reply]] = (),
        late_us: int = 0,
        certified: bool = False,
        patient: bool = True,
        gap_s: float = 10,
    ) -> Exchange:
        """One uplink. rx1, rx2: what the network sends in the windows of its first transmission; replies: of each.

        patient: whether it is tried again when the device says that there is no airtime yet. gap_s: pause after it.
        """
        plan = [*replies] or [(rx1, rx2)]
        began = len(self.air.log)
        exchange = Exchange()

        def answer(sent: Sent) -> None:
            if exchange.ups and sent.frame != exchange.up.sent.frame:
                assert not exchange.ahead, "a third frame, or a repetition that differs"
                assert exchange.up.port == 0, "a repetition differs"
                exchange.ahead, exchange.ups = exchange.ups, []
                self.fcnt_up += 1
            up = self._decoded(sent)
            exchange.ups.append(up)
            first, second = plan.pop(0) if plan else (None, None)
            for reply, (_, delay_us, *place) in zip((first, second), self._places(up), strict=True):
                self._reply(reply, sent.end_us + delay_us + late_us, *place)

        self.air.on_transmit = answer
        do = "certified_uplink" if certified else "uplink"
        arguments = {"port": port, "payload": payload.hex(), "confirmed": confirmed}
        got = self.patiently(lambda: self.order(do, **arguments)) if patient else self.order(do, **arguments)
        exchange.outcome = SimpleNamespace(**got)
        for entry in self.air.log[began:]:
            if isinstance(entry, Sent):
                exchange.windows.append([])
            else:
                exchange.windows[-1].append(entry)
        self._look_at(exchange)
        self.wait(gap_s)
        return exchange

    def _places(self, up: Up) -> list[tuple[int, int, int, int, int]]:
        """Where the certifier expects the two windows: number, delay_us, freq_hz, sf, bw_hz."""
        delay_us = self.rx1_delay_s * 1_000_000
        index = next(index for index, freq in self.channels.items() if freq == up.sent.freq_hz)
        rx1 = DATA_RATES[max(up.dr - self.rx1_dr_offset, 0)]
        return [
            (1, delay_us, self.dl_hz.get(index, up.sent.freq_hz), *rx1),
            (2, delay_us + 1_000_000, self.rx2_hz, *DATA_RATES[self.rx2_dr]),
        ]

    def _decoded(self, sent: Sent) -> Up:
        phy = sent.frame
        assert len(phy) >= 12
        assert phy[0] in (0x40, 0x80), "MHDR"
        assert int.from_bytes(phy[1:5], "little") == DEV_ADDR
        size = phy[5] & 0x0F
        fopts, rest = phy[8 : 8 + size], phy[8 + size : -4]
        port = rest[0] if rest else None
        fcnt = self.fcnt_up
        confirmed = phy[0] == 0x80
        key = self.app_skey if port else self.nwk_skey
        payload = network.crypt(key, DEV_ADDR, fcnt, 0, rest[1:])
        fields = {"port": port, "payload": payload, "fctrl": phy[5] & 0xF0, "fopts": fopts, "confirmed": confirmed}
        whole = network.data_frame(self.nwk_skey, self.app_skey, DEV_ADDR, fcnt, direction=0, **fields)
        assert whole == phy, f"FCntUp is not {fcnt}, or MIC, or encryption: {phy.hex()}, {whole.hex()}"
        assert not (fopts and port == 0), "FOpts with FPort 0"
        dr = next(dr for dr, rate in DATA_RATES.items() if rate == (sent.sf, sent.bw_hz))
        return Up(sent, confirmed, phy[5] & 0xF0, fcnt, fopts, port, payload, dr)

    def _look_at(self, exchange: Exchange) -> None:
        """What holds of every uplink and its windows."""
        outcome = exchange.outcome
        assert exchange.ups
        assert outcome.fcnt == self.fcnt_up
        ups = exchange.ahead + exchange.ups
        assert outcome.repeats == len(exchange.ups)
        for number, (up, windows) in enumerate(zip(ups, exchange.windows, strict=True)):
            assert up.dr == self.dr
            assert up.sent.eirp_dbm == min(MAX_EIRP_DBM - 2 * self.tx_power, self.limit_dbm), "power"
            last = up in (exchange.ups[-1], *exchange.ahead[-1:])
            places = self._places(up)
            closed = last and outcome.window == 1 and bool(windows[0].heard)
            self._look_at_windows(up.sent, windows, places[:1] if closed else places)
            if number < len(ups) - 1:
                assert ups[number + 1].sent.start_us >= windows[-1].close_us, "sent before RX2 was over"
        self.fcnt_up += 1

    def _look_at_windows(self, sent: Sent, windows: list[Any], places: list[tuple[int, int, int, int, int]]) -> None:
        """Right place, and open long enough for a downlink that comes at the very moment it should."""
        got = [(window.number, window.freq_hz, window.sf, window.bw_hz) for window in windows]
        assert got == [(number, *place) for number, _, *place in places]
        for window, (_, delay_us, *_) in zip(windows, places, strict=True):
            nominal, symbol = sent.end_us + delay_us, symbol_us(window.sf, window.bw_hz)
            assert window.open_us <= nominal + (PREAMBLE - NEEDED) * symbol, "too late"
            assert window.close_us >= nominal + NEEDED * symbol - 1, "closed too early"

    def _reply(self, reply: Reply, at_us: int, freq_hz: int, sf: int, bw_hz: int) -> None:
        if isinstance(reply, Down):
            self.air.add(reply)
        elif reply is not None:
            self.air.add(Down(at_us, freq_hz, sf, bw_hz, reply))

    @staticmethod
    def _heard(window: Any) -> bytes:
        assert window.heard is not None
        return window.heard

    def command(self, block: bytes, **fields: Any) -> bytes:
        """MAC commands in FOpts of a downlink in RX1 (on FPort 0 when they are too long); the FOpts of the uplink
        that answers. The windows, channels and data rates of that uplink are those of before."""
        down = self.down(fopts=block, **fields) if len(block) <= 15 else self.down(port=0, payload=block)
        assert self.uplink(rx1=down).outcome.window == 1
        return self.answer()

    def answer(self) -> bytes:
        """The FOpts of the next uplink, which is answered so that nothing is repeated."""
        return self.uplink(rx1=self.down()).up.fopts

    # --- the law

    def busiest_hour(self) -> dict[int, float]:
        """For each sub-band the greatest share of its limit that any sliding hour used; 1 is all of it."""
        shares: dict[int, float] = {}
        for index, (low, high, limit) in enumerate(SUB_BANDS):
            sent = [s for s in self.air.log if isinstance(s, Sent) and low <= s.freq_hz <= high]
            for one in sent:
                since = one.end_us - 3_600_000_000
                used = sum(min(s.end_us, one.end_us) - max(s.start_us, since) for s in sent
                           if since < s.end_us <= one.end_us)  # fmt: skip
                shares[index] = max(shares.get(index, 0), used / (3_600_000_000 * limit))
        return {index: math.ceil(share * 1000) / 1000 for index, share in shares.items()}
