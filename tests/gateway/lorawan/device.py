"""A LoRaWAN 1.0.4 end device for tests, straight from the specification on `cryptography`.

It shares no code with the network server or with the firmware, so that an error common to both would show.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC


def aes(key: bytes, block: bytes) -> bytes:
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(block)  # noqa: S305 - prescribed


def mic(key: bytes, message: bytes) -> bytes:
    mac = CMAC(algorithms.AES(key))
    mac.update(message)
    return mac.finalize()[:4]


@dataclass
class Accepted:
    """A JoinAccept as the device reads it."""

    join_nonce: int
    net_id: int
    dev_addr: int
    rx1_dr_offset: int
    rx2_dr: int
    rx_delay_s: int
    cf_list_hz: list[int]


@dataclass
class Downlink:
    """A data downlink as the device reads it."""

    fcnt: int
    confirmed: bool
    ack: bool
    f_pending: bool
    fport: int | None
    payload: bytes
    fopts: bytes = b""


class EndDevice:
    def __init__(self, number: int = 1) -> None:
        self.dev_eui = bytes.fromhex("70b3d57ed00000") + bytes([number])
        self.join_eui = bytes.fromhex("70b3d57ed0ffff00")
        self.app_key = bytes([number]) * 16
        self.dev_nonce = -1
        self.dev_addr = 0
        self.nwk_skey = self.app_skey = bytes(16)
        self.fcnt_up = -1
        self.last_join_nonce = -1

    def join_request(self, dev_nonce: int | None = None) -> bytes:
        self.dev_nonce = self.dev_nonce + 1 if dev_nonce is None else dev_nonce
        message = b"\x00" + self.join_eui[::-1] + self.dev_eui[::-1] + self.dev_nonce.to_bytes(2, "little")
        return message + mic(self.app_key, message)

    def join_accept(self, phy: bytes) -> Accepted:
        """Read a JoinAccept and begin its session."""
        clear = b"".join(aes(self.app_key, phy[i : i + 16]) for i in range(1, len(phy), 16))
        assert phy[0] == 0x20
        assert mic(self.app_key, phy[:1] + clear[:-4]) == clear[-4:]
        accepted = Accepted(
            join_nonce=int.from_bytes(clear[:3], "little"),
            net_id=int.from_bytes(clear[3:6], "little"),
            dev_addr=int.from_bytes(clear[6:10], "little"),
            rx1_dr_offset=clear[10] >> 4,
            rx2_dr=clear[10] & 0x0F,
            rx_delay_s=clear[11],
            cf_list_hz=[int.from_bytes(clear[i : i + 3], "little") * 100 for i in range(12, len(clear) - 5, 3)],
        )
        assert accepted.join_nonce > self.last_join_nonce, "a 1.0.4 device refuses a JoinNonce that does not rise"
        self.last_join_nonce = accepted.join_nonce
        seed = clear[:6] + self.dev_nonce.to_bytes(2, "little") + bytes(7)
        self.nwk_skey, self.app_skey = aes(self.app_key, b"\x01" + seed), aes(self.app_key, b"\x02" + seed)
        self.dev_addr, self.fcnt_up = accepted.dev_addr, -1
        return accepted

    def uplink(
        self,
        payload: bytes = b"",
        fport: int | None = 1,
        *,
        fcnt: int | None = None,
        confirmed: bool = False,
        fctrl: int = 0,
        fopts: bytes = b"",
    ) -> bytes:
        """An uplink with the next counter, or with the 32-bit `fcnt`."""
        self.fcnt_up = fcnt = self.fcnt_up + 1 if fcnt is None else fcnt
        message = bytes([0x80 if confirmed else 0x40]) + self.dev_addr.to_bytes(4, "little")
        message += bytes([fctrl | len(fopts)]) + (fcnt & 0xFFFF).to_bytes(2, "little") + fopts
        if fport is not None:
            message += bytes([fport]) + self._crypt(fport, 0, fcnt, payload)
        return message + mic(self.nwk_skey, self._b0(0, fcnt, len(message)) + message)

    def downlink(self, phy: bytes, fcnt_upper: int = 0) -> Downlink:
        """Read a data downlink; fails when it is not for this device or not signed with its key."""
        message = phy[:-4]
        assert phy[0] in (0x60, 0xA0)
        assert int.from_bytes(phy[1:5], "little") == self.dev_addr
        fcnt = fcnt_upper << 16 | int.from_bytes(phy[6:8], "little")
        assert mic(self.nwk_skey, self._b0(1, fcnt, len(message)) + message) == phy[-4:]
        fopts, rest = message[8 : 8 + (phy[5] & 0x0F)], message[8 + (phy[5] & 0x0F) :]
        fport = rest[0] if rest else None
        payload = b"" if fport is None else self._crypt(fport, 1, fcnt, rest[1:])
        return Downlink(fcnt, phy[0] == 0xA0, bool(phy[5] & 0x20), bool(phy[5] & 0x10), fport, payload, fopts)

    def _b0(self, direction: int, fcnt: int, size: int) -> bytes:
        return self._block(0x49, direction, fcnt, size)

    def _block(self, first: int, direction: int, fcnt: int, last: int) -> bytes:
        address, counter = self.dev_addr.to_bytes(4, "little"), fcnt.to_bytes(4, "little")
        return bytes([first, 0, 0, 0, 0, direction]) + address + counter + bytes([0, last])

    def _crypt(self, fport: int, direction: int, fcnt: int, data: bytes) -> bytes:
        key = self.app_skey if fport else self.nwk_skey
        stream = b"".join(aes(key, self._block(1, direction, fcnt, i + 1)) for i in range((len(data) + 15) // 16))
        return bytes(a ^ b for a, b in zip(data, stream, strict=False))
