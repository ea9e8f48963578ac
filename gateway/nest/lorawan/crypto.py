"""LoRaWAN 1.0.x cryptography of the network side (TS001-1.0.4 sections 4.3.3, 4.4, 6.2) on `cryptography`.

Everything is AES-128. A MIC is the first four bytes of an AES-CMAC (RFC 4493); FRMPayload is XORed with a key stream of
AES-encrypted counter blocks; a JoinAccept is AES-*decrypted* by the server, so that a node needs encryption only.

The counter blocks A_i of 4.3.3 are those of CCM with a 13-byte nonce (RFC 3610: flags 01, nonce, two bytes of counter
from 1 on), so AESCCM does the whole of it in one call; its tag is cut off. A session's objects are made once and copied
per frame: several times faster than making them per frame.
"""

from __future__ import annotations

import hmac
import struct

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM
from cryptography.hazmat.primitives.cmac import CMAC

UP, DOWN = 0, 1

_B0 = struct.Struct("<BIBIIBB")  # 49 | 00000000 | direction | DevAddr | FCnt, 32 bits | 00 | length of the message
_NONCE = struct.Struct("<IBII")  # A_i without its first byte and its last two: 00000000 | direction | DevAddr | FCnt
_TAG = 4  # bytes, the shortest that CCM knows; LoRaWAN has its own MIC


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

    __slots__ = ("_app", "_dev_addr", "_mac", "_nwk_skey")

    def __init__(self, dev_addr: int, nwk_skey: bytes, app_skey: bytes) -> None:
        self._dev_addr = dev_addr
        self._mac = CMAC(algorithms.AES(nwk_skey))
        self._app = AESCCM(app_skey, _TAG)
        self._nwk_skey = nwk_skey

    def mic(self, direction: int, fcnt: int, message: bytes) -> bytes:
        """The MIC (4 bytes) of `message`, MHDR to FRMPayload, under the 32-bit `fcnt` (4.4, block B0)."""
        mac = self._mac.copy()
        mac.update(_B0.pack(0x49, 0, direction, self._dev_addr, fcnt, 0, len(message)) + message)
        return mac.finalize()[:4]

    def crypt(self, direction: int, fcnt: int, fport: int, data: bytes) -> bytes:
        """En- or decrypt a FRMPayload: NwkSKey for FPort 0, AppSKey for all others (4.3.3)."""
        if not data:
            return b""
        key = self._app if fport else AESCCM(self._nwk_skey, _TAG)
        return key.encrypt(_NONCE.pack(0, direction, self._dev_addr, fcnt), data, None)[:-_TAG]
