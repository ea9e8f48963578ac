"""How an ESP32 with MicroPython starts, on the emulated board, with everything in the flash file (see board_boot.py).

The order is that of ports/esp32 (main.c, modules/_boot.py, inisetup.py): the filesystem is mounted at "/"; when its
first block is all 0xFF it is made anew, with a boot.py; when it cannot be read, a message is repeated for ever. Then
boot.py, and unless it failed main.py, then the prompt. sys.path is "", ".frozen", "/lib".

How the process ends, besides what Ctrl-D at the prompt does (status 0 and no power.json):

    0  deepsleep, reset, soft_reset, wdt, brown_out: state_dir/power.json says which
    9  the power went while flash was written (cut.json, see flash_file.py): "power_cut" in power.json
    3  main.py or boot.py broke a rule of the hardware, or the air is gone: "fault"

At the prompt the same ends come from what is typed there, but for a broken rule, which is printed.
"""

import gc
import io
import json
import os
import random
import sys
import time

import board
import esp32  # noqa: F401 - what the firmware imports is there before its own filesystem is
import machine  # noqa: F401
import onewire  # noqa: F401
import pins  # noqa: F401 - what the emulator imports later
import serial_line  # noqa: F401
import vfs
import weather  # noqa: F401
from console_keys import Keys
from fault import SimFault
from flash_file import Chip, Partition
from nvs_pages import PagedFlash

GC_THRESHOLD = 200000
BEHIND_US = 50000
USB_EVERY_US = 500000
SAY_EVERY_S = 3
UNREADABLE = """\
The filesystem appears to be corrupted. Its first block holds something, but nothing that can be mounted.
If you need what was on it, read the flash out first. Otherwise erase the flash and write it anew.
"""
BOOT_PY = "# This file is executed on every boot (including wake-boot from deepsleep)\n"
STATUS = {"power_cut": 9, "fault": 3}

_host = None
_board = None
_here = __file__.rsplit("/", 1)[0]


class PowerOff(SystemExit):
    """Ends the process, out of a program and out of the prompt alike."""

    def __init__(self, event):
        super().__init__(STATUS.get(event["event"], 0))
        self.event = event


class FileBoard(board.Board):
    """A board whose few files lie on the computer, while "/" is the node's own flash."""

    def write(self, name, data):
        path = self.path(name)
        if path is not None:
            with _host.open(path + ".new", "wb") as file:
                file.write(data)
            _host.rename(path + ".new", path)

    def _read(self, name):
        try:
            with _host.open(self.path(name), "rb") as file:
                return file.read()
        except OSError:
            return None

    def _remove(self, name):
        try:
            _host.remove(self.path(name))
        except OSError:
            pass

    def watch_usb(self):
        """state_dir/usb.json says whether a computer is at the socket (true, false), whenever that changes."""
        self.clock.at(self.clock.now + USB_EVERY_US, self.watch_usb)
        said = self._read("usb.json")
        if said is not None:
            self.world["usb"] = said.strip() == b"true"


def prepare():
    """Build the board from world.json. Ctrl-C waits meanwhile."""
    global _host, _board
    gc.threshold(GC_THRESHOLD)
    keys = Keys()
    _host = vfs.mount()[0][0]
    with open(os.getenv("SPATZ_WORLD")) as file:
        world = json.load(file)
    os.unsetenv("HOME")  # the prompt would keep its history there
    _board = b = FileBoard(world)
    chip = Chip(_host, world["flash"], world["flash_bytes"], b.state_dir, lambda: b.end({"event": "power_cut"}))
    b.clock.halt, b.clock.keys = _halt, keys
    b.flash = PagedFlash(chip, *world["nvs"])
    random.seed(world["seed"])
    vfs.umount("/")
    sys.path[:] = ["", ".frozen", "/lib"]
    sys.argv[:] = []
    b.partition = Partition(chip, *world["vfs"], pressed=keys.press)
    if b.clock.paced:
        b.watch_usb()


def start(names):
    """boot.py and main.py with the globals `names`; returns for the prompt."""
    b = _board
    os.putenv("MICROPYINSPECT", "1")
    sys.atexit(lambda: _let_go(b.partition, names))
    try:
        b.clock.keys.begin()
        if not _mount(b.partition):
            return
        if _run("boot.py", names) and not b.world.get("no_main"):
            _run("main.py", names)
    except KeyboardInterrupt as error:
        _print(error)
    except SimFault as error:
        sys.print_exception(error)
        b.end({"event": "fault", "rule": str(error)})
    finally:
        b.clock.follow = BEHIND_US
        b.clock.keys.leave_to_prompt()
        gc.collect()


def _halt(event):
    clock = _board.clock
    os.unsetenv("MICROPYINSPECT")
    clock.halted = PowerOff(event)
    raise clock.halted


def _let_go(partition, names):
    """Open files end while there is still a filesystem under them; the interpreter's own end knows no order."""
    if _board.clock.halted is not None:
        partition.chip.over = True
    names.clear()
    gc.collect()


def _run(name, names):
    """Whether main.py may follow: as pyexec_file_if_exists says it."""
    try:
        os.stat(name)
    except OSError:
        return True
    try:
        execfile(name, names)  # noqa: F821
        return True
    except PowerOff:
        raise
    except SystemExit:
        _board.end({"event": "soft_reset"})
    except (Exception, KeyboardInterrupt) as error:
        _print(error)
    return False


def _print(error):
    """As a board prints it, whose own drivers are no Python."""
    text = io.StringIO()
    sys.print_exception(error, text)
    for line in text.getvalue().split("\n")[:-1]:
        if not line.startswith('  File "' + _here):
            print(line)


def _mount(partition):
    """The filesystem at "/"; False when it cannot be and Ctrl-C ended the complaint."""
    try:
        vfs.mount(vfs.VfsLfs2(partition), "/")
        return True
    except OSError:
        pass
    first = bytearray(partition.ioctl(5, 0))
    partition.readblocks(0, first)
    if first != b"\xff" * len(first):
        while True:
            print(UNREADABLE)
            time.sleep(SAY_EVERY_S)
    print("Performing initial setup")
    vfs.VfsLfs2.mkfs(partition)
    vfs.mount(vfs.VfsLfs2(partition), "/")
    with open("boot.py", "w") as file:
        file.write(BOOT_PY)
    return True
