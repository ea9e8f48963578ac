"""The device with a memory: what is stored when, and what a reset, a power cut or a damaged store leaves of it."""

# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportArgumentType=false, reportOperatorIssue=false

from expect import equal, raises, some
from lorawan import as923, commands, eu868, in865
from lorawan.actions import Heard, Listen, Transmit
from lorawan.device import Device, NoDevNonce
from lorawan.results import NoAirtime, NotJoined
from tiny_network import TinyNetwork

DEV_EUI = bytes(range(8))
JOIN_EUI = bytes(range(8, 16))
KEY = bytes(range(16))
HOUR_MS = 3600000


class Cut(BaseException):
    """The power is gone, or the processor was reset."""


class Store:
    """Flash with two slots and RAM; every write is logged, and the n-th thing that happens can be the last."""

    def __init__(self, log):
        self.slots = [None, None]
        self.data = b""
        self.log = log

    def read(self, slot=None):
        return self.data if slot is None else self.slots[slot]

    def write(self, slot, data):
        self.log.append("flash")
        self.slots[slot] = data
        self.log.append("flash written")


class Ram:
    def __init__(self, log):
        self.data = b""
        self.log = log

    def read(self):
        return self.data

    def write(self, data):
        self.log.append("ram")
        self.data = data


class World:
    def __init__(self):
        self.log = []
        self.flash = Store(self.log)
        self.ram = Ram(self.log)
        self.network = TinyNetwork(KEY)
        self.now_ms = 0
        self.heard = True  # whether the network hears it

    def boot(self, power_cut=False, slept_ms=0, key=KEY, region=eu868, **others):
        if power_cut:
            self.ram.data = b""
        began_ms = self.now_ms
        return Device(
            region, DEV_EUI, JOIN_EUI, key, self.flash, self.ram, self.run,
            lambda: self.now_ms - began_ms, lambda n: n // 2, slept_ms=slept_ms, **others,
        )  # fmt: skip

    def run(self, exchange, before_transmit):
        answer = reply = None
        try:
            while True:
                try:
                    action = exchange.send(answer)
                except StopIteration as end:
                    return end.value
                answer = None
                if isinstance(action, Transmit):
                    before_transmit(action)
                    self.log.append("transmit")
                    self.now_ms += action.airtime_us // 1000
                    reply = self.network.hear(action.frame) if self.heard else None
                elif isinstance(action, Listen):
                    self.now_ms += 1000
                    answer = Heard(reply, -90, 7.0) if reply else None
                    reply = None
                else:
                    self.now_ms += action.us // 1000
        finally:
            exchange.close()

    def joined(self):
        device = self.boot()
        assert device.join()
        return device

    def writes(self):
        return self.log.count("flash")


def check_it_joins_and_sends():
    world = World()
    device = world.boot()
    raises(NotJoined, device.uplink, 1, b"x")
    assert device.join()
    equal(device.uplink(1, b"hello").fcnt, 0)
    equal(world.network.payloads, [b"hello"])


def check_nothing_is_on_air_before_it_is_stored():
    world = World()
    device = world.joined()
    device.uplink(1, b"x")
    for at, event in enumerate(world.log):
        if event == "transmit":
            equal(world.log[at - 1], "ram", (at, world.log))
    first = world.log.index("transmit")
    assert "flash written" in world.log[:first], "the DevNonce"
    second = world.log.index("transmit", first + 1)
    assert "flash written" in world.log[first:second], "the session"


def check_deep_sleep_costs_no_flash_and_no_number():
    world = World()
    world.joined().uplink(1, b"x")
    writes = world.writes()
    for n in range(1, 20):
        device = world.boot(slept_ms=900000)
        world.now_ms += 900000
        equal(device.uplink(1, b"x").fcnt, n)
        device.save()
    equal(world.writes(), writes)


def check_power_cut_keeps_the_session_and_skips_the_reserved_numbers():
    world = World()
    device = world.joined()
    for _ in range(3):
        device.uplink(1, b"x")
    device = world.boot(power_cut=True)
    assert device.joined
    fcnt = device.uplink(1, b"after").fcnt
    assert 3 <= fcnt <= 2 * 128 + 3, fcnt
    equal(world.network.payloads[-1], b"after")
    equal(world.network.joins, 1)


def check_cut_at_every_moment():
    """A power cut or a reset between any two things: no number twice, and the next start sends."""
    for power_cut in (True, False):
        for moment in range(1, 40):
            world = World()
            log = CutAt(moment)
            world.log = world.flash.log = world.ram.log = log
            try:
                device = world.boot()
                if not device.joined:
                    device.join()
                for _ in range(4):
                    device.uplink(1, b"x")
            except Cut:
                pass
            log.moment = -1
            for _ in range(3):
                device = world.boot(power_cut)
                if not device.joined:
                    assert device.join(), moment
                device.uplink(1, b"again")
                equal(world.network.payloads[-1], b"again")


class CutAt:
    """A log that cuts at its n-th entry, once."""

    def __init__(self, moment):
        self.moment = moment

    def append(self, entry):
        self.moment -= 1
        if self.moment == 0:
            raise Cut


def check_few_writes():
    """A week at 96 uplinks a day: a write every 128 uplinks."""
    world = World()
    world.joined()
    writes = world.writes()
    for _ in range(7 * 96):
        device = world.boot(slept_ms=900000)
        world.now_ms += 900000
        device.uplink(1, bytes(11))
        device.save()
    assert world.writes() - writes <= 7 * 96 // 128 + 2, world.writes() - writes


def check_damaged_newest_slot():
    """Bit rot: as many numbers are skipped as the lost record could have reserved."""
    world = World()
    device = world.joined()
    for _ in range(140):
        device.uplink(1, b"x")
        world.now_ms += 10000
    last = world.network.fcnt_up
    newest = 0 if world.flash.slots[0] > world.flash.slots[1] else 1  # the sequence number comes first in it
    for slot in (newest,):
        data = bytearray(some(world.flash.slots[slot]))
        data[-20] ^= 4
        world.flash.slots[slot] = bytes(data)
    device = world.boot(power_cut=True)
    error = raises(NoAirtime, device.uplink, 1, b"x")  # what the lost one had promised is not known
    world.now_ms += error.wait_ms
    assert error.wait_ms <= 68 * 60000
    assert device.uplink(1, b"x").fcnt > last


def check_damaged_ram_is_like_a_power_cut():
    world = World()
    device = world.joined()
    device.uplink(1, b"x")
    good = world.ram.data
    for at in range(0, len(good), 7):
        world.ram.data = good[:at] + bytes((good[at] ^ 0x40,)) + good[at + 1 :]
        assert some(world.boot().session).fcnt_up == 128, at
    for size in range(0, len(good), 11):
        world.ram.data = good[:size]
        assert some(world.boot().session).fcnt_up == 128, size


def check_another_key_gets_no_session_but_the_numbers():
    world = World()
    world.joined().uplink(1, b"x")
    for power_cut in (False, True):
        device = world.boot(power_cut, key=bytes(16))
        equal((device.joined, device.mac.last_join_nonce), (False, -1))
        equal(device.dev_nonce, 1)
    assert world.boot(True).joined


def check_another_region_gets_no_session_but_the_numbers():
    """Set up again for another region, a node joins there; back home, the old session is gone only if it joined."""
    world = World()
    world.joined().uplink(1, b"x")
    for power_cut in (False, True):
        for region in (in865, as923):
            device = world.boot(power_cut, region=region)
            equal((device.joined, device.dev_nonce, device.mac.last_join_nonce), (False, 1, 1))
            equal(device.join_wait_ms(5), 0)
    assert world.boot(True).joined


def check_dev_nonces_count_on_and_end():
    world = World()
    world.heard = False
    device = world.boot()
    for nonce in range(5):
        equal(device.dev_nonce, nonce)
        device.join()
        world.now_ms += 60000
    equal(world.boot().dev_nonce, 5, "a reset costs none")
    equal(world.boot(first_dev_nonce=1000).dev_nonce, 1000)
    equal(world.boot(first_dev_nonce=2).dev_nonce, 5)
    assert 5 <= world.boot(power_cut=True).dev_nonce <= 5 + 8
    world.heard = True
    device = world.boot(first_dev_nonce=0xFFFF)
    assert device.join()
    raises(NoDevNonce, device.join)
    raises(NoDevNonce, world.boot(power_cut=True).join)


def check_old_join_accept_is_refused_after_a_power_cut():
    world = World()
    world.joined()
    device = world.boot(power_cut=True)
    world.network.join_nonce -= 1  # answers with the same JoinNonce again
    equal(device.join(), None)
    assert device.join()


def check_what_a_downlink_changes_is_in_flash_before_it_is_answered():
    world = World()
    device = world.joined()
    world.network.commands = b"\x08\x05"  # RXTimingSetup: 5 s
    device.uplink(1, b"x")
    device = world.boot(power_cut=True)
    equal(some(device.session).rx1_delay_s, 5)
    device.uplink(1, b"x")
    equal(world.network.answers, b"\x08")
    device = world.boot(power_cut=True)  # the answer was heard, but no downlink said so
    device.uplink(1, b"x")
    equal(world.network.answers, b"\x08", "still answered")


def check_payload_of_a_downlink_is_accepted_once():
    """The counter is in flash before the application sees the payload: who records it cannot play it again."""
    world = World()
    device = world.joined()
    world.network.downlink = (5, b"open")
    equal(device.uplink(1, b"x").downlinks, [(5, b"open", 0)])
    recorded = world.network.last_reply
    device = world.boot(power_cut=True)
    world.network.replay = recorded
    equal(device.uplink(1, b"x").downlinks, [])


def check_failing_flash_keeps_it_silent():
    """What cannot be stored is not sent."""
    world = World()

    def broken(slot, data):
        raise OSError(5)

    world.flash.write = broken  # type: ignore[method-assign]
    device = world.boot()
    raises(OSError, device.join)
    assert "transmit" not in world.log


def check_flash_that_fails_once_reserves_nothing():
    """What flash did not keep is not counted on, neither now nor by the next start from ram."""
    for reset in (False, True):
        world = World()
        device = world.joined()
        write = world.flash.write
        some(device.session).fcnt_up = 128  # the next uplink needs a new block

        def broken(slot, data):
            raise OSError(5)

        world.flash.write = broken
        raises(OSError, device.uplink, 1, b"x")
        raises(OSError, device.uplink, 1, b"x")
        world.flash.write = write
        if reset:
            device = world.boot()
        writes = world.writes()
        fcnt = device.uplink(1, b"x").fcnt
        assert world.writes() > writes, reset
        assert some(world.boot(power_cut=True).session).fcnt_up > fcnt


def broken(slot, data):
    raise OSError(5)


def check_a_change_that_flash_refused_is_not_answered_before_it_is_kept():
    world = World()
    device = world.joined()
    device.uplink(1, b"x")
    world.network.commands = b"\x08\x03"  # RXTimingSetupReq
    write = world.flash.write
    world.flash.write = broken
    raises(OSError, device.uplink, 1, b"x")
    sent = world.log.count("transmit")
    raises(OSError, device.uplink, 1, b"x")
    equal(world.log.count("transmit"), sent)
    world.flash.write = write
    device.uplink(1, b"x")
    equal(some(world.boot(power_cut=True).session).rx1_delay_s, 3)


def check_ctrl_c_in_flash_reserves_nothing():
    """Whoever is at the prompt may reset it and pull the plug later: ram must not know what flash does not."""
    world = World()
    device = world.joined()
    write = world.flash.write
    some(device.session).fcnt_up = 128  # the next uplink needs a new block

    def interrupted(slot, data):
        raise KeyboardInterrupt

    world.flash.write = interrupted
    raises(KeyboardInterrupt, device.uplink, 1, b"x")
    world.flash.write = write
    fcnt = world.boot().uplink(1, b"x").fcnt
    assert some(world.boot(power_cut=True).session).fcnt_up > fcnt


def check_flash_that_fails_costs_the_join_clock_no_uplink():
    """A device that looks for its network writes its clock every hour: that is good to have, but no condition."""
    world = World()
    device = world.joined()
    world.heard = False
    device.join(0)
    world.now_ms += 2 * HOUR_MS
    world.flash.write = broken
    device.save()
    equal(device.uplink(1, b"x").repeats, 1)
    assert some(world.boot().session).fcnt_up == 1


def check_duty_cycle_of_the_network_survives_a_power_cut():
    world = World()
    device = world.joined()
    world.network.commands = b"\x04\x0a"
    device.uplink(1, b"x")
    device = world.boot(power_cut=True)
    assert raises(NoAirtime, device.uplink, 1, b"x").wait_ms > 60000


def check_lost_network_is_noticed_and_the_session_kept():
    world = World()
    device = world.joined()
    world.heard = False
    for _ in range(351):
        device.uplink(1, b"x")
        world.now_ms += 600000
    equal(device.lost, False)
    device.uplink(1, b"x")
    equal(device.lost, True)
    world.now_ms += 600000
    equal(device.join(0), None)
    assert device.joined, "nobody answered: the old session goes on"
    assert world.boot().lost
    world.heard = True
    assert device.join(0)
    equal(device.lost, False)
    equal(device.uplink(1, b"x").fcnt, 0)


def check_node_time_never_leads():
    world = World()
    device = world.joined()
    world.now_ms += 5 * HOUR_MS
    device.save()
    before_ms = device.now_ms()
    world.now_ms += HOUR_MS
    equal(world.boot().now_ms(), before_ms, "a reset: nobody knows how long it took")
    equal(world.boot(slept_ms=HOUR_MS).now_ms(), before_ms + HOUR_MS)
    assert world.boot(power_cut=True).now_ms() <= before_ms


def check_airtime_survives_resets():
    """Whatever happens, an hour takes no more than the law allows; and after an hour awake it goes on."""
    for power_cut in (False, True):
        world = World()
        device = world.joined()
        some(device.session).dr = 0
        sent_ms = 0
        try:
            for _ in range(200):
                before_ms = world.now_ms
                device.uplink(1, bytes(20))
                sent_ms += world.now_ms - before_ms - 2000
                device = world.boot(power_cut)
                some(device.session).dr = 0
        except NoAirtime as error:
            assert sent_ms <= 36000, sent_ms
            assert sent_ms >= (5000 if power_cut else 30000), (sent_ms, power_cut)
            world.now_ms += error.wait_ms
            device.uplink(1, bytes(20))
        else:
            raise AssertionError("no limit")


def check_requests_and_status():
    world = World()
    device = world.joined()
    device.request(commands.DEVICE_TIME)
    device.mac.battery = 77
    world.network.commands = b"\x06"
    equal(device.room(), 242 - 1)
    device.uplink(1, b"x")
    equal(world.network.answers, b"\x0d")
    equal(device.room(), 242 - 3)
    device.uplink(1, b"x")
    equal(world.network.answers[:2], b"\x06\x4d")
    equal(device.wait_ms(10), 0)


def check_power_cuts_do_not_hide_a_lost_network():
    """Cut off every day, and nobody answers: the count of silent uplinks in flash is old, so each start asks."""
    world = World()
    world.joined().uplink(1, b"x")
    world.heard = False
    days = 0
    while not world.boot(power_cut=True).lost:
        device = world.boot(power_cut=True)
        for _ in range(20):
            device.uplink(1, b"x")
            world.now_ms += 900000
        days += 1
        assert days < 20
