"""Who this node is: DevEUI, JoinEUI and AppKey in NVS, and the counters that may never go back (contract 2).

NVS namespace `spatz`: blobs `dev_eui` (8 bytes), `join_eui` (8), `app_key` (16); i32 `dev_nonce` (the next unused one),
`join_nonce` (the last accepted one; whoever writes a new key erases it, because the new key's JoinNonces begin anew).
The AppKey is never printed.
"""

from micropython import const

_LAST_DEV_NONCE = const(0xFFFF)  # 16 bits, a counter since LoRaWAN 1.0.4 (TS001-1.0.4 6.2.4)
# what esp32.NVS says of a key: ESP_ERR_NVS_NOT_FOUND, _TYPE_MISMATCH, _INVALID_LENGTH (longer than the buffer)
_NOT_FOUND = -0x1102
_OTHER_KIND = (-0x1103, -0x110C)


class IdentityError(Exception):
    """The node does not know who it is, or may not join any more; the text says so in plain words."""


class Identity:
    """dev_eui, join_eui: 8 bytes big-endian; app_key: 16 bytes. nvs: `esp32.NVS("spatz")`.

    Raises IdentityError; and OSError, from every method, when NVS cannot be read or written now.
    """

    def __init__(self, nvs):
        self._nvs = nvs
        self.dev_eui = self._blob("dev_eui", 8)
        self.join_eui = self._blob("join_eui", 8)
        self.app_key = self._blob("app_key", 16)

    def reserve_dev_nonce(self):
        """A DevNonce that was never used. It is spent when this returns: committed before anything is sent with it.

        Raises IdentityError when all are spent.
        """
        nonce = self._number("dev_nonce", 0)
        if not 0 <= nonce <= _LAST_DEV_NONCE:
            raise IdentityError("This node has used up its join numbers.")
        self._keep("dev_nonce", nonce + 1)
        return nonce

    @property
    def join_nonce(self):
        """The JoinNonce of the last accepted JoinAccept, -1 for none."""
        return self._number("join_nonce", -1)

    @join_nonce.setter
    def join_nonce(self, nonce):
        self._keep("join_nonce", nonce)

    def _number(self, key, missing):
        try:
            return self._nvs.get_i32(key)
        except OSError as error:
            if error.args[0] != _NOT_FOUND:
                raise  # a counter that cannot be read is not a counter at its beginning
            return missing

    def _keep(self, key, number):
        self._nvs.set_i32(key, number)
        self._nvs.commit()

    def _blob(self, key, size):
        value = bytearray(size)
        try:
            length = self._nvs.get_blob(key, value)
        except OSError as error:
            if error.args[0] == _NOT_FOUND:
                raise IdentityError("This node does not know who it is yet: it has no identity.") from None
            if error.args[0] not in _OTHER_KIND:
                raise
            length = 0
        if length != size:
            raise IdentityError("The identity on this node is damaged.")
        return bytes(value)
