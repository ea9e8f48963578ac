"""One virtual board: `python -m spatz.sim.board.process FOLDER`. Orders on stdin, events on stdout, JSON lines both.

| state | what happens | then |
| --- | --- | --- |
| off | power_on, or plug | rom when BOOT is held, else boot |
| any but off | power_cut, unplug without a battery, cut_after is used up | off: port and RTC memory are gone |
| any but off | press_reset | rom when BOOT is held, else boot |
| any but rom, off | esptool's SYNC: it pulls EN and IO0 (a pty has neither) | rom; not with no_auto_reset |
| rom | told to run, or the last program closes the port | boot; not while BOOT is held, or with stays_in_boot |
| boot | bootcheck finds what is in the flash good | running: MicroPython |
| boot | it does not | rebooting: says why, again and again |
| running | machine.reset(), the watchdog, a crash | boot |
| running | deep sleep | asleep; with USB in the chip the port is gone |
| running | Ctrl-D at the prompt | running: soft reset, in the raw REPL without main.py |
| running | exit status 9: cut_after is used up | off |
| asleep | its time has come | boot |

Orders: power_cut, power_on, press_reset, hold_boot, release_boot, unplug, plug, usb_power {on}, fault {NAME: VALUE …},
cut_after {bytes}, stop. Events: registered {device}, boot {cause}, refused {why}, rom, line {text}, sleep {seconds},
reset, cut, fault {rule}, closed (the port, seen only in the boot loader), ended.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

from spatz.sim import micropython, nodes
from spatz.sim.airserver import monotonic_us
from spatz.sim.board import bootcheck, rom, romtext
from spatz.sim.board.cable import AT_THE_CABLE, Cable
from spatz.sim.board.chip import Chip
from spatz.sim.board.nor import NorFlash, PowerGone
from spatz.sim.board.settings import Settings
from spatz.sim.board.usbport import HungUp
from spatz.sim.supervisor import CRASH_PAUSE_S, DEVICE_DIR, START_LEAD_US

MICROPYTHON_BAUD = 115200
POWER_CUT_STATUS = 9
_REBOOT_EVERY_S = 0.4
_FEED_S = 0.004


class Board:
    """The board in `folder`. `run` until it is told to stop or its parent has gone."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.settings = settings
        self.faults = dict(settings.faults)
        self.state = "off"
        self._folder = nodes.Folder((folder / "state").absolute())
        self._flash_file = (folder / "flash.bin").absolute()
        self._flash = NorFlash(self._flash_file, settings.flash_bytes)
        self._cut_file = self._folder.path / "cut.json"
        self._cut_file.unlink(missing_ok=True)
        self._cable = Cable(settings, self.faults, lambda device: self._tell("registered", device=device))
        self._chip: Chip | None = None
        self._rom: rom.Rom | None = None
        self._regions: bootcheck.Started | None = None
        self._plugged, self._usb_on, self._boot_held = True, True, False
        self._anew_by_sync = False
        self._orders, self._line = b"", b""
        self._timer: tuple[float, Any] | None = None
        self._boots = self._crashes = 0
        self._stop = False

    # the event loop

    def run(self) -> None:
        """Switch it on and serve it."""
        os.set_blocking(0, False)
        self._power_on()
        try:
            while not self._stop:
                self._turn()
        finally:
            self._power_off()
            self._tell("ended")

    def _turn(self) -> None:
        port = self._cable.port
        reading, writing, due = [0], [], [] if self._timer is None else [self._timer[0]]
        if self._chip:
            reading.append(self._chip.descriptor)
            if self._chip.feed():
                due.append(time.monotonic() + _FEED_S)
        if port.is_open:
            descriptor, read, write, again = port.waits()
            reading += [descriptor] * read
            writing += [descriptor] * (write and again is None)
            due += [again] if again is not None else []
        wait = max(min(due, default=time.monotonic() + 60) - time.monotonic(), 0)
        ready = select.select(reading, writing, [], wait)[0]
        if 0 in ready:
            self._read_orders()
        if port.is_open:
            port.flush()
            if port.waits()[0] in ready:
                self._read_port()
        if self._chip and self._chip.descriptor in ready:
            self._read_chip(self._chip)
        if self._timer and time.monotonic() >= self._timer[0]:
            action, self._timer = self._timer[1], None
            action()

    def _in_s(self, seconds: float, action: Any) -> None:
        self._timer = (time.monotonic() + seconds, action)

    def _tell(self, event: str, **fields: Any) -> None:
        try:
            print(json.dumps({"event": event, **fields}), flush=True)
        except BrokenPipeError:
            self._stop = True

    def _read_orders(self) -> None:
        try:
            data = os.read(0, 65536)
        except BlockingIOError:
            return
        if not data:
            self._stop = True
        *lines, self._orders = (self._orders + data).split(b"\n")
        for line in lines:
            order = json.loads(line)
            self._obey(order.pop("do"), order)

    def _obey(self, what: str, order: dict[str, Any]) -> None:
        match what:
            case "power_cut":
                self._cut()
            case "power_on":
                self._plugged = True
                self._power_on()
            case "press_reset":
                self._reset("power_on")
            case "hold_boot" | "release_boot":
                self._boot_held = what == "hold_boot"
            case "unplug":
                self._plugged = False
                if self.settings.battery:
                    self._cable.unplug()
                    self._write_usb()
                else:
                    self._cut()
            case "plug":
                self._plugged = True
                self._write_usb()
                self._power_on() if self.state == "off" else self._cable_here()
            case "usb_power":
                self._usb_on = order["on"]
                self._write_usb()
            case "fault":
                self.faults.update(order)
                if self.state != "off" and AT_THE_CABLE & set(order):
                    self._cable.unplug()
                    self._cable_here()
            case "cut_after":
                nodes.write(self._cut_file, json.dumps(order["bytes"]))
                self._flash.budget = order["bytes"]
                self._flash.on_spent = lambda left: nodes.write(self._cut_file, json.dumps(left))
            case "stop":
                self._stop = True
            case _:
                raise ValueError(f"no such order: {what}")

    # power, buttons, cable

    def _power_on(self) -> None:
        if self.state == "off":
            self._reset("power_on")

    def _cut(self) -> None:
        if self.state != "off":
            self._power_off()
            self._tell("cut")

    def _power_off(self) -> None:
        self._halt()
        self.state = "off"
        self._folder.rtc.unlink(missing_ok=True)
        self._flash.budget = None
        self._cut_file.unlink(missing_ok=True)
        self._cable.unplug()

    def _halt(self) -> None:
        """Whatever the chip is doing ends here."""
        self._timer = None
        self._rom = None
        if self._chip:
            self._chip.kill()
            self._chip = None

    def _cable_here(self) -> None:
        if self._plugged:
            self._cable.plug()

    def _reset(self, cause: str, *, by_host: bool = False) -> None:
        """EN (which is a power-on to the chip), the watchdog or the program: the chip starts anew. `by_host`: it pulled
        IO0 as well."""
        if self.state == "off" and cause != "power_on":
            return
        if self.state != "off":
            self._tell("reset")
            self._cable.after_reset()
        self._halt()
        if cause == "power_on":
            self._folder.rtc.unlink(missing_ok=True)
        if by_host or self._boot_held:
            self._enter_rom(said=not by_host)
        else:
            self._boot(cause)

    # the boot loader

    def _enter_rom(self, *, said: bool) -> None:
        """`said`: it tells what it waits for; a program that resets it throws that away."""
        self.state = "rom"
        self._cable.as_device(running=False)
        self._cable_here()
        self._cable.baud = self._cable.speed or MICROPYTHON_BAUD
        self._anew_by_sync = False
        if self._flash.budget is not None:
            self._flash.budget = json.loads(
                self._cut_file.read_text(encoding="utf-8")
            )  # MicroPython may have spent some
        self._rom = rom.Rom(
            self.settings.chip,
            bytes.fromhex(self.settings.mac),
            self._flash,
            unknown=bool(self.faults.get("old_revision")),
        )
        if said:
            self._cable.send(romtext.download(self.settings.chip))
        self._tell("rom")

    def _leave_rom(self) -> None:
        if self._boot_held or self.faults.get("stays_in_boot"):
            self._anew_by_sync = not self.faults.get("no_auto_reset")
            self._cable.baud = MICROPYTHON_BAUD  # the ROM starts anew
            self._cable.send(romtext.download(self.settings.chip))
        else:
            self._reset("power_on")

    def _serve_rom(self, loader: rom.Rom, data: bytes) -> None:
        self._cable.port.watch_close(on=True)
        for frame in loader.frames(data):
            try:
                self._cable.send(loader.receive(frame))
            except PowerGone:
                self._cut()
                return
            if loader.baud:
                self._cable.baud, loader.baud = loader.baud, None
            if loader.ended:
                loader.ended = False
                self._leave_rom()
                return

    # the port

    def _read_port(self) -> None:
        try:
            data, sync = self._cable.receive()
        except HungUp:
            self._cable.hung_up()
            self._tell("closed")
            if self._rom:
                self._leave_rom()
            return
        pulled = sync and not self.faults.get("no_auto_reset")
        if self._rom:
            if pulled and (self._anew_by_sync or self._rom.stub):  # a program that was here and came back at once
                self._enter_rom(said=False)
            self._serve_rom(self._rom, data)
        elif pulled:
            self._reset("power_on", by_host=True)
            if self._rom and not self.faults.get("renames_port"):  # else nobody is at the new port yet
                self._serve_rom(self._rom, data)
        elif self._chip:
            self._chip.write(self._cable.heard(data))

    def _print(self, data: bytes, *, lines: bool = True) -> None:
        self._cable.send(data)
        if lines:
            *whole, self._line = (self._line + data).split(b"\n")
            for line in whole:
                self._tell("line", text=line.decode("utf-8", "replace").rstrip())

    # MicroPython

    def _boot(self, cause: str) -> None:
        chip = self.settings.chip
        self._cable.baud = MICROPYTHON_BAUD
        try:
            if self.faults.get("boot_loop"):
                raise bootcheck.BootError(romtext.PSRAM_WRONG)
            self._regions = bootcheck.check(self._flash.read, chip, self.settings.flash_bytes)
        except bootcheck.BootError as error:
            self._cable.as_device(running=False)
            self._cable_here()
            self._tell("refused", why=str(error))
            self._say_again(romtext.reset(chip, "wdt") + f"{error}\r\n".encode() * 3)
            return
        self._cable.as_device(running=True)
        self._cable_here()
        self._print(romtext.reset(chip, cause))
        self._start(cause, self._regions)

    def _say_again(self, text: bytes) -> None:
        self.state = "rebooting"
        self._print(text)
        self._in_s(_REBOOT_EVERY_S, lambda: self._say_again(text))

    def _start(
        self, cause: str, regions: bootcheck.Started, *, no_main: bool = False, wake_at_us: int | None = None
    ) -> None:
        settings = self.settings
        world = nodes.world(
            settings.node(), self._folder, settings.air, cause=cause, boot=self._boots, wake_at_us=wake_at_us,
            weather_seed=settings.weather_seed, board_name=settings.board,
        )  # fmt: skip
        world |= {
            "flash": str(self._flash_file),
            "flash_bytes": settings.flash_bytes,
            "nvs": list(regions.nvs),
            "vfs": list(regions.vfs),
            "usb": self._usb_on and self._plugged,
            "no_main": no_main,
        }
        nodes.write(self._folder.world, json.dumps(world))
        self._write_usb()
        self._folder.power.unlink(missing_ok=True)
        self._boots += 1
        self.state = "running"
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "MICROPYPATH": f"{DEVICE_DIR}:.frozen",
            "SPATZ_WORLD": str(self._folder.world),
        }
        command = [*micropython.command(), "-X", "heapsize=2M", str(DEVICE_DIR / "board_boot.py")]
        self._chip = Chip(
            command, environment, self._folder.path, banner=romtext.banner(settings.chip), enter_raw=no_main
        )
        self._tell("boot", cause=cause)

    def _write_usb(self) -> None:
        """For a node that looks whether USB is there while it runs."""
        nodes.write(self._folder.path / "usb.json", json.dumps(self._usb_on and self._plugged))

    def _read_chip(self, chip: Chip) -> None:
        data = chip.read()
        if data:
            self._print(data, lines=not chip.raw)
        if data is None:
            self._chip_ended(chip)

    def _chip_ended(self, chip: Chip) -> None:
        chip.kill()
        self._chip = None
        status = chip.ended()
        try:
            said: dict[str, Any] = json.loads(self._folder.power.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            said = {"event": "soft_reset" if status == 0 else "crashed"}
        event = "cut" if status == POWER_CUT_STATUS else said["event"]
        self._crashes = self._crashes + 1 if event in ("crashed", "fault") else 0
        match event:
            case "cut" | "power_cut":
                self._cut()
            case "brown_out":
                self._reset("power_on")
            case "deepsleep":
                self._sleep(said.get("wake_at_us"))
            case "soft_reset" if self._regions:
                self._tell("reset")
                self._print(b"MPY: soft reboot\r\n")
                self._start("soft", self._regions, no_main=chip.raw)
            case "crashed" | "fault":
                self._tell("fault", rule=str(said.get("rule") or said.get("error") or f"exit status {status}"))
                pause = CRASH_PAUSE_S[min(self._crashes, len(CRASH_PAUSE_S)) - 1]
                self._in_s(pause, lambda: self._reset("wdt"))
            case _:
                self._cable.vanish()
                self._reset("wdt" if event == "wdt" else "soft")

    def _sleep(self, wake_at_us: int | None) -> None:
        self.state = "asleep"
        seconds = None if wake_at_us is None else max(wake_at_us - monotonic_us(), 0) / 1e6
        if self._cable.native:
            self._cable.unplug()
        self._tell("sleep", seconds=seconds)
        if wake_at_us is not None and seconds is not None:
            self._in_s(max(seconds - START_LEAD_US / 1e6, 0), lambda: self._wake(wake_at_us))

    def _wake(self, wake_at_us: int) -> None:
        if self._regions:
            self._cable_here()
            self._print(romtext.reset(self.settings.chip, "deepsleep"))
            self._start("deepsleep", self._regions, wake_at_us=wake_at_us)


def main() -> None:
    """Run the board in the folder that the command line names."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C at the terminal is for the parent, which says stop
    rom.load()
    folder = Path(sys.argv[1])
    Board(folder, Settings.read(folder)).run()


if __name__ == "__main__":
    main()
