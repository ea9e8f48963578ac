"""LoRaWAN 1.0.x cryptography on AES-128 block encryption, which is all it needs.

Written for few allocations: a CMAC is one CBC call, a key stream one ECB call, XOR is done on whole integers.
Keys are 16 bytes; dev_addr, net_id and nonces are int; direction is 0 for up and 1 for down; fcnt is the full 32 bit.
"""

import struct

from cryptolib import aes
from micropython import const

UP = const(0)
DOWN = const(1)

_ECB = const(1)
_CBC = const(2)
_ZERO = bytes(16)
_TOP = 1 << 128
_RB = _TOP | 0x87  # RFC 4493 section 2.3; the top bit takes away what the shift left over
_last: list = [None, None]  # a key and its subkeys: mostly the NwkSKey, and again


def subkeys(key):
    """K1 and K2 of AES-CMAC as ints (RFC 4493 section 2.3)."""
    if _last[0] == key:
        return _last[1]
    k1 = int.from_bytes(aes(key, _ECB).encrypt(_ZERO), "big") << 1
    if k1 & _TOP:
        k1 ^= _RB
    k2 = k1 << 1
    if k2 & _TOP:
        k2 ^= _RB
    _last[0] = key
    _last[1] = k1, k2
    return _last[1]


def cmac(key, msg):
    """AES-CMAC of `msg`, 16 bytes (RFC 4493)."""
    last, padded = subkeys(key)
    tail = len(msg) % 16
    if tail or not msg:
        last = padded
        msg = msg + b"\x80" + bytes(15 - tail)
    head = len(msg) - 16
    last ^= int.from_bytes(msg[head:], "big")
    return aes(key, _CBC, _ZERO).encrypt(msg[:head] + last.to_bytes(16, "big"))[-16:]


def data_mic(nwk_skey, dev_addr, fcnt, direction, msg):
    """MIC, 4 bytes, of a data frame without its MIC (TS001-1.0.4 4.4)."""
    b0 = struct.pack("<BIBIIBB", 0x49, 0, direction, dev_addr, fcnt, 0, len(msg))
    return cmac(nwk_skey, b0 + msg)[:4]


def crypt_payload(key, dev_addr, fcnt, direction, data):
    """Encrypt or decrypt an FRMPayload (TS001-1.0.4 4.3.3). key: AppSKey, or NwkSKey for FPort 0."""
    size = len(data)
    if not size:
        return b""
    blocks = b""
    for i in range(0, size, 16):
        blocks += struct.pack("<BIBIIBB", 1, 0, direction, dev_addr, fcnt, 0, i // 16 + 1)
    stream = aes(key, _ECB).encrypt(blocks)[:size]
    return (int.from_bytes(stream, "big") ^ int.from_bytes(data, "big")).to_bytes(size, "big")


def join_mic(app_key, msg):
    """MIC, 4 bytes, of a JoinRequest, or of a decrypted JoinAccept with its MHDR (TS001-1.0.4 6.2.5, 6.2.6)."""
    return cmac(app_key, msg)[:4]


def decrypt_join_accept(app_key, body):
    """The fields and MIC of a JoinAccept. body: 16 or 32 bytes, what follows MHDR.

    The network used AES *decryption* to encrypt, so that a device needs no decryption.
    """
    return aes(app_key, _ECB).encrypt(body)


def session_keys(app_key, join_nonce, net_id, dev_nonce):
    """(NwkSKey, AppSKey), 16 bytes each (TS001-1.0.4 6.2.6)."""
    tail = struct.pack("<IIH", join_nonce, net_id, dev_nonce)
    tail = tail[:3] + tail[4:7] + tail[8:] + bytes(7)
    keys = aes(app_key, _ECB).encrypt(b"\x01" + tail + b"\x02" + tail)
    return keys[:16], keys[16:]
