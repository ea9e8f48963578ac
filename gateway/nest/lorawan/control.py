"""What the network and one node have to say to each other beside the readings: MAC commands, one session's worth.

The rules:

- Answers first (LinkCheckAns, DeviceTimeAns), then requests, as many as fit into the 15 bytes of FOpts.
- A request is outstanding once its frame went to a gateway, and until the node's next fresh uplink: that brings the
  answer, or the request is made again with the next one. What the session holds (`SessionState`) changes only with the
  node's full answer. So a process that dies loses nothing: what was not answered is asked again.
- The same LinkADRReq is made three times at most, whether it is refused or not answered; then the node is left alone
  until the advice is another, and it takes a longer history to advise it. What the node says it cannot do (a power, a
  data rate) is not advised in this session again.
- RXParamSetupAns and RXTimingSetupAns are repeated by the node until a downlink comes, so it is given one. One that
  nobody waits for is the answer to a request of an earlier process, made with the same settings.
- A change of data rate or power, and every answer, is worth a downlink of its own. Other requests wait for one that is
  sent anyway, for an hour at most.
- At most 12 downlinks in 24 hours that only these requests, or the end of such an answer, are the reason for.

Where the node's transmit power is in doubt, it is told again: after a LinkADRAns that nobody waits for, and when it
asks whether it is still heard (ADRACKReq) after so many uplinks that it may have raised its power by itself.
"""

from __future__ import annotations

from typing import NamedTuple

from nest.lorawan import adr as adaptive
from nest.lorawan import mac_commands as mac
from nest.lorawan.adr import MAX_DR, Advice, History
from nest.lorawan.settings import Settings
from nest.model import SessionState

MAX_REQUESTS_PER_DAY = 12
RIDE_ALONG_S = 3600.0  # how long a request waits for a downlink that is sent anyway
MAX_TRIES = 3  # of the same LinkADRReq, or of one DevStatusReq

_DAY_S = 86_400.0
_ADR_ACK_DELAY = 32  # uplinks between ADRACKReq and the node's return to full power (RP002-1.0.4 section 2.3)
_ALL_CHANNELS = (0x00FF, 0)  # ChMask, ChMaskCntl: the three default channels and the five of the CFList
_ALL_DEFINED = (0x00FF, 6)  # for a node that has others: all that it knows (RP002-1.0.4 EU868)


class Reply(NamedTuple):
    """What `Control.conclude` makes of an uplink.

    `fopts`: MAC commands for the downlink, at most 15 bytes; `must_answer`: a downlink is to be sent even where nothing
    else needs one; `changed`: the session is to be stored; `status`: (battery, margin in dB) that the node told;
    `kinds`: what is to be counted, of `effects.KINDS`.
    """

    fopts: bytes = b""
    must_answer: bool = False
    changed: bool = False
    status: tuple[int, int] | None = None
    kinds: tuple[str, ...] = ()


_NOTHING = Reply()


class _Requests(NamedTuple):
    """What is asked of the node in one downlink."""

    adr: Advice | None = None
    rx_param: tuple[int, int] | None = None  # RX1DROffset, RX2 data rate
    rx_timing: int | None = None
    status: bool = False


_NONE = _Requests()


class Control:
    """The MAC commands of one session. Sans I/O; `state` is the live one and changes with the node's answers.

    To be asked in this order: `conclude` once for each fresh frame whose window has closed, then `sent` if a downlink
    with its `fopts` went to a gateway; `again` and `sent` for each repetition of that frame that is answered, too.
    """

    __slots__ = (
        "_adr_limits",
        "_asked",
        "_ch_mask",
        "_changed",
        "_charged",
        "_counted",
        "_dr",
        "_fopts",
        "_heard_at",
        "_history",
        "_in_doubt",
        "_kinds",
        "_link_check",
        "_must",
        "_offered",
        "_question",
        "_quiet_fcnt",
        "_rx_param_refusals",
        "_sent_at",
        "_settings",
        "_state",
        "_status",
        "_status_alone",
        "_status_given_up_at",
        "_status_since",
        "_status_tries",
        "_sticky",
        "_tell_again",
        "_time",
        "_windows_since",
    )

    def __init__(self, settings: Settings, state: SessionState) -> None:
        self._settings = settings
        self._state = state
        self._history = History()
        self._dr: int | None = None  # of the last uplink that counted for ADR
        self._asked = _NONE  # outstanding
        self._offered = _NONE  # in the last reply
        self._fopts = b"", b""  # of the last reply, before DeviceTimeAns and behind it
        self._heard_at = 0.0
        self._question: Advice | None = None  # the advice that state.adr_tries counts for
        self._tell_again = 0 < state.adr_tries < MAX_TRIES  # asked by an earlier process: nobody knows what came of it
        self._in_doubt = state.adr_tries >= MAX_TRIES
        self._adr_limits = (MAX_DR, adaptive.MAX_TX_POWER)
        self._ch_mask = _ALL_CHANNELS
        self._quiet_fcnt: int | None = None  # last FCnt without ADRACKReq
        self._rx_param_refusals = 0
        self._status_alone = False  # whether the battery was worth a downlink of its own
        self._status_tries = 0
        self._status_given_up_at = 0.0
        self._windows_since: float | None = None  # since when RX1, RX2 should be others
        self._status_since: float | None = None  # since when the battery should be told
        self._sent_at: list[float] = []  # downlinks with requests, the newest 12
        self._kinds: list[str] = []
        self._changed = False
        self._charged = False  # the request on offer stands in state.adr_tries
        self._counted = False  # the last reply stands in _sent_at
        self._must = False
        self._link_check = False
        self._sticky = False
        self._time = False
        self._status: tuple[int, int] | None = None

    def conclude(
        self,
        commands: bytes,
        *,
        adr: bool,
        adr_ack_req: bool,
        fcnt: int,
        dr: int | None,
        snr: float | None,
        gateways: int,
        heard_at: float,
    ) -> Reply:
        """Take a fresh frame's MAC commands and see what there is to say.

        adr, adr_ack_req: bits of its FCtrl; dr: its data rate, None for one that is not ours; snr: the best, dB;
        gateways: how many heard it; heard_at: when its end was heard, Unix s. Never raises.
        """
        asked, self._asked, self._offered = self._asked, _NONE, _NONE
        self._changed = self._must = self._link_check = self._sticky = self._time = False
        self._status = None
        self._heard_at = heard_at
        if self._charged and asked.adr is None:
            self._take_back()
        self._charged = self._counted = False
        if commands or asked is not _NONE:
            self._hear(commands, asked, heard_at)
            self._must = self._sticky = self._sticky and self._may_ask(heard_at)
        advice = self._advice(adr, adr_ack_req, fcnt, dr, snr)
        requests = self._requests(advice, heard_at)
        if requests is _NONE and not (commands or adr_ack_req or self._changed or self._kinds):
            self._fopts = b"", b""
            return _NOTHING  # most uplinks
        link_check = time = b""
        if self._link_check:
            link_check = mac.link_check_ans(adaptive.link_margin(dr, snr), min(max(gateways, 1), 255))
        if self._time:
            time = mac.device_time_ans(heard_at)
        asking, self._offered = self._build(requests, mac.MAX_FOPTS - len(link_check) - len(time))
        self._fopts = link_check, asking
        if self._offered.adr is not None:
            self._charge()
        must = self._must or self._link_check or self._time or adr_ack_req
        kinds, self._kinds = tuple(self._kinds), []
        return Reply(link_check + time + asking, must, self._changed, self._status, kinds)

    def again(self, heard_at: float) -> bytes:
        """The MAC commands for a repetition of the last frame, whose end was heard at `heard_at` (Unix s): a
        DeviceTimeAns tells the time of the transmission that it answers."""
        before, behind = self._fopts
        return before + (mac.device_time_ans(heard_at) if self._time else b"") + behind

    def sent(self) -> None:
        """A downlink with the last reply's commands went to a gateway; said again when it went once more."""
        if self._offered == _NONE and not self._sticky:
            return
        if self._offered.adr is not None and not self._charged:
            self._charge()
        self._asked = self._offered
        if not self._counted:
            self._counted = True
            self._sent_at = [*self._sent_at[1 - MAX_REQUESTS_PER_DAY :], self._heard_at]
            if self._asked.adr is not None:
                self._kinds.append("adr_request")  # told with the next uplink

    def not_sent(self) -> None:
        """No gateway could send it after all: nothing is outstanding, the node cannot know of it."""
        self._asked = _NONE
        if self._charged:
            self._take_back()
        if self._counted and "adr_request" in self._kinds:
            self._kinds.remove("adr_request")
        self._counted = False

    def _charge(self) -> None:
        """A try counts before it is made, so that it is stored with the FCntDown of its downlink."""
        self._charged = self._changed = True
        self._state.adr_tries += 1

    def _take_back(self) -> None:
        self._charged, self._changed = False, True
        self._state.adr_tries -= 1

    # -- what the node says

    def _hear(self, commands: bytes, asked: _Requests, heard_at: float) -> None:
        found, malformed = mac.parse_up(commands)
        if malformed:
            self._kinds.append("mac_malformed")
        adr_answered = status_answered = False
        for command in found:
            match command:
                case mac.LinkCheckReq():
                    self._link_check = True
                case mac.DeviceTimeReq():
                    self._time = True
                case mac.LinkAdrAns():
                    if not adr_answered:  # one for each LinkADRReq of a block; ours has one
                        self._hear_adr(command, asked.adr)
                    adr_answered = True
                case mac.RxParamSetupAns():
                    self._hear_rx_param(command, asked.rx_param)
                case mac.RxTimingSetupAns():
                    self._hear_rx_timing(asked.rx_timing)
                case mac.DevStatusAns():
                    status_answered = True
                    self._status = (command.battery, command.margin_db)
                    self._state.status_at = heard_at
                    self._status_tries = 0
                    self._changed = True
                case _:
                    pass  # an answer to what this network never asks
        if asked.adr is not None and not adr_answered:
            self._in_doubt = True  # perhaps it was taken, and the answer was lost
            self._without_a_yes()
        if asked.status and not status_answered:
            self._status_tries += 1
            if self._status_tries >= MAX_TRIES or not self._status_alone:  # there will be another one to go with
                self._status_tries = 0
                self._status_given_up_at = heard_at

    def _hear_adr(self, answer: mac.LinkAdrAns, asked: Advice | None) -> None:
        state = self._state
        taken = answer.ch_mask_ok and answer.dr_ok and answer.power_ok
        if asked is None:
            self._tell_again |= taken  # what it has taken is not known any more
            return
        if not taken:
            self._kinds.append("adr_refused")
            fastest, weakest = self._adr_limits
            if not answer.dr_ok:
                fastest = asked.dr - 1
            if not answer.power_ok:
                weakest = max(asked.tx_power - 1, 0)
            self._adr_limits = fastest, weakest
            if not answer.ch_mask_ok:
                self._ch_mask = _ALL_DEFINED
            self._without_a_yes()
            return
        more = adaptive.needs_more(Advice(self._dr or 0, state.tx_power, state.nb_trans), asked)
        self._history.begin_anew(needed_more=more)
        self._dr = asked.dr
        self._tell_again = self._in_doubt = False
        self._question = None
        state.tx_power, state.nb_trans, state.adr_tries = asked.tx_power, asked.nb_trans, 0
        self._changed = True

    def _without_a_yes(self) -> None:
        """A LinkADRReq was refused or not answered."""
        self._changed = True
        if self._state.adr_tries >= MAX_TRIES:
            self._tell_again = False
            self._history.begin_anew(needed_more=True)

    def _hear_rx_param(self, answer: mac.RxParamSetupAns, asked: tuple[int, int] | None) -> None:
        self._sticky = True
        if not (answer.freq_ok and answer.rx2_dr_ok and answer.rx1_dr_offset_ok):
            self._rx_param_refusals += asked is not None
            return
        state = self._state
        told = asked or (self._settings.rx1_dr_offset, self._settings.rx2_dr)
        self._changed |= told != (state.rx1_dr_offset, state.rx2_dr)
        state.rx1_dr_offset, state.rx2_dr = told

    def _hear_rx_timing(self, asked: int | None) -> None:
        self._sticky = True
        told = asked or self._settings.rx1_delay_s
        self._changed |= told != self._state.rx1_delay_s
        self._state.rx1_delay_s = told

    # -- what the network wants

    def _advice(self, adr: bool, adr_ack_req: bool, fcnt: int, dr: int | None, snr: float | None) -> Advice | None:
        """The LinkADRReq to make now; None: nothing to ask."""
        state, history = self._state, self._history
        if not adr or not self._settings.adr or dr is None or snr is None or not 0 <= dr <= MAX_DR:
            self._dr = None
            history.begin_anew()
            return None
        if dr != self._dr:
            lowered = self._dr is not None and dr < self._dr
            history.begin_anew(needed_more=lowered)
            if lowered and state.tx_power:  # the backoff raises the power before it lowers the data rate
                state.tx_power = 0
                self._changed = True
            self._dr = dr
        history.add(fcnt, snr)
        if not adr_ack_req:
            self._quiet_fcnt = fcnt
        elif self._quiet_fcnt is None or fcnt - self._quiet_fcnt > _ADR_ACK_DELAY:
            self._tell_again |= state.tx_power > 0 or state.nb_trans > 1
        if self._in_doubt and not 0 < state.adr_tries < MAX_TRIES and history.count >= history.patience:
            self._in_doubt, self._tell_again = False, True
            self._ask_anew()
        now = Advice(dr, state.tx_power, state.nb_trans)
        if self._question is not None and 0 < state.adr_tries < MAX_TRIES and self._within_limits(self._question):
            advice = self._question._replace(dr=max(dr, self._question.dr))  # asked already, and not answered
        elif history.count >= adaptive.EARLY:
            fastest, weakest = self._adr_limits
            found = adaptive.advise(history, *now, self._settings.adr_margin_db)
            advice = Advice(max(dr, min(found.dr, fastest)), min(found.tx_power, weakest), found.nb_trans)
        elif self._tell_again:
            advice = now
        else:
            return None
        if advice == now and not self._tell_again:
            if state.adr_tries < MAX_TRIES:
                self._ask_anew()
            return None
        if self._question is not None and advice != self._question:
            self._ask_anew()
        self._question = advice
        return advice if state.adr_tries < MAX_TRIES else None

    def _ask_anew(self) -> None:
        """Nothing was asked of what is to be asked now."""
        self._question = None
        if self._state.adr_tries:
            self._state.adr_tries = 0
            self._changed = True

    def _within_limits(self, advice: Advice) -> bool:
        return advice.dr <= self._adr_limits[0] and advice.tx_power <= self._adr_limits[1]

    def _requests(self, advice: Advice | None, now: float) -> _Requests:
        """All there is to ask, whether it fits or not; sets `_must` where it is worth a downlink of its own."""
        settings, state = self._settings, self._state
        rx_param: tuple[int, int] | None = (settings.rx1_dr_offset, settings.rx2_dr)
        if rx_param == (state.rx1_dr_offset, state.rx2_dr) or self._rx_param_refusals >= MAX_TRIES:
            rx_param = None
        rx_timing = settings.rx1_delay_s if settings.rx1_delay_s != state.rx1_delay_s else None
        told_s = min(abs(now - state.status_at), abs(now - self._status_given_up_at))
        status = 0 < settings.status_interval_s <= 4 * told_s  # mostly it goes along: a node asks daily for the time
        windows = rx_param is not None or rx_timing is not None
        if advice is None and not windows and not status:
            self._windows_since = self._status_since = None
            return _NONE
        if not self._may_ask(now):
            return _NONE
        self._windows_since = (self._windows_since or now) if windows else None
        overdue = status and told_s >= settings.status_interval_s
        self._status_since = (self._status_since or now) if overdue else None
        self._status_alone = _waited(self._status_since, now, min(RIDE_ALONG_S, settings.status_interval_s))
        if advice is not None or _waited(self._windows_since, now, RIDE_ALONG_S) or self._status_alone:
            self._must = True
        return _Requests(advice, rx_param, rx_timing, status)

    def _may_ask(self, now: float) -> bool:
        """Whether today's downlinks are not used up."""
        return len(self._sent_at) < MAX_REQUESTS_PER_DAY or abs(now - self._sent_at[0]) >= _DAY_S

    def _build(self, wanted: _Requests, room: int) -> tuple[bytes, _Requests]:
        """The commands of those requests that fit into `room` bytes, and which these are."""
        out = b""
        asked = _NONE
        if wanted.adr is not None:
            ch_mask, control = self._ch_mask
            command = mac.link_adr_req(wanted.adr.dr, wanted.adr.tx_power, ch_mask, control, wanted.adr.nb_trans)
            if len(command) <= room:
                out, asked = command, asked._replace(adr=wanted.adr)
        if wanted.rx_param is not None:
            offset, rx2_dr = wanted.rx_param
            command = mac.rx_param_setup_req(offset, rx2_dr, self._state.rx2_freq_hz)
            if len(out) + len(command) <= room:
                out, asked = out + command, asked._replace(rx_param=wanted.rx_param)
        if wanted.rx_timing is not None:
            command = mac.rx_timing_setup_req(wanted.rx_timing)
            if len(out) + len(command) <= room:
                out, asked = out + command, asked._replace(rx_timing=wanted.rx_timing)
        if wanted.status:
            command = mac.dev_status_req()
            if len(out) + len(command) <= room:
                out, asked = out + command, asked._replace(status=True)
        return out, asked


def _waited(since: float | None, now: float, long_s: float) -> bool:
    return since is not None and abs(now - since) >= long_s
