"""The scripts that run on the node, in MicroPython. Each prints one line of JSON at its end.

Names that a script begins with are given by `Repl.ask`. They take no more memory than an ESP32 without PSRAM has.
"""

_HASH = """
import binascii, gc, hashlib, json, os
def _hash(path):
    digest = hashlib.sha256()
    block = bytearray(1024)
    view = memoryview(block)
    with open(path, "rb") as file:
        while True:
            count = file.readinto(block)
            if not count:
                return binascii.hexlify(digest.digest()[:8]).decode()
            digest.update(view[:count])
"""

LOOK = (
    _HASH
    + """
import sys
_files = {}
def _walk(folder):
    for entry in os.ilistdir(folder) if folder else os.ilistdir():
        path = folder + "/" + entry[0] if folder else entry[0]
        if entry[1] == 0x4000:
            if path not in skip:
                _walk(path)
        else:
            try:
                _files[path] = _hash(path) if len(entry) < 4 or entry[3] <= largest else ""
            except OSError:
                _files[path] = ""
_walk("")
_said = {"files": _files, "version": ".".join([str(n) for n in sys.implementation[1][:3]])}
_said["mpy"] = getattr(sys.implementation, "_mpy", 0) & 0xFF or None
try:
    with open("spatz.json") as file:
        _said["manifest"] = file.read()
except OSError:
    pass
try:
    import esp32
    _eui = bytearray(8)
    if esp32.NVS("spatz").get_blob("dev_eui", _eui) == 8:
        _said["dev_eui"] = binascii.hexlify(_eui).decode()
except (ImportError, OSError):
    pass
print(json.dumps(_said))
"""
)
"""What is on the node: {files: {path: first 16 hex digits of SHA-256, "" for one too large or unreadable}, version,
mpy: version of compiled files, manifest: text, dev_eui: hex}. skip: folders not looked into; largest: bytes."""

RECEIVE = """
import binascii, gc, json, os
from io import BytesIO
try:
    import deflate
except ImportError:
    deflate = None
def _open(path):
    global _file
    gc.collect()
    at = path.find("/")
    while at > 0:
        try:
            os.mkdir(path[:at])
        except OSError as error:
            if error.errno != 17:
                raise
        at = path.find("/", at + 1)
    _file = open(path + ".new", "wb")
def _put(text):
    _file.write(binascii.a2b_base64(text))
def _unpack(text):
    _file.write(deflate.DeflateIO(BytesIO(binascii.a2b_base64(text)), deflate.RAW, 12).read())
print(json.dumps(deflate is not None))
"""
"""Makes ready for `_open(path)`, `_put(base64)` or `_unpack(base64 of raw deflate)`, `_file.close()`; says whether it
can unpack."""

SWITCH = (
    _HASH
    + """
_bad = []
for _path in files:
    try:
        if _hash(_path + ".new") != files[_path]:
            _bad.append(_path)
    except OSError:
        _bad.append(_path)
if not _bad:
    for _path in order:
        gc.collect()
        os.rename(_path + ".new", _path)
    for _path in remove:
        try:
            os.remove(_path)
        except OSError as error:
            if error.errno != 2:
                raise
    for _path in folders:
        try:
            os.rmdir(_path)
        except OSError:
            pass
    if last:
        os.rename(last + ".new", last)
    if hasattr(os, "sync"):
        os.sync()
print(json.dumps(_bad))
"""
)
"""Puts the new files in the place of the old ones. files: {path: digest}; order: the paths that are renamed first, one
after the other; remove: paths; folders: those that go when they are empty; last: the path that is renamed last, or "".
Prints the paths that did not arrive whole; then nothing was changed."""

CLEAN = """
import json, os
try:
    _file.close()
except (NameError, OSError):
    pass
for _path in paths:
    try:
        os.remove(_path + ".new")
    except OSError:
        pass
print("null")
"""
"""Takes back what has been sent of X.new. paths: X."""

WHO = """
import binascii, json
_said = {}
try:
    with open("config.json") as file:
        _config = json.load(file)
    for _name in ("name", "board", "led", "safe_window_s"):
        _said[_name] = _config.get(_name)
except (OSError, ValueError):
    pass
try:
    import esp32
    _eui = bytearray(8)
    if esp32.NVS("spatz").get_blob("dev_eui", _eui) == 8:
        _said["dev_eui"] = binascii.hexlify(_eui).decode()
except (ImportError, OSError):
    pass
print(json.dumps(_said))
"""
"""Who the node is: {name, board, led, safe_window_s, dev_eui}, what is known of it."""

LIST_LOG = """
import json, os
try:
    print(json.dumps(["log/" + name for name in os.listdir("log")]))
except OSError:
    print("[]")
"""
"""The files of the node's log: [path]."""

READ = """
import binascii, json
try:
    with open(path, "rb") as file:
        print(json.dumps(binascii.b2a_base64(file.read()).decode().strip()))
except OSError:
    print("null")
"""
"""A file of at most some kB. path. Prints base64; null for one that cannot be read."""

FLICKER = """
import time
from machine import Pin
_light = Pin({pin}, Pin.OUT)
for _ in range(8):
    _light.value({on})
    time.sleep_ms(50)
    _light.value(1 - {on})
    time.sleep_ms(50)
time.sleep_ms(400)
"""
"""One round of the pattern by which a board is found: nothing else flickers."""

RESTART = """
import machine
try:
    from node.memory import Memory
    _memory = Memory(machine.RTC())
    if _memory.found and _memory.cut_off:
        _memory.cut_off -= 1
        _memory.save()
except Exception:
    pass
machine.reset()
"""
"""Begins the node's program anew. That it was interrupted shall not count as a weak battery, which the node would wait
for (firmware/node/cycle.py)."""

COUNT = """
import gc, json, os
gc.enable()
gc.collect()
try:
    print(json.dumps(len(os.listdir())))
except OSError:
    print(0)
"""
"""How many files there are: none when the node was interrupted before its filesystem was mounted. Also makes room: the
interrupted program has left its own things."""
