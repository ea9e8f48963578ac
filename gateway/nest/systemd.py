"""The nest as a systemd service: the unit file, and what the running nest tells the manager (sd_notify(3)).

`notify` is a datagram to the socket that NOTIFY_SOCKET names; outside of systemd it does nothing. `server.py` calls

    systemd.notify("READY=1")        when every part listens
    systemd.notify("STOPPING=1")     when it begins to close
    systemd.notify("WATCHDOG=1")     every `watchdog_s()` seconds, from the event loop: it lives as long as that turns
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path

from nest.town import Town

WATCHDOG_S = 30  # a nest that says nothing for so long is started again
STOP_S = 10  # it closes within 2 s; what has not ended by then hangs

_UNIT = """\
# {name}: the nest of Funkspatz. Made by `nest systemd`; make it again when the folder or the program has moved.
[Unit]
Description=Funkspatz nest {description}
Documentation=https://www.freedesktop.org/software/systemd/man/systemd.service.html
{after}StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={command} run {folder} --quiet
Restart=on-failure
RestartSec=5
# a large database is converted and backed up before the nest is ready: nobody may cut that off
TimeoutStartSec=infinity
WatchdogSec={watchdog}
TimeoutStopSec={stop}
{who}WorkingDirectory={directory}
Environment=PYTHONUNBUFFERED=1
LimitNOFILE=16384

# what it may do: read the system, write its own folder, talk to the network
NoNewPrivileges=yes
UMask=0077
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
SystemCallArchitectures=native
{hardening}
[Install]
WantedBy={target}
"""

# These need rights that a user's own manager does not have (systemd.exec(5)).
_SYSTEM_ONLY = """\
ProtectSystem=strict
ReadWritePaths={folder}
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictNamespaces=yes
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
CapabilityBoundingSet={capabilities}
AmbientCapabilities={capabilities}
"""


def unit(town: Town, command: list[str], *, user: bool = False) -> str:
    """A unit file for `town`; `command` is the absolute path of `nest`, and what must stand before its arguments.

    For the system's manager it runs as the folder's owner; `user`: for that user's own manager, with less protection.
    """
    folder = town.path.resolve()
    ports = (town.settings.web.port, town.settings.semtech_udp.port, town.settings.basics_station.port)
    privileged = any(0 < port < 1024 for port in ports)
    owner = folder.stat()
    system = _SYSTEM_ONLY.format(
        folder=_quoted(str(folder)), capabilities="CAP_NET_BIND_SERVICE" if privileged else ""
    )  # fmt: skip
    return _UNIT.format(
        name=f"funkspatz-{town.slug}.service",
        description=_specifiers(town.name.replace("\\", "\\\\")),
        after="" if user else "After=network-online.target\nWants=network-online.target\n",
        command=" ".join(_quoted(part, dollar=True) for part in command),
        folder=_quoted(str(folder), dollar=True),
        directory=_specifiers(str(folder)),  # a single path: taken as it is, spaces too
        watchdog=WATCHDOG_S,
        stop=STOP_S,
        who="" if user else f"User={owner.st_uid}\nGroup={owner.st_gid}\n",
        hardening="" if user else system,
        target="default.target" if user else "multi-user.target",
    )


def notify(state: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Tell the manager `state` (`READY=1`, …); False: there is none, or it does not listen. Never raises OSError."""
    address = environment.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):  # Linux' abstract sockets have a zero in its place
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
            manager.settimeout(0.2)  # a manager that is busy must not hold up the nest
            manager.sendto(state.encode(), address)
    except OSError:
        return False
    return True


def watchdog_s(environment: Mapping[str, str] = os.environ) -> float | None:
    """How often, in seconds, to send WATCHDOG=1: half of what the manager allows; None: it does not ask for that."""
    try:
        allowed_us = int(environment["WATCHDOG_USEC"])
        meant = int(environment.get("WATCHDOG_PID", os.getpid()))
    except (KeyError, ValueError):
        return None
    return allowed_us / 2e6 if allowed_us > 0 and meant == os.getpid() else None


def vanishes(folder: Path) -> bool:
    """Whether the folder lies where a service with a private /tmp would not find it, and a restart would clear it."""
    resolved = folder.resolve()
    return any(resolved.is_relative_to(temporary) for temporary in ("/tmp", "/var/tmp"))  # noqa: S108


def _specifiers(text: str) -> str:
    return text.replace("%", "%%")


def _quoted(text: str, *, dollar: bool = False) -> str:
    """One word of a unit file (systemd.syntax(7), "Quoting"); in a command line, `$` begins a variable."""
    if dollar:
        text = text.replace("$", "$$")
    text = _specifiers(text)
    if not text or any(letter in text for letter in " \t\n\"'\\;"):
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    return text
