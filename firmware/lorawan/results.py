"""What an exchange of the MAC comes to, or why there is none."""


class NotJoined(ValueError):
    """An uplink needs a session."""


class PayloadTooLong(ValueError):
    """The payload does not fit into a frame at the session's data rate: `size` of at most `room` bytes."""

    def __init__(self, size, room):
        super().__init__(f"payload of {size} bytes, at most {room}")
        self.size = size
        self.room = room


class NoChannel(ValueError):
    """No enabled channel carries the session's data rate."""


class NoAirtime(ValueError):
    """The law or the network's duty cycle leaves no airtime at the moment: there will be some in `wait_ms`."""

    def __init__(self, wait_ms):
        super().__init__(f"no airtime for {wait_ms} ms")
        self.wait_ms = wait_ms


class Joined:
    """A join that worked: the session, the JoinNonce to remember, the window it came in, RSSI and SNR."""

    def __init__(self, session, join_nonce, window, rssi, snr):
        self.session = session
        self.join_nonce = join_nonce
        self.window = window
        self.rssi = rssi
        self.snr = snr


class Outcome:
    """What came of an uplink.

    fcnt: the FCntUp it had. acked: None for an unconfirmed uplink, else whether the network acknowledged it.
    repeats: how often it was transmitted. ended: what the last `Transmit` was answered with.
    window: 1 or 2, where the downlink came, 0 for none; rssi and snr are the downlink's, None without one.
    downlinks: list of (port, payload, FCntDown) for the application. pending: the network has more to say (FPending).
    asked: CIDs (bytes) of the requests sent along. link_check: None or (margin in dB, gateways). device_time: None or
    (GPS seconds, 1/256 s) of the moment at which the last transmission ended.
    refused: None, or NoAirtime or PayloadTooLong that kept the payload back after MAC answers had gone ahead of it.
    ok: nothing is known to be lost: not refused, and not a confirmed uplink without acknowledgement.
    """

    # what most outcomes leave as it is
    acked = rssi = snr = ended = link_check = device_time = None
    refused: ValueError | None = None
    asked = b""
    pending = False
    window = repeats = fcnt = 0

    def __init__(self, confirmed):
        self.downlinks = []
        if confirmed:
            self.acked = False

    @property
    def ok(self):
        return self.acked is not False and self.refused is None
