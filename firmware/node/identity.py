"""Who this node is: DevEUI, JoinEUI and AppKey in NVS, and the records of lorawan.device (contracts 2 and 4).

NVS namespace `spatz`: blobs `dev_eui` (8 bytes), `join_eui` (8), `app_key` (16), written by whoever sets the node up;
i32 `dev_nonce`, written by him too if the node may not use smaller ones (its flash was erased, its key stayed);
blobs `state0`, `state1`, written by the node; i32 `cert_off`, 1 when a test tool has ended certification for good;
i32 `set_interval`, `set_parity`, `set_confirmed`: settings that came by radio. They go before those of config.json,
each as long as that says what it said then (i32 `was_interval` …): who changes it at the cable has the last word, and
what was set before is erased.
The AppKey is never printed.
"""

from micropython import const

INTERVAL_S = (5, 65535)  # what settings may be
PARITY_MAX = const(4)
_RECORD_MAX = const(600)  # bytes of a record of lorawan.device
# what esp32.NVS says of a key: ESP_ERR_NVS_NOT_FOUND, _TYPE_MISMATCH, _INVALID_LENGTH (longer than the buffer)
_NOT_FOUND = -0x1102
_OTHER_KIND = (-0x1103, -0x110C)


class IdentityError(Exception):
    """The node does not know who it is, or may not join any more; the text says so in plain words."""


class Identity:
    """dev_eui, join_eui: 8 bytes big-endian; app_key: 16 bytes. nvs: `esp32.NVS("spatz")`; config: of config.json.

    Raises IdentityError; and OSError, from every method, when NVS cannot be read or written now.
    """

    def __init__(self, nvs, config=None):
        self._nvs = nvs
        self._config = config or {}
        self.dev_eui = self._blob("dev_eui", 8)
        self.join_eui = self._blob("join_eui", 8)
        self.app_key = self._blob("app_key", 16)

    @property
    def first_dev_nonce(self):
        """The smallest DevNonce that may be used."""
        return self._number("dev_nonce")

    @property
    def certification_ended(self):
        """Whether FPort 224 is off, whatever config.json says."""
        return self._number("cert_off") != 0

    def end_certification(self):
        """Switch FPort 224 off for good."""
        self._nvs.set_i32("cert_off", 1)
        self._nvs.commit()

    def setting(self, name, otherwise):
        """What the network has set: "interval", "parity" or "confirmed"; `otherwise` when it has not."""
        was = self._configured(name)
        if self._number("was_" + name, was) != was:
            for key in ("set_", "was_"):  # in this order: a cut must not revive what was before
                self._erase(key + name)
        return self._number("set_" + name, otherwise)

    def set(self, name, value):
        """Keep a setting; durable on return."""
        if self.setting(name, None) != value:
            # in this order, since flash has each at once: a cut must not leave one that outlives the next config.json
            self._nvs.set_i32("was_" + name, self._configured(name))
            self._nvs.set_i32("set_" + name, value)
            self._nvs.commit()

    def _configured(self, name):
        try:
            return int(self._config.get("interval_s" if name == "interval" else name, -1))
        except (TypeError, ValueError):  # written by hand
            return -1

    def _erase(self, key):
        try:
            self._nvs.erase_key(key)
        except OSError as error:
            if error.args[0] != _NOT_FOUND:
                raise
        self._nvs.commit()

    def _number(self, key, otherwise=0):
        try:
            return self._nvs.get_i32(key)
        except OSError as error:
            if error.args[0] != _NOT_FOUND:
                raise  # a counter that cannot be read is not a counter at its beginning
            return otherwise

    def read(self, slot):
        """The record in slot 0 or 1; None when there is none, b"" for what cannot be one."""
        record = bytearray(_RECORD_MAX)
        try:
            return bytes(record[: self._nvs.get_blob("state" + str(slot), record)])
        except OSError as error:
            if error.args[0] == _NOT_FOUND:
                return None
            if error.args[0] not in _OTHER_KIND:
                raise
            return b""

    def write(self, slot, record):
        """Keep a record; durable on return."""
        self._nvs.set_blob("state" + str(slot), record)
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
