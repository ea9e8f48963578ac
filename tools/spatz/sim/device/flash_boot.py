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
import json
import os
import random
import select
import sys
import termios
import time

import board
import esp32  # noqa: F401 - what the firmware imports is there before its own filesystem is
import machine  # noqa: F401
import onewire  # noqa: F401
import pins  # noqa: F401 - what the emulator imports later
import serial_line  # noqa: F401
import vfs
import weather  # noqa: F401
from fault import SimFault
from flash_file import Chip, Partition
from nvs_pages import PagedFlash

GC_THRESHOLD = 200000
CTRL_C = 3
BEHIND_US = 50000
_ISIG = 1
_LOCAL = 3  # place of the local modes in termios.tcgetattr
SAY_EVERY_S = 3
UNREADABLE = """\
The filesystem appears to be corrupted. Its first block holds something, but nothing that can be mounted.
If you need what was on it, read the flash out first. Otherwise erase the flash and write it anew.
"""
BOOT_PY = "# This file is executed on every boot (including wake-boot from deepsleep)\n"
STATUS = {"power_cut": 9, "fault": 3}

_host = None
_board = None
_interrupted = False


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


def prepare():
    """Build the board from world.json. Ctrl-C waits meanwhile."""
    global _host, _board, _interrupted
    gc.threshold(GC_THRESHOLD)
    _signals(False)
    _host = vfs.mount()[0][0]
    with open(os.getenv("SPATZ_WORLD")) as file:
        world = json.load(file)
    os.unsetenv("HOME")  # the prompt would keep its history there
    _board = b = FileBoard(world)
    chip = Chip(_host, world["flash"], world["flash_bytes"], b.state_dir, lambda: b.end({"event": "power_cut"}))
    b.clock.halt = _halt
    b.flash = PagedFlash(chip, *world["nvs"])
    random.seed(world["seed"])
    vfs.umount("/")
    sys.path[:] = ["", ".frozen", "/lib"]
    sys.argv[:] = []
    b.partition = Partition(chip, *world["vfs"])


def start(names):
    """boot.py and main.py with the globals `names`; returns for the prompt."""
    b = _board
    os.putenv("MICROPYINSPECT", "1")
    try:
        _listen()
        if not _mount(b.partition):
            return
        if _run("boot.py", names) and not b.world.get("no_main"):
            _run("main.py", names)
    except KeyboardInterrupt as error:
        sys.print_exception(error)
    except SimFault as error:
        sys.print_exception(error)
        b.end({"event": "fault", "rule": str(error)})
    finally:
        b.clock.follow = BEHIND_US
        gc.collect()


def _halt(event):
    clock = _board.clock
    os.unsetenv("MICROPYINSPECT")
    clock.halted = PowerOff(event)
    raise clock.halted


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
        sys.print_exception(error)
    return False


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


# Ctrl-C


def _signals(on):
    """Whether the terminal turns Ctrl-C into a signal; off, it is a byte that waits to be read."""
    try:
        modes = termios.tcgetattr(0)
    except OSError:
        return  # no terminal: there is nobody to press it
    modes[_LOCAL] = modes[_LOCAL] | _ISIG if on else modes[_LOCAL] & ~_ISIG
    termios.tcsetattr(0, termios.TCSANOW, modes)


def _listen():
    """From here on Ctrl-C interrupts; one that was pressed while the board was starting does it now."""
    _signals(True)
    poller = select.poll()
    poller.register(sys.stdin, select.POLLIN)
    while poller.poll(0):
        key = sys.stdin.buffer.read(1)
        if not key:
            return
        if key[0] == CTRL_C:
            raise KeyboardInterrupt
