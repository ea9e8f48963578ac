"""AES-CMAC, MIC, payload encryption and session keys, against published values."""

from binascii import unhexlify as b

from expect import equal
from lorawan import crypto
from lorawan_rows import rows


def check_cmac(vectors):
    for row in rows(vectors, "aes_cmac"):
        equal(crypto.cmac(b(row["key"]), b(row["msg"])), b(row["mac"]), row["name"])


def check_cmac_subkeys(vectors):
    row = vectors["aes_cmac_subkeys"]
    k1, k2 = crypto.subkeys(b(row["key"]))
    equal(k1.to_bytes(16, "big"), b(row["k1"]), "K1")
    equal(k2.to_bytes(16, "big"), b(row["k2"]), "K2")
    equal(crypto.decrypt_join_accept(b(row["key"]), bytes(16)), b(row["aes_zero"]), "AES of zeros")


def check_aes_block(vectors):
    """A JoinAccept is decrypted by AES encryption: the bare block cipher can be seen through it."""
    for row in rows(vectors, "aes_ecb"):
        equal(crypto.decrypt_join_accept(b(row["key"]), b(row["plain"])), b(row["cipher"]), row["name"])


def check_mic_depends_on_direction(vectors):
    for row in rows(vectors, "mic_direction"):
        for direction in (crypto.UP, crypto.DOWN):
            mic = crypto.data_mic(
                b(row["key"]), int(row["devAddr"], 16), row["fcnt"], direction, b(row["msgWithoutMic"])
            )
            equal(mic, b(row[f"mic_dir{direction}"]), row["name"])


def check_payload_encryption_both_ways(vectors):
    for row in rows(vectors, "frm_payload_crypto"):
        for given, wanted in (("plaintext", "ciphertext"), ("ciphertext", "plaintext")):
            got = crypto.crypt_payload(b(row["key"]), int(row["devAddr"], 16), row["fcnt"], row["dir"], b(row[given]))
            equal(got, b(row[wanted]), row["name"])


def check_session_keys(vectors):
    for row in rows(vectors, "session_keys"):
        nwk_skey, app_skey = crypto.session_keys(
            b(row["appKey"]), int(row["joinNonce"], 16), int(row["netId"], 16), int(row["devNonce"], 16)
        )
        equal(nwk_skey, b(row["nwkSKey"]), row["name"])
        equal(app_skey, b(row["appSKey"]), row["name"])


class Counted:
    """AES that writes down how many bytes it is given."""

    def __init__(self, aes, sizes):
        self.aes = aes
        self.sizes = sizes

    def encrypt(self, data):
        self.sizes.append(len(data))
        return self.aes.encrypt(data)


def encrypted(function, *arguments):
    """Sizes of what it encrypts, one for each call of AES."""
    sizes = []
    real = crypto.aes
    crypto.aes = lambda *given: Counted(real(*given), sizes)
    try:
        function(*arguments)
    finally:
        crypto.aes = real
    return sizes


def check_nothing_is_encrypted_in_vain():
    """A call of AES sets its key up, which takes longer than a block: one for each CMAC and key stream, whole blocks
    only; subkeys once for a key; none at all for an empty payload."""
    key = b"one key, 16 byte"
    equal(encrypted(crypto.cmac, key, b""), [16, 16])
    for size, want in ((0, 16), (1, 16), (16, 16), (17, 32), (32, 32), (243, 256)):
        equal(encrypted(crypto.cmac, key, bytes(size)), [want], size)
    equal(encrypted(crypto.cmac, b"another, 16 byte", b""), [16, 16])
    equal(encrypted(crypto.cmac, key, b""), [16, 16])
    for size in range(243):
        blocks = [-(-size // 16) * 16] if size else []
        equal(encrypted(crypto.crypt_payload, key, 1, 0, crypto.UP, bytes(size)), blocks, size)


def check_every_block_of_the_longest_payload():
    """242 bytes are 16 blocks, numbered from 1 (TS001-1.0.4 4.3.3)."""
    import struct

    from cryptolib import aes

    key = bytes(range(16))
    data = bytes(range(242))
    got = crypto.crypt_payload(key, 0x01020304, 77, 1, data)
    for number in range(1, 17):
        stream = aes(key, 1).encrypt(struct.pack("<BIBIIBB", 1, 0, 1, 0x01020304, 77, 0, number))
        at = 16 * (number - 1)
        equal(got[at : at + 16], bytes([a ^ b for a, b in zip(data[at : at + 16], stream)]), number)
