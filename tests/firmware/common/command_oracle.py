"""What a class A device must make of MAC commands, written from the specification alone; shares nothing with firmware.

CPython only. A device is a value: `answer` gives the next one. Sources: TS001-1.0.4 section 5, RP002-1.0.4 2.4 and 2.9.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

EIRPS = (8, 10, 12, 13, 14, 16, 18, 20, 21, 24, 26, 27, 29, 30, 33, 36)
LENGTHS = {2: 2, 3: 4, 4: 1, 5: 4, 6: 0, 7: 5, 8: 1, 9: 1, 10: 4, 13: 5}
ANSWER_LENGTHS = {2: 1, 3: 2, 4: 1, 5: 2, 6: 3, 7: 2, 8: 1, 9: 1, 10: 2, 13: 1}  # room that each must find
MOST_WAITING = 60


@dataclass(frozen=True)
class Plan:
    """A channel plan: frequencies in kHz, data rates as kHz of bandwidth."""

    defaults: tuple[float, ...]
    bands: tuple[tuple[float, float], ...]
    hears: tuple[float, float]
    offsets: int
    powers: int
    sets_tx_params: bool
    rates: dict[int, int] = field(default_factory=lambda: dict.fromkeys(range(6), 125) | {6: 250})

    def fits(self, khz: float, width: int) -> bool:
        return any(low <= khz - width / 2 and khz + width / 2 <= high for low, high in self.bands)

    def rx1(self, rate: int, offset: int, dwell_down: bool) -> int:
        if self.offsets == 6:
            return max(0, rate - offset)
        faster = {6: 1, 7: 2}.get(offset, -offset)
        return min(7, max(2 if dwell_down else 0, rate + faster))


EU868 = Plan(
    defaults=(868100, 868300, 868500),
    bands=(
        (863000, 865000),
        (865000, 868000),
        (868000, 868600),
        (868700, 869200),
        (869400, 869650),
        (869700, 870000),
    ),
    hears=(863000, 870000),
    offsets=6,
    powers=8,
    sets_tx_params=False,
)
AS923 = Plan(
    defaults=(923200, 923400),
    bands=((915000, 928000),),
    hears=(915000, 928000),
    offsets=8,
    powers=8,
    sets_tx_params=True,
)


@dataclass(frozen=True)
class Channel:
    khz: float
    slowest: int
    fastest: int
    rx1_khz: float = 0
    on: bool = True


@dataclass(frozen=True)
class Device:
    plan: Plan
    channels: dict[int, Channel]
    rate: int
    power: int
    repeats: int
    delay: int
    offset: int
    rx2: tuple[int, float]
    duty: int
    dwell_up: bool
    dwell_down: bool
    eirp: int
    link_check: tuple[int, int] | None = None
    time: tuple[int, int] | None = None

    def enabled(self) -> set[int]:
        return {number for number, channel in self.channels.items() if channel.on}

    def possible(self, rate: int, enabled: set[int], offset: int | None = None) -> bool:
        """Whether an uplink at this rate can be made and its RX1 be opened."""
        offset = self.offset if offset is None else offset
        return (
            rate in self.plan.rates
            and any(self.channels[number].slowest <= rate <= self.channels[number].fastest for number in enabled)
            and not (self.dwell_up and self.plan.sets_tx_params and rate < 2)
            and self.plan.rx1(rate, offset, self.dwell_down) in self.plan.rates
        )

    def with_mask(self, enabled: set[int]) -> Device:
        return replace(self, channels={n: replace(channel, on=n in enabled) for n, channel in self.channels.items()})

    def repaired(self) -> Device:
        """An uplink must stay possible: the nearest slower rate, the nearest faster one, the default channels."""
        for enabled in (self.enabled(), self.enabled() | set(range(len(self.plan.defaults)))):
            rates = [rate for rate in self.plan.rates if self.possible(rate, enabled)]
            if rates:
                rate = min(rates, key=lambda rate: (rate > self.rate, abs(rate - self.rate)))
                return replace(self.with_mask(enabled), rate=rate)
        raise AssertionError("nothing is possible")


def commands(block: bytes) -> Iterator[list[bytes]]:
    """The block as groups: contiguous LinkADRReq together, everything else alone; up to what cannot be read."""
    group: list[bytes] = []
    while block and block[0] in LENGTHS and len(block) > LENGTHS[block[0]]:
        size = 1 + LENGTHS[block[0]]
        command, block = block[:size], block[size:]
        if group and not (command[0] == 3 == group[0][0]):
            yield group
            group = []
        group.append(command)
    if group:
        yield group


def answer(
    device: Device, block: bytes, *, snr: float, battery: int, adr: bool, asked: bytes, waiting: int
) -> tuple[Device, bytes]:
    """The device afterwards and its answers. waiting: bytes of answers that are not sent yet."""
    said = b""
    for group in commands(block):
        cid = group[0][0]
        if waiting + len(said) + len(group) * ANSWER_LENGTHS[cid] > MOST_WAITING:
            break
        if cid == 3:
            device, status = link_adr(device, group, adr)
            said += bytes([3, status]) * len(group)
        else:
            device, one = single(device, group[0], snr, battery, asked)
            said += one
    return device, said


def link_adr(device: Device, group: list[bytes], adr: bool) -> tuple[Device, int]:
    enabled: set[int] = set()
    mask_ok = True
    for request in group:
        bits = int.from_bytes(request[2:4], "little")
        control = request[4] >> 4 & 7
        wanted = {number for number in range(16) if bits & 2**number}
        if control == 6:
            wanted = set(device.channels)
        mask_ok = mask_ok and control in (0, 6) and wanted <= set(device.channels)
        enabled = wanted
    mask_ok = mask_ok and bool(enabled)
    if not mask_ok:
        enabled = device.enabled()
    if not adr:
        taken = mask_ok and device.possible(device.rate, enabled)
        return (device.with_mask(enabled), 1) if taken else (device, 0)
    rate, power = divmod(group[-1][1], 16)
    rate = device.rate if rate == 15 else rate
    power = device.power if power == 15 else power
    rate_ok = device.possible(rate, enabled)
    power_ok = power < device.plan.powers
    if mask_ok and rate_ok and power_ok:
        repeats = group[-1][4] % 16
        device = replace(device.with_mask(enabled), rate=rate, power=power, repeats=repeats or 1)
    return device, mask_ok + 2 * rate_ok + 4 * power_ok


def single(device: Device, command: bytes, snr: float, battery: int, asked: bytes) -> tuple[Device, bytes]:
    cid, data = command[0], command[1:]
    khz = int.from_bytes(data[1:4], "little") / 10
    hears = device.plan.hears[0] <= khz <= device.plan.hears[1]
    if cid == 2:
        return replace(device, link_check=(data[0], data[1])) if cid in asked else device, b""
    if cid == 13:
        time = (int.from_bytes(data[:4], "little"), data[4])
        return replace(device, time=time) if cid in asked else device, b""
    if cid == 4:
        return replace(device, duty=data[0] % 16), b"\x04"
    if cid == 6:
        margin = max(-32, min(31, round(snr)))
        return device, bytes([6, battery, margin % 64])
    if cid == 8:
        return replace(device, delay=max(1, data[0] % 16)), b"\x08"
    if cid == 9:
        if not device.plan.sets_tx_params:
            return device, b""
        flags = f"{data[0]:08b}"
        eirp = min(16, EIRPS[int(flags[4:], 2)])  # of AS923, the only plan here that has it
        device = replace(device, dwell_down=flags[2] == "1", dwell_up=flags[3] == "1", eirp=eirp)
        return device.repaired(), b"\x09"
    if cid == 5:
        offset, rate = data[0] >> 4 & 7, data[0] & 15
        offset_ok = (
            offset < device.plan.offsets
            and device.plan.rx1(device.rate, offset, device.dwell_down) in device.plan.rates
        )
        rate_ok = rate in device.plan.rates
        if hears and rate_ok and offset_ok:
            device = replace(device, offset=offset, rx2=(rate, khz))
        return device, bytes([5, hears + 2 * rate_ok + 4 * offset_ok])
    number = data[0]
    if cid == 10:
        exists = number in device.channels
        if hears and exists:
            channel = replace(device.channels[number], rx1_khz=khz)
            device = replace(device, channels=device.channels | {number: channel})
        return device, bytes([10, hears + 2 * exists])
    if not len(device.plan.defaults) <= number <= 15:
        return device, b"\x07\x00"
    if not khz:
        left = {n: channel for n, channel in device.channels.items() if n != number}
        return replace(device, channels=left).repaired(), b"\x07\x03"
    fastest, slowest = divmod(data[4], 16)
    range_ok = slowest <= fastest and {slowest, fastest} <= set(device.plan.rates)
    khz_ok = device.plan.fits(khz, device.plan.rates[fastest] if range_ok else 125)
    if range_ok and khz_ok:
        channel = Channel(khz, slowest, fastest)
        device = replace(device, channels=device.channels | {number: channel}).repaired()
    return device, bytes([7, khz_ok + 2 * range_ok])
