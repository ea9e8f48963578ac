"""LoRaWAN 1.0.x cryptography of the network side (TS001-1.0.4 sections 4.3.3, 4.4, 6.2) on `cryptography`.

Everything is AES-128. A MIC is the first four bytes of an AES-CMAC (RFC 4493); FRMPayload is XORed with a key stream of
AES-encrypted counter blocks; a JoinAccept is AES-*decrypted* by the server, so that a node needs encryption only.

A session's cipher objects are made once and copied per frame: several times faster than making them per frame.
"""

from __future__ import annotations

import hmac
import struct

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC

UP, DOWN = 0, 1

_BLOCK = struct.Struct("<BIBIIBB")  # 01 or 49 | 00000000 | direction | DevAddr | FCnt, 32 bits | 00 | length or i


def cmac(key: bytes, message: bytes) -> bytes:
    """AES-CMAC, 16 bytes (RFC 4493)."""
    mac = CMAC(algorithms.AES(key))
    mac.update(message)
    return mac.finalize()


def same(a: bytes, b: bytes) -> bool:
    """Compare two MICs in constant time."""
    return hmac.compare_digest(a, b)


def join_mic(app_key: bytes, message: bytes) -> bytes:
    """MIC of a JoinRequest, or of a JoinAccept in clear (4 bytes); `message` starts at the MHDR (6.2.2, 6.2.3)."""
    return cmac(app_key, message)[:4]


def encrypt_join_accept(app_key: bytes, body: bytes) -> bytes:
    """The JoinAccept after the MHDR, fields and MIC, 16 or 32 bytes, as it goes on air (6.2.3)."""
    decryptor = Cipher(algorithms.AES(app_key), modes.ECB()).decryptor()  # noqa: S305 - LoRaWAN prescribes ECB
    return decryptor.update(body)


def derive_session_keys(app_key: bytes, join_nonce: int, net_id: int, dev_nonce: int) -> tuple[bytes, bytes]:
    """(NwkSKey, AppSKey) of a join (6.2.3)."""
    seed = struct.pack("<I", join_nonce)[:3] + struct.pack("<I", net_id)[:3] + struct.pack("<H", dev_nonce) + bytes(7)
    encryptor = Cipher(algorithms.AES(app_key), modes.ECB()).encryptor()  # noqa: S305 - LoRaWAN prescribes ECB
    return encryptor.update(b"\x01" + seed), encryptor.update(b"\x02" + seed)


class SessionCipher:
    """MIC and encryption of one session's data frames."""

    __slots__ = ("_app", "_mac", "_nwk", "dev_addr")

    def __init__(self, dev_addr: int, nwk_skey: bytes, app_skey: bytes) -> None:
        self.dev_addr = dev_addr
        self._mac = CMAC(algorithms.AES(nwk_skey))
        self._nwk = Cipher(algorithms.AES(nwk_skey), modes.ECB()).encryptor()  # noqa: S305 - builds the key stream
        self._app = Cipher(algorithms.AES(app_skey), modes.ECB()).encryptor()  # noqa: S305

    def mic(self, direction: int, fcnt: int, message: bytes) -> bytes:
        """The MIC (4 bytes) of `message`, MHDR to FRMPayload, under the 32-bit `fcnt` (4.4, block B0)."""
        mac = self._mac.copy()
        mac.update(_BLOCK.pack(0x49, 0, direction, self.dev_addr, fcnt, 0, len(message)) + message)
        return mac.finalize()[:4]

    def crypt(self, direction: int, fcnt: int, fport: int, data: bytes) -> bytes:
        """En- or decrypt a FRMPayload: NwkSKey for FPort 0, AppSKey for all others (4.3.3, blocks A_i)."""
        size = len(data)
        if not size:
            return b""
        head = _BLOCK.pack(1, 0, direction, self.dev_addr, fcnt, 0, 0)[:15]
        blocks = b"".join(head + bytes((i,)) for i in range(1, (size + 15) // 16 + 1))
        stream = (self._app if fport else self._nwk).update(blocks)[:size]
        return (int.from_bytes(data, "big") ^ int.from_bytes(stream, "big")).to_bytes(size, "big")
