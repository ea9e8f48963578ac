"""Flash behind `esp32.NVS`: {namespace: {key: {"i32": n} or {"blob": hex}}}, a JSON file replaced at every commit.

What was set but not committed is lost when the power goes, but for a cut at a flash operation (see board.py). Values
and errors as ESP-IDF has them; a value that is set again to what it is writes nothing, as there.
"""

import json
import os
from binascii import hexlify, unhexlify

import board

NAME_MAX = 15
BLOB_MAX = 4000  # MicroPython's own use is far below; a page holds 4 kB
NOT_FOUND = (-0x1102, "ESP_ERR_NVS_NOT_FOUND")
TYPE_MISMATCH = (-0x1103, "ESP_ERR_NVS_TYPE_MISMATCH")
KEY_TOO_LONG = (-0x1109, "ESP_ERR_NVS_KEY_TOO_LONG")
INVALID_LENGTH = (-0x110C, "ESP_ERR_NVS_INVALID_LENGTH")
VALUE_TOO_LONG = (-0x110E, "ESP_ERR_NVS_VALUE_TOO_LONG")
READ_US = 60
SET_US = 400
COMMIT_US = 100


def _copy(tree):
    return {space: dict(keys) for space, keys in tree.items()}


class Flash:
    def __init__(self, path, committed=None):
        self._path = path
        self.commits = 0
        self.writes = 0
        self.wear = {}  # "namespace/key" -> writes
        self.cut_at = None  # the boot ends with the n-th operation from here
        self._pending = []  # (namespace, key, entry or None) since the last commit of the namespace
        if path is not None:
            committed = {}
            try:
                with open(path) as file:
                    committed = json.load(file)
            except OSError:
                pass  # a fresh chip has no file yet
        self.committed = committed if committed is not None else {}
        self.live = _copy(self.committed)

    def after_reboot(self):
        """What the next boot finds; its wear goes on."""
        flash = Flash(self._path, self.committed)
        flash.writes, flash.wear = self.writes, self.wear
        return flash

    def change(self, owner, namespace, key, entry):
        """Set (entry None: erase) one value; `owner` is the board whose power may end here."""
        keys = self.live.setdefault(namespace, {})
        if entry is None:
            del keys[key]
        elif keys.get(key) != entry:
            keys[key] = entry
        else:
            entry = False
        if entry is not False:
            self.writes += 1
            name = namespace + "/" + key
            self.wear[name] = self.wear.get(name, 0) + 1
            self._pending.append((namespace, key, entry))
        self._operation(owner)

    def commit(self, owner, namespace):
        self._operation(owner)
        self.committed = _copy(self.committed)
        self.committed[namespace] = dict(self.live.get(namespace, {}))
        self._pending = [change for change in self._pending if change[0] != namespace]
        self.commits += 1
        self._save()

    def _save(self):
        if self._path is not None:
            with open(self._path + ".new", "w") as file:
                json.dump(self.committed, file)
            os.rename(self._path + ".new", self._path)

    def _operation(self, owner):
        if self.cut_at is None or owner.clock.halted is not None:
            return
        self.cut_at -= 1
        if self.cut_at <= 0:
            self._cut(owner)

    def _cut(self, owner):
        """The power goes in the middle: of what is not committed yet the first few values are there, by chance."""
        self.cut_at = None
        self.committed = _copy(self.committed)
        for namespace, key, entry in self._pending[: owner.chance(len(self._pending) + 1)]:
            keys = self.committed.setdefault(namespace, {})
            if entry is None:
                keys.pop(key, None)
            else:
                keys[key] = entry
        self._save()
        owner.end({"event": "power_cut"})


class NVS:
    def __init__(self, namespace):
        if not 1 <= len(namespace) <= NAME_MAX:
            raise OSError(*KEY_TOO_LONG)
        self._board = board.need()
        self._space = namespace

    def _keys(self):
        return self._board.flash.live.setdefault(self._space, {})

    def _check(self, key, cost_us):
        if not isinstance(key, str):
            raise TypeError(f"can't convert '{type(key).__name__}' object to str implicitly")
        if not 1 <= len(key) <= NAME_MAX:
            raise OSError(*KEY_TOO_LONG)
        self._board.clock.spend(cost_us)

    def _get(self, key, kind):
        self._check(key, READ_US)
        entry = self._keys().get(key)
        if entry is None:
            raise OSError(*NOT_FOUND)
        if kind not in entry:
            raise OSError(*TYPE_MISMATCH)
        return entry[kind]

    def _set(self, key, kind, value):
        self._check(key, SET_US)
        self._board.flash.change(self._board, self._space, key, {kind: value})

    def set_i32(self, key, value):
        if isinstance(value, float) or not isinstance(value, int):
            raise TypeError(f"can't convert {type(value).__name__} to int")
        if not -0x80000000 <= value <= 0x7FFFFFFF:
            raise OverflowError("overflow converting long int to machine word")
        self._set(key, "i32", int(value))

    def get_i32(self, key):
        return self._get(key, "i32")

    def set_blob(self, key, value):
        data = bytes(value.encode() if isinstance(value, str) else memoryview(value))
        if len(data) > BLOB_MAX:
            raise OSError(*VALUE_TOO_LONG)
        self._set(key, "blob", hexlify(data).decode())

    def get_blob(self, key, buffer):
        data = unhexlify(self._get(key, "blob"))
        if len(buffer) < len(data):
            raise OSError(*INVALID_LENGTH)
        buffer[: len(data)] = data
        return len(data)

    def erase_key(self, key):
        self._check(key, SET_US)
        if key not in self._keys():
            raise OSError(*NOT_FOUND)
        self._board.flash.change(self._board, self._space, key, None)

    def commit(self):
        self._board.clock.spend(COMMIT_US)
        self._board.flash.commit(self._board, self._space)
