"""What the network server wants done. A list of effects is carried out in its order, each before the next.

The order is the promise: what is stored stands before what is sent or published from it, so a crash between two effects
never repeats a counter and never publishes what is not stored. The Store… effects are each one transaction.

| effect | when | carry out |
| --- | --- | --- |
| StoreJoin | a JoinRequest is answered | insert the record, replace the device's *pending* session (active = false) |
| StoreUplink | a fresh data frame with a valid MIC | insert the raw frame, update the session's counters |
| MergeCopy | a further or stronger reception of a stored frame | merge into that frame's receptions |
| StoreDownlinkCounter | before every data downlink | update the session: its FCntDown is now used |
| SendDownlink | a downlink is due | give it to the gateway's forwarder; report by `transmit_result`, at once or later |
| DownlinkOutcome | a queued downlink changed state | note it in the queue |
| Publish | the deduplication window of a frame with application data has closed | decode, archive, publish |
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
    "dev_nonce_used": "JoinRequest with a DevNonce used before: a replay",
    "dev_nonce_low": "JoinRequest with a DevNonce below an earlier one",
    "join_nonce_exhausted": "the device has joined 2^24 times",
    "downlink_sent": "downlink given to a gateway",
    "downlink_retried": "the gateway refused a downlink; tried in the next window or through the next gateway",
    "downlink_failed": "no gateway could send a downlink",
    "downlink_too_long": "queued payload does not fit any window's data rate, dropped",
}


@dataclass(frozen=True, slots=True)
class StoreJoin:
    """Remember both nonces and the new session (not active yet) beside the device's active one."""

    record: JoinRecord
    session: SessionState


@dataclass(frozen=True, slots=True)
class StoreUplink:
    """Store the raw frame and the counter in one transaction. `activates`: the device's other sessions end."""

    uplink: Uplink
    session: SessionState
    activates: bool = False


@dataclass(frozen=True, slots=True)
class MergeCopy:
    """The frame (dev_eui, join_nonce, fcnt) was also heard so.

    One entry per gateway is kept: a new gateway is added, a known one's entry replaced when this one is stronger.
    """

    dev_eui: bytes
    join_nonce: int
    fcnt: int
    heard: Heard


@dataclass(frozen=True, slots=True)
class StoreDownlinkCounter:
    """`session.fcnt_down` has moved on; must be durable before the SendDownlink that follows."""

    session: SessionState


@dataclass(frozen=True, slots=True)
class SendDownlink:
    """Hand this to the gateway now; its counter decides the moment."""

    downlink: Downlink


@dataclass(frozen=True, slots=True)
class DownlinkOutcome:
    """What became of a downlink queued with a `reference`.

    `outcome`: "sent" (with a gateway), "queued" (could not be sent; waits for the next uplink), "acknowledged",
    "unacknowledged" (confirmed, but the next uplink did not acknowledge it), "too_long" (dropped).
    """

    dev_eui: bytes
    reference: int | None
    outcome: str


@dataclass(frozen=True, slots=True)
class Publish:
    """A stored uplink with application data and everyone who heard it within the window."""

    uplink: Uplink


@dataclass(frozen=True, slots=True)
class Count:
    """One more of `kind`, a key of `KINDS`."""

    kind: str


Effect = StoreJoin | StoreUplink | MergeCopy | StoreDownlinkCounter | SendDownlink | DownlinkOutcome | Publish | Count
