# pyright: reportMissingImports=false, reportMissingModuleSource=false, reportAttributeAccessIssue=false, reportCallIssue=false
"""What the checks share, under MicroPython: a board, and an SX1262 driven by hand, byte by byte."""

import time

from board import Board
from fault import PowerDown, SimFault
from machine import SPI, Pin

EU868 = b"\xd7\xdb"


def rejects(action, text):
    """`action` breaks a rule whose message contains `text`."""
    try:
        action()
    except SimFault as fault:
        message = str(fault)
    else:
        raise AssertionError("accepted, no SimFault: " + text)
    assert text in message, message


def ends(action):
    """`action` ends the boot; what power.json would say."""
    try:
        action()
    except PowerDown as end:
        return end.event
    raise AssertionError("the processor runs on")


class Bench:
    """A board and its radio. Set-up steps can be left out or changed one by one."""

    def __init__(self, board=None, reset=True, **world):
        self.board = board or Board(world)
        self.chip = self.board.radio
        self.cs = Pin(8, Pin.OUT, value=1, hold=False)
        self.rst = Pin(12, Pin.OUT, value=1)
        self.busy = Pin(13, Pin.IN)
        self.dio1 = Pin(14, Pin.IN)
        self.spi = SPI(1, baudrate=8000000, sck=Pin(9), mosi=Pin(10), miso=Pin(11))
        if reset:
            self.reset()

    def reset(self, low_us=200):
        self.rst.value(0)
        time.sleep_us(low_us)
        self.rst.value(1)
        self.wait()

    def wait(self):
        for _ in range(20000):
            if not self.busy.value():
                return
            time.sleep_us(10)
        raise AssertionError("BUSY for ever")

    def raw(self, *data):
        self.cs.value(0)
        self.spi.write(bytes(data))
        self.cs.value(1)

    def cmd(self, *data):
        self.wait()
        self.raw(*data)

    def ask(self, count, *data):
        self.wait()
        self.cs.value(0)
        self.spi.write(bytes(data))
        answer = self.spi.read(count)
        self.cs.value(1)
        return answer

    def register(self, address, value=None):
        if value is None:
            return self.ask(1, 0x1D, address >> 8, address & 255, 0)[0]
        self.cmd(0x0D, address >> 8, address & 255, value)
        return value

    def errors(self):
        return self.ask(2, 0x17, 0)[1]

    def irq(self):
        return int.from_bytes(self.ask(2, 0x12, 0), "big")

    def mode(self):
        return self.ask(1, 0xC0)[0] >> 4

    def start(self, tcxo=True, clear=True, calibrate=0x7F, image=EU868, switch=True, clamp=True, sync=b"\x34\x44"):
        """Reference 4.3's order of start-up."""
        self.cmd(0x80, 0)
        if tcxo:
            self.cmd(0x97, 2, 0, 1, 0x40)
        if clear:
            self.cmd(0x07, 0, 0)
        if calibrate:
            self.cmd(0x89, calibrate)
        if image:
            self.cmd(0x98, image[0], image[1])
        self.cmd(0x96, 1)
        if switch:
            self.cmd(0x9D, 1)
        self.cmd(0x8A, 1)
        if clamp:
            self.register(0x08D8, self.register(0x08D8) | 0x1E)
        self.cmd(0x0D, 0x07, 0x40, sync[0], sync[1])
        self.cmd(0x8F, 0, 0)
        self.cmd(0x08, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0)
        return self

    def tune(self, freq=868100000, sf=7, bw=4, ldro=None):
        self.cmd(0x86, *((freq << 25) // 32000000).to_bytes(4, "big"))
        self.cmd(0x8B, sf, bw, 1, sf > 10 if ldro is None else ldro)

    def send(
        self, data=b"0123456789", fix_modulation=True, fix_iq=True, pa=(2, 2), power=22, iq=0, timeout=0, ocp=0, **tune
    ):
        """One transmission, waited for; the air's record of it, or None."""
        self.tune(**tune)
        self.cmd(0x8C, 0, 8, 0, len(data), 1, iq)
        if fix_modulation:
            self.register(0x0889, self.register(0x0889) | 0x04)
        if fix_iq:
            self.polarity(iq)
        self.cmd(0x95, pa[0], pa[1], 0, 1)
        if ocp:
            self.register(0x08E7, ocp)
        self.cmd(0x8E, power & 255, 4)
        self.cmd(0x0E, 0, *data)
        before = len(self.board.air.log)
        self.cmd(0x83, *timeout.to_bytes(3, "big"))
        time.sleep_ms(4000)
        log = self.board.air.log
        return log[-1] if len(log) > before else None

    def polarity(self, iq):
        self.register(0x0736, self.register(0x0736) & ~4 | (0 if iq else 4))

    def prepare(self, symbols=0, iq=1, fix_iq=True, longest=255, **tune):
        """Everything but SetRx."""
        self.tune(**tune)
        self.cmd(0x8C, 0, 8, 0, longest, 0, iq)
        if fix_iq:
            self.polarity(iq)
        if symbols:
            self.cmd(0xA0, symbols)
        self.cmd(0x02, 0xFF, 0xFF)

    def listen(self, timeout=0):
        """SetRx; the true µs at which the receiver is on."""
        self.cmd(0x80, 1)
        self.wait()
        self.raw(0x82, *timeout.to_bytes(3, "big"))
        return self.chip.window.start

    def receive(self, data=b"downlink", after_us=2000, wait_ms=4000, frame=None, timeout=0, **prepare):
        """Listen while a frame comes `after_us` after the receiver opened; the IRQ flags."""
        self.prepare(**prepare)
        opens = self.listen(timeout)
        options = {"freq": 868100000, "sf": 7, "bw": 125000}
        options.update(frame or {})
        self.board.air.add(opens + after_us, data=data, **options)
        time.sleep_ms(wait_ms)
        return self.irq()

    def why(self):
        return self.chip.rx_log[-1][1]
