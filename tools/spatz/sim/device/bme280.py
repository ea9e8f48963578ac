"""A strict BME280 on I2C: registers in and out, numbers that compensate to the weather. Source: BME280 data sheet.

Forced mode only measures as long as the oversampling asks for (longest times of 9.1); until then, and for a quantity
that is skipped, the data registers hold what they held before, after reset 0x80000 and 0x8000. ctrl_hum counts from
the next write of ctrl_meas (5.4.3). Raw values are found by bisection on the compensation formulas of 8.1.
Not modelled: the IIR filter's lag, self-heating, SPI.
"""

from fault import SimFault

# Trimming values of one real-world-like part (data sheet table 16; T and P are the example of Bosch's family sheets)
T1, T2, T3 = 27504, 26435, -1000
P1, P2, P3, P4, P5, P6, P7, P8, P9 = 36477, -10685, 3024, 2855, 140, -7, 15500, -14600, 6000
H1, H2, H3, H4, H5, H6 = 75, 362, 0, 327, 50, 30

SKIPPED_20 = 0x80000
SKIPPED_16 = 0x8000
START_UP_US = 2000
OVERSAMPLING = (0, 1, 2, 4, 8, 16, 16, 16)
STANDBY_US = (500, 62500, 125000, 250000, 500000, 1000000, 10000, 20000)
WRITABLE = (0xE0, 0xF2, 0xF4, 0xF5)


def t_fine(adc_t):
    v1 = (adc_t / 16384.0 - T1 / 1024.0) * T2
    v2 = adc_t / 131072.0 - T1 / 8192.0
    return v1 + v2 * v2 * T3


def temperature_c(adc_t):
    return t_fine(adc_t) / 5120.0


def pressure_pa(adc_p, fine):
    v1 = fine / 2.0 - 64000.0
    v2 = v1 * v1 * P6 / 32768.0
    v2 = v2 + v1 * P5 * 2.0
    v2 = v2 / 4.0 + P4 * 65536.0
    v1 = (P3 * v1 * v1 / 524288.0 + P2 * v1) / 524288.0
    v1 = (1.0 + v1 / 32768.0) * P1
    p = 1048576.0 - adc_p
    p = (p - v2 / 4096.0) * 6250.0 / v1
    v1 = P9 * p * p / 2147483648.0
    v2 = p * P8 / 32768.0
    return p + (v1 + v2 + P7) / 16.0


def humidity_pct(adc_h, fine):
    h = fine - 76800.0
    h = (adc_h - (H4 * 64.0 + H5 / 16384.0 * h)) * (
        H2 / 65536.0 * (1.0 + H6 / 67108864.0 * h * (1.0 + H3 / 67108864.0 * h))
    )
    h = h * (1.0 - H1 * h / 524288.0)
    return min(100.0, max(0.0, h))


def _raw_for(wanted, formula, bits):
    """The raw value whose compensated value is nearest to `wanted` (the formula is monotonic over the range)."""
    low, high = 0, (1 << bits) - 1
    rising = formula(high) > formula(low)
    while high - low > 1:
        middle = (low + high) // 2
        if (formula(middle) < wanted) == rising:
            low = middle
        else:
            high = middle
    return low if abs(formula(low) - wanted) <= abs(formula(high) - wanted) else high


def raw_values(temperature, humidity, pressure):
    """(adc_t, adc_h, adc_p) that compensate to °C, %, Pa."""
    adc_t = _raw_for(temperature, temperature_c, 20)
    fine = t_fine(adc_t)
    # the humidity parabola turns round far above 100 %; the range in use ends where the raw value has 16 bits
    return (
        adc_t,
        _raw_for(humidity, lambda a: humidity_pct(a, fine), 16),
        _raw_for(pressure, lambda a: pressure_pa(a, fine), 20),
    )


def _calibration():
    """Registers 0x88..0xA1 and 0xE1..0xE7 -> {address: byte}."""
    registers = {}
    at = 0x88
    for value in (T1, T2, T3, P1, P2, P3, P4, P5, P6, P7, P8, P9):
        registers[at] = value & 0xFF
        registers[at + 1] = (value >> 8) & 0xFF
        at += 2
    registers[0xA0] = 0
    registers[0xA1] = H1
    tail = (H2 & 0xFF, (H2 >> 8) & 0xFF, H3, (H4 >> 4) & 0xFF, (H4 & 15) | (H5 & 15) << 4, (H5 >> 4) & 0xFF, H6 & 0xFF)
    for offset, value in enumerate(tail):
        registers[0xE1 + offset] = value
    return registers


class Bme280:
    name = "BME280"
    chip_id = 0x60

    def __init__(self, board, config):
        self.board = board
        self.clock = board.clock
        self.address = config["address"]
        self.broken = False  # tests: no answer at all
        self._calibration = _calibration()
        self._pointer = 0
        self._supplied_since = 0
        self._reset()

    def powered(self):
        """True when the chip answers: supplied, and its start-up is over. Losing its supply resets it."""
        if self.broken:
            return False
        since = self.board.vext_since(self)
        if since is None:
            return False
        if since != self._supplied_since:
            self._supplied_since = since
            self._reset()
            self._ready_at = since + START_UP_US
        return self.clock.now >= self._ready_at

    def _reset(self):
        self._ready_at = 0
        self._registers = {0xF2: 0, 0xF4: 0, 0xF5: 0}
        self._ctrl_hum = 0  # in force
        self._data = bytes((0x80, 0, 0, 0x80, 0, 0, 0x80, 0))
        self._nvm_until = self.clock.now + START_UP_US
        self._busy_until = None
        self._fresh = None

    def _settle(self):
        """Take over a measurement that has ended by now; in normal mode, the last of many."""
        if self._busy_until is None:
            return
        if self._registers[0xF4] & 3 == 3:
            duration, pause = self._duration(), STANDBY_US[self._registers[0xF5] >> 5]
            elapsed = self.clock.now - self._busy_until
            if elapsed >= 0:
                self._busy_until += (elapsed // (duration + pause) + 1) * (duration + pause)
                self._data = self._measure()
        elif self.clock.now >= self._busy_until:
            self._busy_until = None
            self._registers[0xF4] &= ~3
            self._data = self._measure()

    def _oversampling(self):
        meas = self._registers[0xF4]
        return OVERSAMPLING[meas >> 5], OVERSAMPLING[(meas >> 2) & 7], OVERSAMPLING[self._ctrl_hum & 7]

    def _duration(self):
        t, p, h = self._oversampling()
        return 1250 + 2300 * t + (2300 * p + 575 if p else 0) + (2300 * h + 575 if h else 0)

    def _measure(self):
        t, p, h = self._oversampling()
        temperature, humidity, pressure = self.board.weather_now()
        adc_t, adc_h, adc_p = raw_values(temperature, humidity, pressure)
        adc_t = adc_t if t else SKIPPED_20
        adc_p = adc_p if p else SKIPPED_20
        adc_h = adc_h if h else SKIPPED_16
        return (adc_p << 4).to_bytes(3, "big") + (adc_t << 4).to_bytes(3, "big") + adc_h.to_bytes(2, "big")

    # I2C

    def write(self, data):
        """[register] sets the read pointer; [register, value, register, value, ...] writes (6.2.1)."""
        if len(data) == 1:
            self._pointer = data[0]
            return
        if len(data) % 2:
            raise SimFault(f"BME280: a write is pairs of register and value, not {len(data)} bytes")
        self._settle()
        for at in range(0, len(data), 2):
            self._write(data[at], data[at + 1])

    def _write(self, register, value):
        if register not in WRITABLE:
            raise SimFault(f"BME280: register 0x{register:02x} is read-only or unknown")
        if register == 0xE0:
            if value == 0xB6:
                self._reset()
            return
        self._registers[register] = value
        if register == 0xF4:
            self._ctrl_hum = self._registers[0xF2]
            self._busy_until = self.clock.now + self._duration() if value & 3 else None
            if value & 3:
                self.board.energy.add("sensor", "measuring", self._duration())

    def read(self, count):
        self._settle()
        first = self._pointer
        self._pointer = (first + count) & 0xFF
        return bytes(self._read(register & 0xFF) for register in range(first, first + count))

    def _read(self, register):
        if register in self._calibration:
            return 0 if self.clock.now < self._nvm_until else self._calibration[register]
        if 0xF7 <= register <= 0xFE:
            return self._data[register - 0xF7]
        if register == 0xD0:
            return self.chip_id
        if register == 0xF3:
            measuring = 8 if self._busy_until is not None and self._measuring() else 0
            return measuring | (1 if self.clock.now < self._nvm_until else 0)
        return self._registers.get(register, 0)

    def _measuring(self):
        return 0 < self._busy_until - self.clock.now <= self._duration()


class Bmp280(Bme280):
    """The same without humidity; its registers for it are not there. Source: BST-BMP280-DS001, 4.2."""

    name = "BMP280"
    chip_id = 0x58

    def _write(self, register, value):
        if register == 0xF2:
            raise SimFault("BMP280: register 0xf2 is the BME280's")
        super()._write(register, value)

    def _read(self, register):
        if register in (0xFD, 0xFE) or 0xE1 <= register <= 0xE7:
            raise SimFault(f"BMP280: register 0x{register:02x} is the BME280's")
        return super()._read(register)
