"""The other end of a LoRaWAN 1.0.4 link, for tests: written on `cryptography` alone, sharing nothing with the firmware.

CPython only. EUIs are big-endian bytes, direction 0 is up and 1 is down, as everywhere.
"""

from __future__ import annotations

import struct

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC


def ecb(key: bytes, data: bytes, *, decrypt: bool = False) -> bytes:
    cipher = Cipher(algorithms.AES(key), modes.ECB())  # noqa: S305 - LoRaWAN is built on single AES blocks
    work = cipher.decryptor() if decrypt else cipher.encryptor()
    return work.update(data) + work.finalize()


def cmac(key: bytes, message: bytes) -> bytes:
    mac = CMAC(algorithms.AES(key))
    mac.update(message)
    return mac.finalize()


def session_keys(app_key: bytes, join_nonce: int, net_id: int, dev_nonce: int) -> tuple[bytes, bytes]:
    tail = join_nonce.to_bytes(3, "little") + net_id.to_bytes(3, "little") + dev_nonce.to_bytes(2, "little")
    nwk_skey, app_skey = (ecb(app_key, (bytes([kind]) + tail).ljust(16, b"\0")) for kind in (1, 2))
    return nwk_skey, app_skey


def join_request(app_key: bytes, join_eui: bytes, dev_eui: bytes, dev_nonce: int) -> bytes:
    body = b"\x00" + join_eui[::-1] + dev_eui[::-1] + dev_nonce.to_bytes(2, "little")
    return body + cmac(app_key, body)[:4]


def join_accept(
    app_key: bytes,
    *,
    join_nonce: int,
    net_id: int,
    dev_addr: int,
    dl_settings: int = 0,
    rx_delay: int = 0,
    cflist: bytes = b"",
) -> bytes:
    body = join_nonce.to_bytes(3, "little") + net_id.to_bytes(3, "little") + dev_addr.to_bytes(4, "little")
    body += bytes([dl_settings, rx_delay]) + cflist
    return b"\x20" + ecb(app_key, body + cmac(app_key, b"\x20" + body)[:4], decrypt=True)


def cflist(*freqs_hz: int, kind: int = 0) -> bytes:
    return b"".join((freq // 100).to_bytes(3, "little") for freq in freqs_hz).ljust(15, b"\0") + bytes([kind])


def crypt(key: bytes, dev_addr: int, fcnt: int, direction: int, data: bytes) -> bytes:
    out = b""
    for number in range(0, len(data), 16):
        block = struct.pack("<B4xBIIxB", 1, direction, dev_addr, fcnt, number // 16 + 1)
        out += bytes(a ^ b for a, b in zip(data[number : number + 16], ecb(key, block), strict=False))
    return out


def data_frame(
    nwk_skey: bytes,
    app_skey: bytes,
    dev_addr: int,
    fcnt: int,
    *,
    direction: int,
    port: int | None = None,
    payload: bytes = b"",
    confirmed: bool = False,
    fctrl: int = 0,
    fopts: bytes = b"",
) -> bytes:
    """A data frame in either direction; also one that the rules forbid (FOpts with FPort 0)."""
    mtype = (4 if confirmed else 2) + direction
    body = struct.pack("<BIBH", mtype << 5, dev_addr, fctrl | len(fopts), fcnt & 0xFFFF) + fopts
    if port is not None:
        body += bytes([port]) + crypt(app_skey if port else nwk_skey, dev_addr, fcnt, direction, payload)
    b0 = struct.pack("<B4xBIIxB", 0x49, direction, dev_addr, fcnt, len(body))
    return body + cmac(nwk_skey, b0 + body)[:4]
