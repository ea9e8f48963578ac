"""`machine.ADC` of an ESP32-S3: 12 bit, four attenuations, calibrated µV; above its range it reads the end."""

import board

RANGE_UV = {0: 950000, 1: 1250000, 2: 1750000, 3: 3100000}  # by attenuation, ESP32-S3 data sheet (ADC)
READ_US = 60


class ADC:
    ATTN_0DB = 0
    ATTN_2_5DB = 1
    ATTN_6DB = 2
    ATTN_11DB = 3

    def __init__(self, pin, *, atten=0):
        number = pin if isinstance(pin, int) else pin._pad.number
        if not 1 <= number <= 20:
            raise ValueError("invalid pin")
        self._board = board.need()
        self._number = number
        self.atten(atten)

    def init(self, *, atten=0):
        self.atten(atten)

    def atten(self, atten):
        if atten not in RANGE_UV:
            raise ValueError("invalid atten")
        self._atten = atten

    def width(self, bits):
        if bits != 12:
            raise ValueError("invalid bits")

    def read_uv(self):
        self._board.clock.spend(READ_US)
        return min(RANGE_UV[self._atten], self._board.adc_uv(self._number))

    def read(self):
        return self.read_uv() * 4095 // RANGE_UV[self._atten]

    def read_u16(self):
        return self.read_uv() * 65535 // RANGE_UV[self._atten]
