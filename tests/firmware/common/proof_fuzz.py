"""Fuzzed downlinks into a whole Mac, on MicroPython and CPython alike: `proof_fuzz.py COUNT SEED`.

Four kinds, in turn: noise; downlinks for this device with something wrong (bits, length, fields, counter, keys);
well-signed downlinks with nonsense in FOpts or on FPort 0; JoinAccepts, wrong and well-signed with nonsense inside.
Nothing may raise. Without a good MIC and a fresh counter nothing changes; with one the session stays legal, and the
device can still send. Whether a frame is good is known from how it was made, not asked of the firmware.
"""

# pyright: reportOptionalMemberAccess=false
import gc
import struct
import sys

from lorawan import eu868
from lorawan.actions import Heard, Listen, Transmit
from lorawan.mac import Mac, NoAirtime, NoChannel
from lorawan.session import Session
from proof_network import downlink, join_accept
from proof_world import Dice

APP_KEY = bytes(range(16))
KEYS = bytes(range(16, 32)), bytes(range(32, 48))
OTHER_KEYS = bytes(range(1, 17)), bytes(range(33, 49))
DEV_ADDR = 0x26011BDA
EIRP_DBM = 16
_LAST_FCNT = 0xFFFFFFFF
_BANDS = ((863000000, 868600000), (868700000, 869200000), (869400000, 869650000), (869700000, 870000000))
_CIDS = b"\x02\x03\x03\x03\x04\x05\x06\x07\x07\x08\x09\x0a\x0d\x0d\x0b\x80"


class Fuzz:
    """A device under fire. counts: downlinks by kind; taken: those that were good."""

    def __init__(self, seed):
        self.dice = Dice(seed)
        self.now_ms = 0
        self.counts = [0, 0, 0, 0]
        self.taken = 0
        self.new_device()

    def new_device(self):
        session = Session(DEV_ADDR, 0x13, KEYS[0], KEYS[1], eu868)
        session.fcnt_down = (0xFFFFFFFF - self.dice(30), -1, self.dice(1 << 17), self.dice(1 << 30))[self.dice(4)]
        self.mac = Mac(eu868, session, self.dice)
        self.session = session

    def run(self, count):
        """Feed at least `count` downlinks."""
        fed = 0
        while fed < count:
            fed += self.joins() if not self.dice(16) else self.uplink()
            if not self.dice(400):
                self.new_device()
        return fed

    def uplink(self):
        """One uplink; whatever is heard in its windows is drawn up here. Returns how many downlinks it was given."""
        dice = self.dice
        mac = self.mac
        self.now_ms += 4000000
        try:
            exchange = mac.uplink(1 + dice(223), bytes(min(dice(12), max(0, mac.room()))), not dice(4), self.now_ms)
        except NoAirtime as error:
            self.now_ms += error.wait_ms
            return 0
        except NoChannel:
            raise AssertionError("no channel is left") from None
        if not dice(5):
            mac.request((2, 13)[dice(2)])
        fed = 0
        answer = None
        good = False
        before = b""
        while True:
            try:
                action = exchange.send(answer)
            except (StopIteration, NoAirtime):
                break
            if before:
                assert good or self.state() == before, "a bad frame changed something"
                before = b""
            if good:
                self.legal()
                assert not isinstance(action, Listen), "a good downlink was not taken"
            answer = None
            if isinstance(action, Transmit):
                self.lawful(action)
                answer = 12345
            elif isinstance(action, Listen):
                kind = dice(3)
                frame, good = (self.noise, self.spoilt, self.signed)[kind]()
                self.counts[kind] += 1
                self.taken += good
                fed += 1
                before = self.state()
                answer = Heard(frame, -dice(140), (dice(400) - 300) / 8, None if dice(3) else dice(15000000))
        if before:
            assert good or self.state() == before, "a bad frame changed something"
        self.legal()
        return fed

    def joins(self):
        """One JoinRequest of a second Mac, which has no session."""
        dice = self.dice
        mac = Mac(eu868, None, dice)
        mac.last_join_nonce = 5 + dice(1000)
        nonce = dice(65536)
        exchange = mac.join(bytes(8), bytes(8), APP_KEY, nonce, dice(6), 0)
        action = next(exchange)
        action = exchange.send(0)
        fed = 0
        while True:
            good = False
            if dice(2):
                good = not dice(3)
                used = 0 if good else dice(3)  # a JoinNonce that is no news
                frame = self._accept(mac.last_join_nonce if not used else -1)
                if not good and not used:
                    frame = self._spoil(frame)
            else:
                frame = bytes((0x20,)) + self._bytes((16, 32, 12, 28, dice(200))[dice(5)])
            fed += 1
            self.counts[3] += 1
            self.taken += good
            try:
                action = exchange.send(Heard(frame, -100, 1.0))
            except StopIteration as end:
                joined = end.value is not None
                break
            assert not good, "a good JoinAccept was not taken"
            assert isinstance(action, Listen)
        assert joined == good == (mac.session is not None), "a bad JoinAccept was taken, or a good one was not"
        if good:
            self.session = mac.session
            self.legal()
            self.session = self.mac.session
        return fed

    # What must hold

    def state(self):
        return self.session.pack(self.session.fcnt_up) + bytes((self.mac.last_join_nonce & 0xFF,))

    def legal(self):
        session = self.session
        assert 1 <= session.rx1_delay_s <= 15
        assert 0 <= session.rx1_dr_offset <= 5
        assert 0 <= session.rx2_dr <= 6
        assert 863000000 <= session.rx2_freq_hz <= 870000000
        assert 0 <= session.dr <= 6
        assert 0 <= session.tx_power <= 7
        assert 1 <= session.nb_trans <= 15
        assert 0 <= session.max_duty <= 15
        assert len(session.answers) <= 120
        carried = False
        for index in range(16):
            freq_hz = session.channels[index]
            drs = session.channel_drs[index]
            on = session.channel_mask >> index & 1
            assert freq_hz or not on, "an undefined channel is on"
            if freq_hz:
                assert in_band(freq_hz), freq_hz
                assert drs & 15 <= drs >> 4 <= 6
            if index < 3:
                assert freq_hz == (868100000, 868300000, 868500000)[index]
                assert drs == 0x50
            if session.dl_channels[index]:
                assert 863000000 <= session.dl_channels[index] <= 870000000
            if on and drs & 15 <= session.dr <= drs >> 4:
                carried = True
        assert carried, "no channel carries the data rate"

    def lawful(self, action):
        assert action.eirp_dbm <= EIRP_DBM
        assert in_band(action.freq_hz)
        assert 7 <= action.sf <= 12
        assert 12 <= len(action.frame) <= 255

    # Downlinks: (frame, whether it is good)

    def noise(self):
        dice = self.dice
        frame = bytearray(self._bytes(dice(256) if dice(3) else dice(24)))
        if frame and dice(2):
            frame[0] = (0x60, 0xA0, 0x20, 0x40)[dice(4)]
            frame[1:5] = struct.pack("<I", DEV_ADDR)
        return bytes(frame), False

    def spoilt(self):
        """A good downlink made bad."""
        dice = self.dice
        how = dice(4)
        if how == 0:  # a counter that was used, or the same low half a round later
            fcnt = self.session.fcnt_down
            fcnt = fcnt - dice(min(fcnt + 1, 40)) if fcnt >= 0 and dice(2) else fcnt + 1 + 65536 * (1 + dice(9))
            if 0 <= fcnt <= _LAST_FCNT:
                return self._signed(fcnt, KEYS, DEV_ADDR), False
        fcnt = min(self.session.fcnt_down + 1, _LAST_FCNT)
        if how <= 1:
            return self._signed(fcnt, OTHER_KEYS, DEV_ADDR), False
        if how == 2:
            return self._signed(fcnt, KEYS, DEV_ADDR ^ 1 << dice(32)), False
        return self._spoil(self._signed(fcnt, KEYS, DEV_ADDR)), False

    def signed(self):
        """Well signed, with nonsense inside."""
        dice = self.dice
        fcnt = self.session.fcnt_down + 1 + dice((1, 5, 60000)[dice(3)])
        frame = self._signed(fcnt & _LAST_FCNT, KEYS, DEV_ADDR)
        # FOpts together with FPort 0: to be dropped, however well signed (TS001-1.0.4 4.3.1.6)
        size = frame[5] & 15
        return frame, fcnt <= _LAST_FCNT and not (size and len(frame) > 12 + size and frame[8 + size] == 0)

    def _signed(self, fcnt, keys, dev_addr):
        dice = self.dice
        fopts = b""
        port = None
        payload = b""
        if dice(3):
            fopts = self._commands(15)
        if dice(3):
            port = 0 if not dice(2) else dice(256)
            if port == 0 and dice(8):
                fopts = b""
            payload = self._commands(60) if port == 0 else self._bytes(dice(40))
        return downlink(keys, dev_addr, fcnt, fopts, port, payload, dice(16) << 4, not dice(3))

    def _commands(self, room):
        dice = self.dice
        if not dice(4):
            return self._bytes(dice(room + 1))
        block = b""
        while True:
            cid = _CIDS[dice(len(_CIDS))]
            size = {2: 2, 3: 4, 4: 1, 5: 4, 7: 5, 8: 1, 9: 1, 10: 4, 13: 5}.get(cid, 0)
            body = bytearray(self._bytes(size))
            if cid in (5, 7, 10) and dice(3):  # a frequency that may pass
                at = 2 if cid == 7 else 1
                body[at - (cid == 7) : at + 3 - (cid == 7)] = (8630000 + dice(70000)).to_bytes(3, "little")
            if cid == 3 and dice(3):
                body[3] &= 0x7F if dice(2) else 0x0F
            if len(block) + 1 + size > room:
                return block
            block += bytes((cid,)) + bytes(body)
            if not dice(4):
                return block[: len(block) - dice(2)]

    def _accept(self, last):
        dice = self.dice
        cflist = b"" if dice(2) else self._bytes(15) + bytes((dice(3),))
        if cflist and dice(2):
            cflist = b"".join([(8630000 + dice(70000)).to_bytes(3, "little") for _ in range(5)]) + b"\0"
        return join_accept(APP_KEY, last + 1 + dice(5), dice(1 << 24), dice(1 << 30), dice(256), dice(256), cflist)

    def _spoil(self, frame):
        """Something about the bytes is changed, and surely changed."""
        dice = self.dice
        spoilt = bytearray(frame)
        while bytes(spoilt) == frame:
            how = dice(5)
            if how == 0:
                spoilt[dice(len(spoilt))] ^= 1 << dice(8)
            elif how == 1:
                spoilt = spoilt[: dice(len(frame))] or bytearray(1)
            elif how == 2:
                spoilt += self._bytes(1 + dice(60))
            elif how == 3:
                at, to = dice(len(spoilt)), dice(len(spoilt))
                spoilt[at], spoilt[to] = spoilt[to], spoilt[at]
            else:
                at = dice(len(spoilt))
                spoilt[at : at + 4] = self._bytes(min(4, len(spoilt) - at))
        return bytes(spoilt)

    def _bytes(self, size):
        dice = self.dice
        out = bytearray(size)
        for at in range(0, size - 2, 3):
            number = dice(1 << 24)
            out[at] = number & 0xFF
            out[at + 1] = number >> 8 & 0xFF
            out[at + 2] = number >> 16
        return bytes(out)


def in_band(freq_hz):
    return any(low <= freq_hz <= high for low, high in _BANDS)


def main(count, seed):
    if sys.implementation.name == "micropython":
        gc.threshold(400000)  # type: ignore[attr-defined]
    fuzz = Fuzz(seed)
    fed = 0
    try:
        while fed < count:
            fed += fuzz.run(min(1000, count - fed))
    except BaseException:
        print("seed", seed, "after", fed, fuzz.counts)
        raise
    print("fed", fed, "taken", fuzz.taken, "kinds", *fuzz.counts)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
