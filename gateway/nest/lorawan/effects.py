"""What the network server wants done. A list of effects is carried out in its order.

The order is the promise: what is stored stands before what is sent or published from it, so a crash between two effects
never repeats a counter and never publishes what is not stored. The Store… effects, MergeCopy and DownlinkOutcome are
for the database and may be written many at a time, in one transaction; what stands behind them waits until it is done.
A database that refuses for a while changes nothing: the effects wait, in order, and nothing of them is seen outside.

| effect | when | carry out |
| --- | --- | --- |
| StoreJoin | a JoinRequest is answered | insert the record, replace the device's *pending* session (active = false) |
| StoreUplink | a fresh data frame with a valid MIC | insert the raw frame, update the session |
| StoreLate | a frame that a gateway held back while later ones came | insert the raw frame where it is not there yet |
| MergeCopy | a further or stronger reception of a stored frame | merge into that frame's receptions |
| StoreSession | before every data downlink; when a MAC command was answered | update the session |
| StoreStatus | a DevStatusAns | note battery and margin of the node |
| DownlinkOutcome | a queued downlink changed state | note it in the queue |
| SendDownlink | a downlink is due | give it to the gateway's forwarder; report by `transmit_result`, at once or later |
| Publish | the deduplication window of a fresh frame has closed | tell who heard it |
| Count | something happened worth counting | add to the statistics; see `KINDS` |
"""

from __future__ import annotations

from dataclasses import dataclass

from nest.model import Downlink, Heard, JoinRecord, SessionState, Uplink

KINDS: dict[str, str] = {
    "accepted": "fresh data frame, stored",
    "join_accepted": "JoinRequest answered",
    "duplicate": "further copy of a frame within the deduplication window, merged",
    "late_copy": "further copy after the window, merged",
    "retransmission": "the device sent its last frame again, merged and, if it asked, answered again",
    "crc_bad": "radio checksum wrong, ignored",
    "malformed": "not a LoRaWAN frame",
    "unexpected_type": "a LoRaWAN frame that is no uplink of ours to handle: downlink, rejoin, proprietary",
    "unknown_device": "JoinRequest of a device that is not registered",
    "unknown_session": "data frame with a DevAddr that no session has: a neighbour's, or a node that must join again",
    "mic_bad": "known device or address, but the signature is wrong",
    "replay": "valid signature, but the counter was used before",
    "late_frame": "frame that a gateway held back while later ones came, and new: stored under the time it was heard",
    "dev_nonce_used": "JoinRequest with a DevNonce used before: a replay",
    "dev_nonce_low": "JoinRequest with a DevNonce below an earlier one",
    "join_nonce_exhausted": "the device has joined 2^24 times",
    "join_deferred": "JoinRequest not answered: no gateway has lawful time for it now; the node asks again",
    "adr_request": "LinkADRReq sent: data rate, power or repetitions of a node",
    "adr_refused": "the node refused a LinkADRReq",
    "mac_malformed": "MAC commands of a node that cannot be understood; those before them were taken",
    "downlink_sent": "downlink given to a gateway",
    "downlink_no_room": "downlink not sent now: airtime or transmitter of every gateway are taken; it waits",
    "downlink_retried": "the gateway refused a downlink; tried in the next window or through the next gateway",
    "downlink_failed": "no gateway could send a downlink",
    "downlink_too_long": "queued payload does not fit any window's data rate, dropped",
}


@dataclass(slots=True)
class StoreJoin:
    """Remember both nonces and the new session (not active yet) beside the device's active one."""

    record: JoinRecord
    session: SessionState


@dataclass(slots=True)
class StoreUplink:
    """Store the raw frame and the counter in one transaction. `activates`: the device's other sessions end."""

    uplink: Uplink
    session: SessionState
    activates: bool = False


@dataclass(slots=True)
class StoreLate:
    """Store the raw frame unless (session, FCnt) is there already: then it was a replay. The session stays as it is."""

    uplink: Uplink
    session: SessionState


@dataclass(slots=True)
class MergeCopy:
    """The frame (dev_eui, join_nonce, fcnt) was also heard so.

    One entry per gateway is kept: a new gateway is added, a known one's entry replaced when this one is stronger.
    """

    dev_eui: bytes
    join_nonce: int
    fcnt: int
    heard: Heard


@dataclass(slots=True)
class StoreSession:
    """The session has changed. Before a SendDownlink: its FCntDown is used and must be durable before what follows."""

    session: SessionState


@dataclass(slots=True)
class StoreStatus:
    """The node told its `battery` (0 external supply, 1..254 of 254, 255 unknown) and the `margin_db` (SNR of the
    request) at `at` (Unix s)."""

    dev_eui: bytes
    at: float
    battery: int
    margin_db: int


@dataclass(slots=True)
class SendDownlink:
    """Hand this to the gateway now; its counter decides the moment."""

    downlink: Downlink


@dataclass(slots=True)
class DownlinkOutcome:
    """What became of a downlink queued with a `reference`.

    `outcome`: "sent" (with a gateway), "queued" (could not be sent; waits for the next uplink), "acknowledged",
    "unacknowledged" (confirmed, but the next uplink did not acknowledge it), "too_long" (dropped).
    """

    dev_eui: bytes
    reference: int | None
    outcome: str


@dataclass(slots=True)
class Publish:
    """A fresh, stored uplink with everyone who heard it within the window, strongest first."""

    uplink: Uplink


@dataclass(slots=True)
class Count:
    """One more of `kind`, a key of `KINDS`; `COUNT` has one of each, ready made."""

    kind: str


COUNT: dict[str, Count] = {kind: Count(kind) for kind in KINDS}

Stored = StoreJoin | StoreUplink | StoreLate | MergeCopy | StoreSession | StoreStatus | DownlinkOutcome
Effect = Stored | SendDownlink | Publish | Count
