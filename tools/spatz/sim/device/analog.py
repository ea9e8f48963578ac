"""`machine.ADC`: 12 bit, four attenuations, calibrated µV; above its range it reads the end (espchip.py)."""

import board
from fault import SimFault

READ_US = 60


class ADC:
    ATTN_0DB = 0
    ATTN_2_5DB = 1
    ATTN_6DB = 2
    ATTN_11DB = 3

    def __init__(self, pin, *, atten=0):
        number = pin if isinstance(pin, int) else pin._pad.number
        self._board = board.need()
        if number not in self._board.esp["adc"]:
            raise ValueError("invalid pin")
        self._number = number
        self._range_uv = self._board.esp["adc_uv"]
        self._check()
        self.atten(atten)

    def _check(self):
        if self._board.pad(self._number).is_output():
            raise SimFault(f"ADC on pin {self._number}, which is an output: it would measure itself")

    def init(self, *, atten=0):
        self.atten(atten)

    def atten(self, atten):
        if atten not in self._range_uv:
            raise ValueError("invalid atten")
        self._atten = atten

    def width(self, bits):
        if bits != 12:
            raise ValueError("invalid bits")

    def read_uv(self):
        self._check()
        self._board.clock.spend(READ_US)
        return min(self._range_uv[self._atten], self._board.adc_uv(self._number))

    def read(self):
        return self.read_uv() * 4095 // self._range_uv[self._atten]

    def read_u16(self):
        return self.read_uv() * 65535 // self._range_uv[self._atten]
