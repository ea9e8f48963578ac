"""What `spatz doctor` asks a node, in MicroPython: the node's own program is asked, part by part.

Each prints one line of JSON at its end; what the program itself prints comes before it. The first makes what the others
use. Nothing is written to NVS or RTC memory, and the AppKey is printed by none of them.
"""

BUILD = """
import json, sys
_i = sys.implementation
_said = {"version": ".".join([str(n) for n in _i[1][:3]]), "machine": getattr(_i, "_machine", "")}
_said["build"] = getattr(_i, "_build", "")
_said["mpy"] = getattr(_i, "_mpy", 0) & 0xFF or None
print(json.dumps(_said))
"""
"""{version, machine, build, mpy}"""

PROGRAM = """
import json, machine, time
import esp32
_said = {}
_config = _identity = _hardware = None
try:
    from node.config import load
    _config = load()
    for _name in ("name", "board", "region", "interval_s", "safe_window_s"):
        _said[_name] = _config.get(_name)
except Exception as error:
    _said["config_error"] = str(error) if type(error).__name__ == "ConfigError" else repr(error)
try:
    from node.identity import Identity
    _identity = Identity(esp32.NVS("spatz"))
    _said["dev_eui"] = "".join(["%02x" % b for b in _identity.dev_eui])
except Exception as error:
    _said["identity_error"] = str(error) if type(error).__name__ == "IdentityError" else repr(error)
if _config:
    try:
        from node.hardware import Hardware
        _hardware = Hardware(_config, machine, esp32, time)
    except Exception as error:
        _said["hardware_error"] = str(error) if isinstance(error, (OSError, ValueError)) else repr(error)
print(json.dumps(_said))
"""
"""{name, board, region, interval_s, safe_window_s, dev_eui, config_error, identity_error, hardware_error}"""

MARK = """
import binascii, hashlib, json
_inner = bytes([b ^ 0x36 for b in _identity.dev_eui + bytes(56)])
_outer = bytes([b ^ 0x5C for b in _identity.dev_eui + bytes(56)])
_digest = hashlib.sha256(_outer + hashlib.sha256(_inner + _identity.app_key).digest()).digest()
print(json.dumps(binascii.hexlify(_digest[:16]).decode()))
"""
"""The fingerprint of the AppKey, as nest.keys.mark makes it: hex."""

RADIO = """
_said = {}
try:
    _radio = _hardware.radio()
    try:
        _radio.start()
        _said["driver"] = type(_radio).__name__
    finally:
        _radio.sleep(warm=False)
except Exception as error:
    _said["error"] = str(error) or repr(error)
print(json.dumps(_said))
"""
"""{driver} or {error}; the radio sleeps afterwards."""

SENSORS = """
_said = {}
_reading = {}
try:
    from node.measure import battery_level, charging, mark, take
    from node.memory import Memory
    from node.notes import Notes
    _memory = Memory(machine.RTC())
    _memory.sensors = b""
    _find = _config.get("find") or []
    _reading = take(_config["sensors"], _hardware, _memory, 0, _find)
    _found = Notes(_memory.sensors, mark(_config["sensors"], _find)).found or []
    _asked = _config["sensors"] + [_find[at] for at in _found]
    _said["sensors"] = [[entry["driver"], entry["quantities"]] for entry in _asked]
    _said["looked_for"] = [entry["driver"] for entry in _find]
    _said["reading"] = _reading
    _volts = _reading.get("battery")
    _said["level"] = battery_level(_volts, _config.get("battery"), _config.get("usb"))
    _said["charging"] = charging(_volts, _config.get("usb"))
except Exception as error:
    _said["error"] = repr(error)
print(json.dumps(_said))
"""
"""{sensors: [[driver, [quantity]]], looked_for: [driver], reading: {quantity: number or mark}, level: as DevStatusAns,
charging} or {error}."""

AIR = """
_said = {}
class _Nothing:
    def __init__(self, read):
        self.read = read
    def write(self, *_):
        pass
try:
    from lorawan.airtime import airtime_us
    from lorawan.device import Device
    from node.memory import Memory
    _module = _config["region"].lower()
    _region = __import__("lorawan." + _module, None, None, (_module,))
    _memory = Memory(machine.RTC())
    _device = Device(
        _region, _identity.dev_eui, _identity.join_eui, _identity.app_key,
        _Nothing(_identity.read), _Nothing(_memory.read), None, lambda: 0, lambda n: 0,
    )
    _said["joined"] = _device.joined
    _said["cut_off"] = _memory.cut_off
    if _device.joined:
        from payload.encode import codes
        from payload.window import Window
        _parity = _config.get("parity", 1)
        _dr = _device.session.dr
        _size = 13 + len(Window().frame(1, codes(_reading), _parity))
    else:
        _dr = _region.JOIN_DR
        _size = 23
    _sf, _bw = _region.DATA_RATES[_dr]
    _said["sf"] = _sf
    _said["bytes"] = _size
    _said["airtime_ms"] = (airtime_us(_sf, _bw, _size) + 500) // 1000
except Exception as error:
    _said["error"] = repr(error)
print(json.dumps(_said))
"""
"""{joined, sf, bytes (of the frame), airtime_ms, cut_off} or {error}: of the next reading, or of the JoinRequest."""
