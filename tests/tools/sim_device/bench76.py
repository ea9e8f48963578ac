# pyright: reportMissingImports=false, reportMissingModuleSource=false, reportAttributeAccessIssue=false, reportCallIssue=false
"""A board with an ESP32 and an SX1276, driven by hand, register by register. Wired as a LILYGO LoRa32 V2.1.6."""

import time

from board import Board
from machine import SPI, Pin

RADIO = {
    "chip": "sx1276", "spi": 1, "sck": 5, "mosi": 27, "miso": 19, "cs": 18, "reset": 23, "dio0": 26, "dio1": 33,
    "antenna_gain_dbi": 2,
}  # fmt: skip
SLEEP, STANDBY, FS_TX, TX, FS_RX, RX, SINGLE, CAD = range(8)
LORA = 0x80
NORMAL, INVERTED = (0x27, 0x1D), (0x67, 0x19)


def board(radio=None, **world):
    """A board with this radio; `radio` changes its wiring."""
    wiring = dict(RADIO)
    wiring.update(radio or {})
    return Board(dict({"module": "esp32", "chips": {"radio": wiring}}, **world))


class Bench76:
    """A board and its radio. Set-up steps can be left out or changed one by one."""

    def __init__(self, made=None, reset=True, radio=None, **world):
        self.board = made or board(radio, **world)
        self.chip = self.board.radio
        self.cs = Pin(18, Pin.OUT, value=1, hold=False)
        self.rst = Pin(23, Pin.OUT, value=1)
        self.dio0 = Pin(26, Pin.IN)
        self.dio1 = Pin(33, Pin.IN)
        self.spi = SPI(1, baudrate=8000000, sck=Pin(5), mosi=Pin(27), miso=Pin(19))
        if reset:
            self.reset()

    def reset(self, low_us=150, wait_ms=5):
        self.rst.value(0)
        time.sleep_us(low_us)
        self.rst.value(1)
        time.sleep_ms(wait_ms)

    def write(self, address, *values):
        self._transfer(address | 0x80, lambda: self.spi.write(bytes(values)))

    def read(self, address):
        return self.run(address, 1)[0]

    def run(self, address, count):
        """Registers that follow each other, or bytes of the FIFO."""
        return self._transfer(address, lambda: self.spi.read(count))

    def _transfer(self, address, what):
        self.cs.value(0)
        try:
            self.spi.write(bytes([address]))
            return what()
        finally:
            self.cs.value(1)

    def mode(self, mode, bits=LORA):
        self.write(0x01, bits | mode)

    def calibrate(self):
        """The image calibration: FSK standby, at the frequency of use."""
        self.frequency(868100000)
        self.write(0x3B, self.read(0x3B) | 0x40)
        time.sleep_ms(11)
        return self

    def start(self, image=True, iq_frequency=True, boost=True, public=True, gain=True):
        if image:
            self.calibrate()
        self.mode(SLEEP, 0)
        self.mode(SLEEP)
        self.mode(STANDBY)
        time.sleep_ms(1)
        self.write(0x0E, 0)
        if boost:
            self.write(0x09, 0x8F)  # 17 dBm
        if public:
            self.write(0x39, 0x34)
        if gain:
            self.write(0x0C, 0x23)
        if iq_frequency:
            self.write(0x31, 0x43)
            self.write(0x2F, 0x40, 0x00)
        return self

    def frequency(self, hz):
        self.write(0x06, *((hz << 19) // 32000000).to_bytes(3, "big"))

    def tune(self, freq=868100000, sf=7, bw=7, cr=1, ldro=None, symbols=0x64, iq=NORMAL, implicit=0):
        self.frequency(freq)
        ldro = (1 if sf > 10 else 0) if ldro is None else ldro
        self.write(0x1D, bw << 4 | cr << 1 | implicit, sf << 4 | 4 | symbols >> 8, symbols & 255)
        self.write(0x26, ldro << 3 | 4)
        self.write(0x33, iq[0])
        self.write(0x3B, iq[1])

    def load(self, data):
        self.write(0x0D, 0)
        self.write(0x00, *data)
        self.write(0x22, len(data))

    def send(self, data=b"0123456789", wait_ms=4000, **tune):
        """One transmission, waited for; the air's record of it."""
        self.tune(**tune)
        self.load(data)
        self.write(0x40, 0x40)  # DIO0: TxDone
        self.mode(TX)
        time.sleep_ms(wait_ms)
        return self.board.air.log[-1]

    def listen(self, mode=SINGLE, symbols=24, iq=INVERTED, **tune):
        """Receive; the true µs at which the receiver is on."""
        self.tune(symbols=symbols, iq=iq, **tune)
        self.write(0x12, 0xFF)
        self.write(0x40, 0x00)  # DIO0: RxDone, DIO1: RxTimeout
        self.mode(mode)
        return self.chip.window.start

    def receive(self, data=b"downlink", after_us=2000, wait_ms=4000, frame=None, **listen):
        """Listen while a frame comes `after_us` after the receiver opened; the IRQ flags."""
        opens = self.listen(**listen)
        options = {"freq": 868100000, "sf": 7, "bw": 125000}
        options.update(frame or {})
        self.board.air.add(opens + after_us, data=data, **options)
        time.sleep_ms(wait_ms)
        return self.irq()

    def irq(self):
        return self.read(0x12)

    def now(self):
        """The mode that RegOpMode says."""
        return self.read(0x01) & 7

    def why(self):
        return self.chip.rx_log[-1][1]
