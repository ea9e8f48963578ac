"""The certification protocol on FPort 224, class A (TS009-1.0.0 to 1.2.0): what a test tool asks a device to do.

Only a device that is to be certified loads this module, because whoever holds the AppSKey may reset it over the air.
In config.json `"certification": true` switches it on; `"certification": "lab"` lets the test tool put the regional duty
cycle aside as well, which is lawful in a shielded room and nowhere else. The state is kept in RAM, and a reset ends a
test: a node that is being certified stays awake between its uplinks.

A cycle of the node, with `tool = Certification(version, lab)` and `mac.certification = True`:

    port, payload = tool.uplink(FPORT, reading, device.room())      # the answer of the test tool goes first
    outcome = run(device.uplink(port, payload, tool.confirmed or confirmed))
    tool.heard(outcome)

and then it does as the attributes say:

    wish        0, or once RESET (restart the processor), JOIN (forget the session, join anew), DISABLE (keep in flash
                that FPort 224 is off, then restart): set it to 0 when it is done
    ask         MAC requests, bytes of CIDs, for device.request() before the next uplink: empty it
    adr         whether uplinks carry the ADR bit; None as configured
    confirmed   whether uplinks are confirmed
    period_s    seconds between uplinks; 0 as configured
    duty_cycle  False: the ledger of airtime is put aside; never False without `lab`

Not done: TxCwReq (a carrier that lasts up to 18 hours breaks the law outside a shielded room, and no ledger holds it),
SwitchClassReq to class B or C, and the commands of class B. They are passed over, as are RFU values and wrong lengths.
"""

from micropython import const

PORT = const(224)

RESET = const(0x01)  # what `wish` may be; the numbers are the commands'
JOIN = const(0x02)
DISABLE = const(0x7E)

_PACKAGE_VERSION = const(0x00)
_SWITCH_CLASS = const(0x03)
_ADR_BIT_CHANGE = const(0x04)
_REGIONAL_DUTY_CYCLE_CTRL = const(0x05)
_TX_PERIODICITY_CHANGE = const(0x06)
_TX_FRAMES_CTRL = const(0x07)
_ECHO_PAYLOAD = const(0x08)
_RX_APP_CNT = const(0x09)
_RX_APP_CNT_RESET = const(0x0A)
_LINK_CHECK = const(0x20)
_DEVICE_TIME = const(0x21)
_DUT_VERSIONS = const(0x7F)

_PERIODS = b"\0\1\2\4\6\x08\x0a\x0c\x18\x30\x60"  # in 5 s, by Periodicity 0..10
_PERIOD_UNIT_S = const(5)


class Certification:
    """What the test tool has asked for so far. version: of the firmware, 4 bytes; lab: see above.

    answer: what goes out on FPort 224 next, b"" for nothing. count: RxAppCnt.
    """

    def __init__(self, version=bytes(4), lab=False):
        self._version = version
        self._lab = lab
        self.wish = 0
        self.ask = b""
        self.adr = None
        self.confirmed = False
        self.period_s = 0
        self.duty_cycle = True
        self.answer = b""
        self.count = 0

    def uplink(self, port, payload, room):
        """(port, payload) of the next uplink: an answer that waits, cut to `room` bytes, else what is given here."""
        if self.answer:
            port = PORT
            payload = self.answer[:room]
            self.answer = b""
        return port, payload

    def heard(self, outcome):
        """Count and obey what an uplink brought back (`mac.Outcome`); counted is what came for FPort 1 and above, or
        acknowledged (TS009-1.0.0 4.2.1)."""
        if outcome.downlinks or outcome.acked:
            self.count = self.count + 1 & 0xFFFF
        for port, payload, _ in outcome.downlinks:
            if port == PORT:
                self.handle(payload)

    def handle(self, payload):
        """Obey one command, the FRMPayload of a downlink on FPort 224. Returns the answer, b"" when there is none.

        An answer that still waits gives way to it: the test tool has gone on.
        """
        self.answer = b""
        if not payload:
            return b""
        cid = payload[0]
        value = payload[-1]
        if cid == _ECHO_PAYLOAD:
            self.answer = bytes((cid,)) + bytes([byte + 1 & 0xFF for byte in payload[1:]])
        elif len(payload) != (2 if _SWITCH_CLASS <= cid <= _TX_FRAMES_CTRL else 1):
            pass
        elif cid in (RESET, JOIN, DISABLE):
            self.wish = cid
        elif cid in (_LINK_CHECK, _DEVICE_TIME):
            self.ask = b"\x02" if cid == _LINK_CHECK else b"\x0d"  # LinkCheckReq, DeviceTimeReq
        elif cid == _PACKAGE_VERSION:
            self.answer = b"\0\6\1"  # package 6, version 1
        elif cid == _DUT_VERSIONS:
            self.answer = b"\x7f" + self._version + b"\1\0\4\0\1\0\4\0"  # TS001-1.0.4, RP002-1.0.4
        elif cid == _RX_APP_CNT:
            self.answer = bytes((cid, self.count & 0xFF, self.count >> 8))
        elif cid == _RX_APP_CNT_RESET:
            self.count = 0
        elif cid == _TX_PERIODICITY_CHANGE:
            if value < len(_PERIODS):
                self.period_s = _PERIODS[value] * _PERIOD_UNIT_S
        elif cid == _TX_FRAMES_CTRL:
            if 1 <= value <= 2:
                self.confirmed = value == 2
        elif value <= 1:
            if cid == _ADR_BIT_CHANGE:
                self.adr = value == 1
            elif cid == _REGIONAL_DUTY_CYCLE_CTRL and self._lab:
                self.duty_cycle = value == 1
        return self.answer
