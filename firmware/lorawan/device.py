"""A MAC with a memory: what a device must not forget is stored before it matters.

Two stores, both handed in. `ram` holds the exact state and is written before every transmission; it survives deep
sleep and resets. `flash` survives power cuts and is written rarely, so it holds what is *reserved*: counters and
airtime up to which the device may go on without writing again. After a power cut everything reserved counts as used.

The order keeps every crash harmless: the state goes to ram under the old reservations, then the new reservations to
flash, then, with them, to ram again, and only then on air. Flash has two slots, written in turn, each with a sequence
number and a CRC. The newest is read before the other one is overwritten: if it has gone bad, it is written again
instead. When after a power cut one slot is damaged, it may have been the newer: the other one is used with as much
counted as used as the lost one could have reserved, and both are written at once.

The session is bound to the key and to the region: a record of another one's gives its airtime and its DevNonce, not the
session.
Source: TR007-1.1 4.13, 4.14 (what to keep), TS001-1.0.4 6.2.4 (DevNonce is never used again).
"""

import struct
from binascii import crc32

from micropython import const

from lorawan import crypto
from lorawan.ledger import JoinClock, Ledger
from lorawan.mac import Mac
from lorawan.session import Session

_MAGIC = b"FD\x01"  # the last byte is the version of the format
# sequence number, node time, next DevNonce, JoinNonce + 1, first FCntUp not reserved, first DevNonce not reserved,
# DevNonces in the next block, join channels used, lengths of: timing, ledger, join clock, session; binding
_HEAD = "<IQIIQIBBBHBH4s"
_HEAD_SIZE = len(_MAGIC) + struct.calcsize(_HEAD)
_FCNT_BLOCK = const(128)  # uplinks between two writes of flash
_NONCE_BLOCK_MAX = const(8)  # DevNonces reserved at a time: 1 after a power cut, then 2, 4, 8
_LAST_DEV_NONCE = const(0xFFFF)


class NoDevNonce(ValueError):
    """All 65536 DevNonces are used: the device needs another JoinEUI or key (TS001-1.0.4 6.2.4)."""


class Device:
    """region, timing, max_eirp_dbm, adr, rng: as for Mac. dev_eui, join_eui: 8 bytes big-endian; app_key: 16 bytes.

    flash: read(slot) -> bytes or None, write(slot, data), durable when it returns; slots 0 and 1, below 600 bytes.
    ram: read() -> bytes, write(data), below 800 bytes.
    run(exchange, before_transmit): carries out an exchange of the MAC, see radio.runner.
    uptime_ms(): ms since this start. slept_ms: what certainly passed in deep sleep since the last `save`.
    first_dev_nonce: no smaller DevNonce is used, whatever the records say.
    """

    def __init__(
        self,
        region,
        dev_eui,
        join_eui,
        app_key,
        flash,
        ram,
        run,
        uptime_ms,
        rng,
        timing=None,
        max_eirp_dbm=None,
        slept_ms=0,
        first_dev_nonce=0,
        adr=True,
    ):
        self._identity = dev_eui, join_eui, app_key
        self._binding = crypto.cmac(app_key, b"funkspatz session" + dev_eui)[:4]
        self._flash = flash
        self._ram = ram
        self._run = run
        self._uptime_ms = uptime_ms
        self._sequence = 0
        self._start_ms = 0
        self._nonce_block = 1
        self._fcnt_reserved = 0
        self._nonce_reserved = 0
        self.dev_nonce = 0
        self.mac = Mac(region, None, rng, timing, max_eirp_dbm, None, adr)
        if self._take(ram.read()):
            self._start_ms += slept_ms
            self.dev_nonce = max(self.dev_nonce, first_dev_nonce)
        else:
            self._take_flash(first_dev_nonce)

    @property
    def session(self):
        return self.mac.session

    @property
    def joined(self):
        return self.mac.session is not None

    @property
    def lost(self):
        """Whether the network seems to have forgotten this device; the session is kept until a join works."""
        return self.mac.lost

    def now_ms(self):
        """Node time: ms of powered time known for certain."""
        return self._start_ms + self._uptime_ms()

    def join_wait_ms(self, dr):
        """ms until `join` may be called."""
        return self.mac.join_wait_ms(dr, self.now_ms())

    def join(self, dr=None):
        """One JoinRequest. Returns Joined or None; raises NoAirtime, NoDevNonce, and what `run` or flash raise."""
        dev_eui, join_eui, app_key = self._identity
        nonce = self.dev_nonce
        if nonce > _LAST_DEV_NONCE:
            raise NoDevNonce("no DevNonce left")
        exchange = self.mac.join(dev_eui, join_eui, app_key, nonce, dr, self.now_ms())
        self.dev_nonce = nonce + 1
        return self._carry_out(exchange)

    def room(self):
        """Bytes of payload that the next uplink takes beside what the MAC has to say."""
        return self.mac.room()

    def request(self, cid):
        """See Mac.request."""
        self.mac.request(cid)

    def wait_ms(self, size):
        """ms until an uplink with `size` bytes of payload may begin."""
        return self.mac.wait_ms(size, self.now_ms())

    def uplink(self, port, payload, confirmed=False):
        """One uplink with its repetitions. Returns an Outcome, everything it changed being stored.

        Raises as Mac.uplink, and what `run` or flash raise.
        """
        outcome = self._carry_out(self.mac.uplink(port, payload, confirmed, self.now_ms()))
        stale = self.mac.ledger.stale(self.now_ms())
        if stale or (outcome.downlinks and not _owes(self.mac.session)):
            self._store()
        return outcome

    def leave(self):
        """Forget the session: the device has to join again."""
        self.mac.session = None
        self._fcnt_reserved = 0
        self._store()

    def save(self):
        """Keep the exact state; to be called before deep sleep, and at least every hour or so while there is power:
        time that is not in a record is lost to a power cut, and waiting for airtime begins anew."""
        if self.mac.join_clock.stale(self.now_ms()):
            try:
                self._store()
            except OSError:
                pass  # it is in ram; flash would only have made the next join earlier
        else:
            self._save()

    def _save(self):
        self._ram.write(self._pack(True))

    def _carry_out(self, exchange):
        before = self.mac.session
        try:
            return self._run(exchange, self._before_transmit)
        finally:
            session = self.mac.session
            if session is not before:
                self._fcnt_reserved = 0
                self._store()
            elif session is not None and _owes(session):
                self._store()  # what the network waits for, and the FCntDown that brought it, outlive a power cut
            else:
                self.save()

    def _before_transmit(self, action):
        mac = self.mac
        now_ms = self.now_ms()
        session = mac.session
        if session is not None and action.frame[0]:  # an uplink: a join that could not be stored does not keep it back
            due = session.changed or session.fcnt_up > self._fcnt_reserved
        else:
            due = self.dev_nonce > self._nonce_reserved or not mac.join_clock.covered()
        if due or not mac.ledger.covered(now_ms):
            self._store()
        else:
            self.save()

    # Records

    def _store(self):
        """Reserve ahead and write flash, between two writes of ram. What flash refuses to keep is not reserved."""
        mac = self.mac
        self._save()
        before = self._sequence, self._fcnt_reserved, self._nonce_reserved, self._nonce_block
        ledger = mac.ledger.pack()
        clock = mac.join_clock.pack()
        try:
            self._write()
        except BaseException:  # Ctrl-C, too
            self._sequence, self._fcnt_reserved, self._nonce_reserved, self._nonce_block = before
            mac.ledger = Ledger.unpack(mac.region, ledger)
            mac.join_clock = JoinClock.unpack(clock)
            raise
        if mac.session is not None:
            mac.session.changed = False
        self._save()

    def _write(self):
        mac = self.mac
        if self.dev_nonce > self._nonce_reserved:
            self._nonce_reserved = self.dev_nonce - 1 + self._nonce_block
            self._nonce_block = min(2 * self._nonce_block, _NONCE_BLOCK_MAX)
        if mac.session is not None:
            self._fcnt_reserved = mac.session.fcnt_up + _FCNT_BLOCK
        mac.ledger.promise(self.now_ms())
        mac.join_clock.promise()
        bad = self._sequence and _checked(self._flash.read(self._sequence & 1)) is None
        for _ in range(2 if bad else 1):  # the newest has gone bad meanwhile: it is mended before the other is touched
            self._sequence += 2 if bad else 1
            bad = False
            self._flash.write(self._sequence & 1, self._pack(False))

    def _pack(self, exact):
        mac = self.mac
        session = mac.session
        now_ms = self.now_ms()
        parts = (
            mac.timing.pack(),
            mac.ledger.pack() if exact else mac.ledger.pack_promise(now_ms),
            mac.join_clock.pack() if exact else mac.join_clock.pack_promise(now_ms),
            b"" if session is None else session.pack(None if exact else self._fcnt_reserved),
        )
        head = struct.pack(
            _HEAD,
            self._sequence,
            now_ms,
            self.dev_nonce if exact else self._nonce_reserved,
            mac.last_join_nonce + 1,
            self._fcnt_reserved,
            self._nonce_reserved,
            self._nonce_block,
            mac.join_channels_used,
            len(parts[0]),
            len(parts[1]),
            len(parts[2]),
            len(parts[3]),
            self._binding,
        )
        body = b"".join((_MAGIC, head) + parts)
        return body + struct.pack("<I", crc32(body))

    def _take(self, data, exact=True, damaged=False):
        """Take over a record; False when there is none or it is damaged."""
        head = _checked(data)
        if head is None:
            return False
        mac = self.mac
        at = _HEAD_SIZE
        parts = []
        for size in head[8:12]:
            parts.append(data[at : at + size])
            at += size
        self._sequence, self._start_ms, self.dev_nonce = head[:3]
        mac.join_channels_used = head[7]
        mac.timing.restore(parts[0])
        if exact:
            self._fcnt_reserved, self._nonce_reserved, self._nonce_block = head[4:7]
            mac.ledger = Ledger.unpack(mac.region, parts[1])
            mac.join_clock = JoinClock.unpack(parts[2])
        else:
            if damaged:  # what the lost record may have reserved is not known
                parts[1] = b""
            mac.ledger = Ledger.after_power_cut(mac.region, parts[1], head[1])
            mac.join_clock = JoinClock.after_power_cut(parts[2], head[1], damaged)
        if head[12] == self._binding:
            mac.last_join_nonce = head[3] - 1
            session = Session.unpack(parts[3])
            channels = mac.region.DEFAULT_CHANNELS_HZ  # which every session of the region has, and no other
            if session is not None and tuple(session.channels[: len(channels)]) == channels:
                mac.session = session
        return True

    def _take_flash(self, first_dev_nonce):
        """After a power cut: the newer good slot."""
        slots = [self._flash.read(0), self._flash.read(1)]
        heads = [_checked(slots[0]), _checked(slots[1])]
        newer = 1 if heads[1] and not (heads[0] and heads[0][0] > heads[1][0]) else 0
        head = heads[newer]
        other = heads[1 - newer]
        if head is None:
            self.dev_nonce = first_dev_nonce
            return
        sequence = head[0]
        damaged = other[0] != sequence - 1 if other else sequence > 1 or slots[1 - newer] is not None
        self._take(slots[newer], False, damaged)
        self.mac.hush(self.now_ms())
        if self.mac.session is not None:
            # The count of silent uplinks is only as new as the record: ask now whether the network still knows us.
            self.mac.session.adr_ack_cnt += self.mac.region.ADR_ACK_LIMIT
        self.dev_nonce = max(self.dev_nonce, first_dev_nonce)
        if damaged:
            self.dev_nonce += _NONCE_BLOCK_MAX
            if self.mac.session is not None:
                self.mac.session.fcnt_up += _FCNT_BLOCK + 1
            # Both slots, before anything else: else the same numbers would be found again after the next damage. The
            # gap in the sequence says "damaged" until both are written.
            self._sequence = sequence + 2
            self._write()
            self._write()


def _owes(session):
    """Whether the network waits for something."""
    return session.changed or session.ack_owed or session.answers


def _checked(data):
    """The head of a good record as a tuple, else None."""
    if not data or len(data) < _HEAD_SIZE + 4 or bytes(data[: len(_MAGIC)]) != _MAGIC:
        return None
    head = struct.unpack_from(_HEAD, data, len(_MAGIC))
    end = _HEAD_SIZE + head[8] + head[9] + head[10] + head[11]
    if len(data) < end + 4 or struct.unpack_from("<I", data, end)[0] != crc32(data[:end]):
        return None
    return head
