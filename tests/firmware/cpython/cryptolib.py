"""MicroPython's `cryptolib` for CPython: AES in the modes ECB (1) and CBC (2), on the `cryptography` package.

As strict as the original: a key of 16 or 32 bytes, whole blocks only.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes


class aes:  # noqa: N801 - MicroPython's name
    def __init__(self, key: bytes, mode: int, iv: bytes | None = None) -> None:
        if len(key) not in (16, 32):
            raise ValueError("key")
        if mode == 1:
            chaining: modes.Mode = modes.ECB()  # noqa: S305 - LoRaWAN is built on single AES blocks
        elif mode == 2 and iv is not None and len(iv) == 16:
            chaining = modes.CBC(iv)
        else:
            raise ValueError("mode")
        cipher = Cipher(algorithms.AES(key), chaining)
        self._encryptor = cipher.encryptor()
        self._decryptor = cipher.decryptor()

    def encrypt(self, data: bytes) -> bytes:
        if len(data) % 16:
            raise ValueError("blksize % 16")
        return self._encryptor.update(data)

    def decrypt(self, data: bytes) -> bytes:
        if len(data) % 16:
            raise ValueError("blksize % 16")
        return self._decryptor.update(data)
