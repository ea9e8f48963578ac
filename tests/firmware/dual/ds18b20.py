"""The DS18B20: scratchpads of real sensors, what is no temperature, and two sensors on one line."""

# pyright: reportArgumentType=false, reportOperatorIssue=false

from expect import equal, raises
from payload.encode import OUT_OF_RANGE
from sensors import ds18b20
from sensors.errors import SensorError
from wires import Random

VECTORS = "sensors_serial.json"
ENTRY = {"quantities": ["soil_temperature"]}
CODE = bytes.fromhex("28139bbb0b00001f")  # recorded, see the vectors
OTHER = bytes.fromhex("28ff7c5a611604ee")


def _crc(data):
    return bytes(data) + bytes((ds18b20.crc8(data),))


def check_crc(vectors):
    for row in vectors["ds18b20"]["crc"]:
        data = bytes.fromhex(row["bytes"])
        equal(ds18b20.crc8(data[:-1]), data[-1], row["origin"])
        equal(ds18b20.crc8(data), 0)


def check_scratchpads(vectors):
    for row in vectors["ds18b20"]["scratchpads"]:
        equal(ds18b20.temperature(bytes.fromhex(row["bytes"])), row["celsius"], row["origin"])


def check_table_of_the_data_sheet(vectors):
    for number, celsius in vectors["ds18b20"]["table"]:
        high, low = bytes.fromhex(number)
        equal(ds18b20.temperature(_crc(bytes((low, high)) + b"\x4b\x46\x7f\xff\x0c\x10")), celsius)


def check_what_is_no_temperature(vectors):
    for row in vectors["ds18b20"]["refused"]:
        try:
            got = ds18b20.temperature(bytes.fromhex(row["bytes"]))
        except SensorError:
            continue
        raise AssertionError(row["why"] + ": " + str(got))


def check_true_85_degrees(vectors):
    row = vectors["ds18b20"]["true_85"]
    equal(ds18b20.temperature(bytes.fromhex(row["bytes"])), row["celsius"], row["origin"])
    near = ds18b20.temperature(_crc(b"\x51\x05\x4b\x46\x7f\xff\x0c\x10"))
    equal(near, 85.0625, "a sixteenth beside it there is no doubt")


def check_beyond_its_range():
    for high, low in (b"\x07\xd1", b"\x07\xfe", b"\xfc\x8f"):
        equal(ds18b20.temperature(_crc(bytes((low, high)) + b"\x4b\x46\x7f\xff\x0c\x10")), OUT_OF_RANGE)


def check_damaged_bits():
    good = _crc(b"\x70\x01\x4b\x46\x7f\xff\x10\x10")
    for bit in range(72):
        data = bytearray(good)
        data[bit // 8] ^= 1 << bit % 8
        raises(SensorError, ds18b20.temperature, bytes(data))


class Sensor:
    """One sensor, byte by byte. Quirks are attributes."""

    def __init__(self, code=CODE, sixteenths=0x0170):
        self.code = code
        self.sixteenths = sixteenths
        self.memory = bytearray(b"\x50\x05\x4b\x46\x7f\xff\x0c\x10")
        self.parasite = False
        self.convert_ms = 600
        self.copy = False  # byte 6 becomes what was written last
        self.loses_supply = False  # in the middle of a measurement
        self.left_ms = 0
        self.deaf()

    def deaf(self):
        self.state = "deaf"
        self.taken = b""
        self.out = b""

    def reset(self):
        self.deaf()
        self.state = "code"

    def sleep_ms(self, ms):
        if self.left_ms and ms >= self.left_ms:
            self.memory[0:2] = bytes((self.sixteenths & 0xFF, self.sixteenths >> 8 & 0xFF))
            if not self.copy:
                self.memory[6] = 16 - (self.sixteenths & 15)
            if self.loses_supply:
                self.memory = bytearray(b"\x50\x05\x4b\x46\x7f\xff\x0c\x10")
        self.left_ms = max(0, self.left_ms - ms)

    def writebyte(self, byte):
        self.taken += bytes((byte,))
        if self.state == "code":
            if byte == 0x33:
                self.out = self.code
                self.state = "deaf"
            else:
                equal(byte, 0x55, "search and skip are of no use with unknown company")
                self.state = "match"
                self.taken = b""
        elif self.state == "match" and len(self.taken) == 8:
            self.state = "work" if self.taken == self.code else "deaf"
            self.taken = b""
        elif self.state == "work":
            self._work(byte)

    def _work(self, byte):
        if self.taken[0] == 0x4E:
            if len(self.taken) == 4:
                self.memory[2:5] = self.taken[1:]
                if self.copy:
                    self.memory[6] = byte
        elif byte == 0xB4:
            self.out = b"\x00" if self.parasite else b"\xff"
        elif byte == 0x44:
            self.left_ms = self.convert_ms
            self.state = "measuring"
        else:
            equal(byte, 0xBE)
            self.out = _crc(self.memory)

    def readbyte(self):
        if self.state == "measuring":
            return 0x00 if self.left_ms else 0xFF
        byte = self.out[:1]
        self.out = self.out[1:]
        return byte[0] if byte else 0xFF


class Wire:
    """Sensors on one line: low wins."""

    def __init__(self, *sensors):
        self.sensors = sensors
        self.ms = 0

    def reset(self):
        for sensor in self.sensors:
            sensor.reset()
        return len(self.sensors) > 0

    def writebyte(self, byte):
        for sensor in self.sensors:
            sensor.writebyte(byte)

    def readbyte(self):
        byte = 0xFF
        for sensor in self.sensors:
            byte &= sensor.readbyte()
        return byte

    def sleep_ms(self, ms):
        self.ms += ms
        for sensor in self.sensors:
            sensor.sleep_ms(ms)

    def read(self, entry=ENTRY):
        return ds18b20.read(self, entry, self.sleep_ms)


def check_measures():
    equal(Wire(Sensor()).read(), {"soil_temperature": 23.0})
    equal(Wire(Sensor(sixteenths=-0x5E)).read({"quantities": ["temperature"]}), {"temperature": -5.875})


def check_waits_for_12_bits():
    wire = Wire(Sensor())
    wire.sensors[0].memory[4] = 0x1F  # somebody left it at 9 bits
    equal(wire.read(), {"soil_temperature": 23.0})
    equal(wire.sensors[0].memory[4], 0x7F)
    assert 750 <= wire.ms <= 900, wire.ms


def check_85_degrees():
    true = Wire(Sensor(sixteenths=0x0550))
    equal(true.read(), {"soil_temperature": 85.0}, "a genuine sensor that really measured it")
    copy = Wire(Sensor(sixteenths=0x0550))
    copy.sensors[0].copy = True
    raises(SensorError, copy.read)


def check_a_copy_measures_too():
    wire = Wire(Sensor(OTHER))
    wire.sensors[0].copy = True
    equal(wire.read(), {"soil_temperature": 23.0})


def check_supply_lost_while_measuring():
    wire = Wire(Sensor())
    wire.sensors[0].loses_supply = True
    raised = raises(SensorError, wire.read)
    assert "supply" in str(raised)


def check_parasite_power_is_refused():
    wire = Wire(Sensor())
    wire.sensors[0].parasite = True
    raised = raises(SensorError, wire.read)
    assert "third wire" in str(raised)


def check_one_that_does_not_measure_or_does_not_finish():
    wire = Wire(Sensor())
    wire.sensors[0].convert_ms = 0
    raises(SensorError, wire.read)
    wire.sensors[0].convert_ms = 5000
    raised = raises(SensorError, wire.read)
    assert "finish" in str(raised)
    assert wire.ms < 1000, wire.ms


def check_two_sensors_never_give_a_wrong_value():
    random = Random(3)
    read = 0
    for _ in range(300):
        codes = [_crc(b"\x28" + bytes(random.below(256) for _ in range(6))) for _ in range(2)]
        values = [random.below(2000) - 800 for _ in range(2)]
        try:
            got = Wire(*(Sensor(codes[k], values[k]) for k in range(2))).read()
        except SensorError:
            continue
        read += 1
        assert got["soil_temperature"] in [value / 16 for value in values], (codes, values, got)
    assert read <= 3, read


def check_a_code_within_another_is_that_sensor_alone():
    """The one case in which two ANDed codes are a code: every bit of the first is in the second."""
    subset = _crc(b"\x28" + bytes(6))
    for last in range(256):
        second = _crc(b"\x28\x00\x00\x00\x00\x00" + bytes((last,)))
        if last and subset[7] & second[7] == subset[7]:
            equal(Wire(Sensor(subset, 0x10), Sensor(second, 0xFFFF - 0xF0)).read(), {"soil_temperature": 1.0})
            return
    raise AssertionError("no such code")


def check_another_family_is_named():
    old = _crc(b"\x10" + bytes(range(6)))
    raised = raises(SensorError, Wire(Sensor(old)).read)
    assert "0x10" in str(raised)


def check_nobody_and_a_line_that_is_always_low():
    raises(SensorError, Wire().read)

    class Low(Wire):
        def reset(self):
            return True

        def readbyte(self):
            return 0

    raises(SensorError, Low().read)


def check_hostile_bytes():
    """A line that flips bits, and one that says whatever it likes."""
    random = Random(9)
    good = 0

    class Noisy(Sensor):
        def readbyte(self):
            byte = Sensor.readbyte(self)
            return byte ^ 1 << random.below(8) if not random.below(12) else byte

    class Wild(Sensor):
        def readbyte(self):
            return random.below(256)

    for kind in (Noisy, Wild):
        for _ in range(300):
            try:
                got = Wire(kind()).read()["soil_temperature"]
            except SensorError:
                continue
            good += 1
            assert got == OUT_OF_RANGE or -55 <= got <= 125, got
    assert good > 20, good
