"""What the parts of the nest hand to each other: frames, uplinks, downlinks, devices and sessions.

All but `SessionState` are values, made of numbers, bytes, strings and tuples: nobody changes one that was handed over.
Those of which thousands a second are made are not frozen, for that costs half of their making; they are values all the
same.

Units: frequencies Hz, powers dBm EIRP, RSSI dBm, SNR dB, bandwidths Hz; `received_at` is Unix time in seconds.
DevEUI and JoinEUI are 8 bytes, most significant first (as printed); DevAddr is an int; gateways are named by their EUI
as 16 lower-case hex digits.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class RadioFrame:
    """One reception of one LoRa frame by one gateway, whatever the gateway speaks.

    `tmst` is the gateway's 32-bit microsecond counter at the end of the reception (None: the gateway gave none, so no
    downlink can follow through it). `crc_ok` is None where the frame carried no CRC. `received_at` is when the gateway
    heard it where the gateway's word can be taken for that, else when it reached the nest. `buffered`: the gateway has
    held it back, it is too old to be answered. `context` is whatever the forwarder wants to find again in a `Downlink`
    that answers this reception.
    """

    phy: bytes
    gateway: str
    received_at: float
    freq_hz: int
    sf: int
    bw_hz: int
    rssi: float
    snr: float | None
    tmst: int | None
    crc_ok: bool | None = True
    buffered: bool = False
    context: object = None


MOST_HEARD = 64  # gateways that are noted for one frame: a made-up EUI costs nothing, a town has a handful


@dataclass(slots=True)
class Heard:
    """That one gateway heard an uplink, and how well."""

    gateway: str
    rssi: float
    snr: float | None
    freq_hz: int
    received_at: float


@dataclass(slots=True)
class Uplink:
    """A data frame of a known node with a valid MIC, decrypted (DESIGN contract 6).

    `heard` has one entry per gateway, strongest first; `sf`, `bw_hz`, `freq_hz` are those of the strongest copy.
    `fport` is None or 0 for a frame without application data; `payload` is then empty. `mac_commands` are the node's
    MAC commands in clear, from FOpts or from the FRMPayload of FPort 0.
    """

    node: str
    dev_eui: bytes
    received_at: float
    fcnt: int
    fport: int | None
    payload: bytes
    confirmed: bool
    heard: tuple[Heard, ...]
    sf: int
    bw_hz: int
    freq_hz: int
    phy: bytes
    mac_commands: bytes = b""


@dataclass(frozen=True, slots=True)
class Downlink:
    """One transmission asked of one gateway, to start when its counter reaches `tmst` (modulo 2^32), which is `delay_s`
    after the end of the uplink that it answers. `power_dbm` is EIRP: the forwarder takes the antenna's gain off.

    `window` is 1 or 2. `id` names the transmission to the network server when its result comes back. `context` is that
    of the reception it answers. `fallback` (freq_hz, sf, bw_hz, power_dbm): RX2, one second later, which a gateway that
    can choose by itself may use instead of RX1.
    """

    gateway: str
    tmst: int
    freq_hz: int
    sf: int
    bw_hz: int
    power_dbm: float
    phy: bytes
    dev_eui: bytes
    window: int
    id: int = 0
    delay_s: int = 1
    context: object = None
    fallback: tuple[int, int, int, float] | None = None


@dataclass(frozen=True, slots=True)
class Device:
    """A registered node: who it is and its root key.

    `rising_dev_nonce`: the DevNonce counts up, as LoRaWAN 1.0.4 demands. False for devices of 1.0.3 and before, which
    draw it at random; for them only reuse is refused. `join_nonce_floor`: it may have been given JoinNonces up to this
    one of which no record is left (the database was restored from a backup); the next is higher.
    """

    dev_eui: bytes
    join_eui: bytes
    app_key: bytes
    slug: str
    rising_dev_nonce: bool = True
    join_nonce_floor: int = 0

    def __repr__(self) -> str:
        return f"Device({self.slug!r}, dev_eui={self.dev_eui.hex()})"  # never the key


@dataclass(slots=True)
class SessionState:
    """One session of one device. (`dev_eui`, `join_nonce`) names it for ever: a JoinNonce is never used twice.

    The one thing here that changes: the network server moves its counters on, and whoever stores it writes it as it is
    at that moment; counters only rise, so a later state is as good as the one that was meant.

    `fcnt_up` is the last FCntUp accepted, -1 before the first; `fcnt_down` the next FCntDown to use. `active` turns
    true with the first uplink under these keys; until then the device's earlier session stays valid beside it.
    `heard_at` (Unix s) is when the frame of `fcnt_up` was heard, 0 before the first, `heard_by` the gateway and
    `heard_tmst` its counter then. `tx_power` (index of TXPower) and
    `nb_trans` are what the device has acknowledged; `adr_tries` how often it has refused or left unanswered the
    LinkADRReq in question; `status_at` (Unix s) when it last told its battery.
    """

    dev_eui: bytes
    join_nonce: int
    dev_addr: int
    nwk_skey: bytes
    app_skey: bytes
    fcnt_up: int = -1
    fcnt_down: int = 0
    rx1_delay_s: int = 1
    rx1_dr_offset: int = 0
    rx2_dr: int = 0
    rx2_freq_hz: int = 869_525_000
    active: bool = False
    joined_at: float = 0.0
    heard_at: float = 0.0
    heard_by: str = ""
    heard_tmst: int | None = None
    tx_power: int = 0
    nb_trans: int = 1
    adr_tries: int = 0
    status_at: float = 0.0

    def __repr__(self) -> str:
        return (
            f"SessionState(dev_eui={self.dev_eui.hex()}, join_nonce={self.join_nonce}, dev_addr={self.dev_addr:08x}, "
            f"fcnt_up={self.fcnt_up}, fcnt_down={self.fcnt_down}, active={self.active})"
        )  # never the keys


@dataclass(frozen=True, slots=True)
class JoinRecord:
    """One answered join: the DevNonce the device used and the JoinNonce it was given. Kept for ever."""

    dev_eui: bytes
    dev_nonce: int
    join_nonce: int


@dataclass(frozen=True, slots=True)
class GatewayInfo:
    """A gateway that may speak to the nest, as the operator registered it.

    `eui`: 16 lower-case hex digits. `token` is the SHA-256 (hex) of its Basics Station token, None: it has none and may
    speak Semtech UDP only. `antenna_gain_dbi` is taken off the power it is told to send with: the EIRP is to be lawful.
    """

    eui: str
    name: str
    latitude: float | None = None
    longitude: float | None = None
    altitude_m: float | None = None
    antenna_gain_dbi: float = 2.15
    token: str | None = None

    def __repr__(self) -> str:
        return f"GatewayInfo({self.eui}, {self.name!r})"
