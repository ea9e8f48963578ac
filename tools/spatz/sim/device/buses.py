"""`machine.SPI`, `machine.I2C`, `machine.SoftI2C`: bytes from the firmware to the chips, and the time they take."""

import board
from fault import SimFault

SPI_CALL_US = 12  # MicroPython's own cost of one transfer call on an ESP32, besides the bits
I2C_CALL_US = 40
ENODEV = 19


def _pin_number(pin):
    return None if pin is None else pin._pad.number


class SPI:
    MSB = 0
    LSB = 1

    def __init__(self, id, baudrate=500000, *, polarity=0, phase=0, bits=8, firstbit=0, sck=None, mosi=None, miso=None):
        if sck is None or mosi is None or miso is None:
            raise SimFault(f"SPI({id}) without its pins: MicroPython's default pins are not this board's")
        self._board = board.need()
        self.id = id
        if id not in (1, 2):
            raise ValueError(f"SPI({id}) doesn't exist")
        self._live = True
        self.init(
            baudrate, polarity=polarity, phase=phase, bits=bits, firstbit=firstbit, sck=sck, mosi=mosi, miso=miso
        )

    def init(self, baudrate=None, *, polarity=0, phase=0, bits=8, firstbit=0, sck=None, mosi=None, miso=None):
        wiring = self._board.spi_wiring.get(self.id, {})
        for name, pin in (("sck", sck), ("mosi", mosi), ("miso", miso)):
            number = _pin_number(pin)
            if number is not None and wiring.get(name) is not None and wiring[name] != number:
                raise SimFault(f"SPI({self.id}) {name} is pin {wiring[name]} on this board, not {number}")
        if baudrate is not None:
            self.baudrate = baudrate
        self.mode = (polarity, phase, bits, firstbit)
        self._live = True

    def deinit(self):
        self._live = False

    def _transfer(self, data):
        if not self._live:
            raise SimFault(f"SPI({self.id}) is used after deinit()")
        chip = self._board.selected(self.id)
        if self.mode != (0, 0, 8, 0):
            raise SimFault(f"{chip.name} speaks SPI mode 0, 8 bits, MSB first")
        if self.baudrate > chip.max_spi_hz:
            raise SimFault(f"{chip.name} takes at most {chip.max_spi_hz} Hz on SPI, not {self.baudrate}")
        if not data:
            raise ValueError("buffer too short")  # as the ESP32 port says it
        answer = chip.transfer(data)
        self._board.clock.spend(SPI_CALL_US + len(data) * 8000000 // self.baudrate)
        return answer

    def write(self, buf):
        self._transfer(bytes(buf))

    def read(self, nbytes, write=0):
        return bytes(self._transfer(bytes([write]) * nbytes))

    def readinto(self, buf, write=0):
        buf[:] = self._transfer(bytes([write]) * len(buf))

    def write_readinto(self, write_buf, read_buf):
        if len(write_buf) != len(read_buf):
            raise ValueError("buffers must be the same length")
        read_buf[:] = self._transfer(bytes(write_buf))


class _Bus:
    """The I2C calls; every chip has read(n) and write(bytes) (address byte apart) and powered()."""

    def _open(self, scl, sda, freq):
        self._board = board.need()
        self._freq = freq
        self._scl = _pin_number(scl)
        self._sda = _pin_number(sda)

    def _chip(self, addr):
        chip = self._board.i2c_chip(self._scl, self._sda, addr)
        if chip is None or not chip.powered():
            self._board.clock.spend(I2C_CALL_US + 9 * 1000000 // self._freq)
            raise OSError(ENODEV)
        return chip

    def _cost(self, count):
        self._board.clock.spend(I2C_CALL_US + (count + 1) * 9 * 1000000 // self._freq)

    def scan(self):
        found = []
        for addr in range(8, 0x78):
            try:
                self._chip(addr)
                found.append(addr)
            except OSError:
                pass
        return found

    def writeto(self, addr, buf, stop=True):
        chip = self._chip(addr)
        self._cost(len(buf))
        chip.write(bytes(buf))
        return len(buf) + 1

    def writevto(self, addr, vector, stop=True):
        return self.writeto(addr, b"".join(bytes(part) for part in vector), stop)

    def readfrom(self, addr, nbytes, stop=True):
        chip = self._chip(addr)
        self._cost(nbytes)
        return bytes(chip.read(nbytes))

    def readfrom_into(self, addr, buf, stop=True):
        buf[:] = self.readfrom(addr, len(buf))

    def readfrom_mem(self, addr, memaddr, nbytes, *, addrsize=8):
        self._check_size(addrsize)
        chip = self._chip(addr)
        chip.write(bytes([memaddr]))
        self._cost(nbytes + 2)
        return bytes(chip.read(nbytes))

    def readfrom_mem_into(self, addr, memaddr, buf, *, addrsize=8):
        buf[:] = self.readfrom_mem(addr, memaddr, len(buf), addrsize=addrsize)

    def writeto_mem(self, addr, memaddr, buf, *, addrsize=8):
        self._check_size(addrsize)
        chip = self._chip(addr)
        self._cost(len(buf) + 1)
        chip.write(bytes([memaddr]) + bytes(buf))

    def _check_size(self, addrsize):
        if addrsize != 8:
            raise SimFault("the chips on this board have 8-bit register addresses")


class I2C(_Bus):
    def __init__(self, id, *, scl=None, sda=None, freq=400000, timeout=50000):
        if id not in (0, 1):
            raise ValueError(f"I2C({id}) doesn't exist")
        if scl is None or sda is None:
            raise SimFault(f"I2C({id}) without its pins: MicroPython's default pins are not this board's")
        self._open(scl, sda, freq)


class SoftI2C(_Bus):
    def __init__(self, scl, sda, *, freq=400000, timeout=50000):
        self._open(scl, sda, freq)
