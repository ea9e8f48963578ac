"""What a node keeps: identity and counters in NVS, the record in RTC memory, config.json."""

from expect import equal, raises
from node.config import ConfigError, checked, load
from node.identity import Identity, IdentityError
from node.memory import Memory
from node_fakes import APP_KEY, DEV_EUI, Nvs, Reset, Rtc, config


def check_identity_is_read():
    identity = Identity(Nvs())
    equal(identity.dev_eui, DEV_EUI)
    equal(identity.app_key, APP_KEY)
    equal(identity.first_dev_nonce, 0)
    equal(Identity(Nvs(dev_nonce=7)).first_dev_nonce, 7)


def check_without_identity_it_says_so():
    raised = raises(IdentityError, Identity, Nvs(app_key=None))
    assert "identity" in str(raised)


def check_damaged_identity_is_refused():
    for key in (b"short", b"a key that is far too long"):
        raised = raises(IdentityError, Identity, Nvs(app_key=key))
        assert "damaged" in str(raised)
        assert "short" not in str(raised)


def check_records_are_kept():
    nvs = Nvs()
    identity = Identity(nvs)
    equal((identity.read(0), identity.read(1)), (None, None))
    identity.write(1, b"a record")
    equal((Identity(nvs.after_reset()).read(0), Identity(nvs.after_reset()).read(1)), (None, b"a record"))
    nvs = Nvs(state0=bytes(1000), state1=7)
    equal(Identity(nvs).read(0), b"", "longer than any record")


def check_unreadable_flash_is_not_a_fresh_one():
    """A flash that fails for a moment must not make counters begin anew."""
    nvs = Nvs(dev_nonce=7)
    identity = Identity(nvs)
    nvs.trouble = OSError(-0x1107, "ESP_ERR_NVS_INVALID_HANDLE")
    raises(OSError, lambda: identity.first_dev_nonce)
    raises(OSError, identity.read, 0)
    raises(OSError, Identity, nvs)


def check_memory_comes_back():
    rtc = Rtc()
    memory = Memory(rtc)
    memory.join_failures = 3
    memory.cut_off = 4
    memory.phase_ms = 9999
    memory.sleeps_ms = 86400000
    memory.next_join_s = 4000000000
    memory.ticket, memory.result, memory.restart = 255, 3, True
    memory.window, memory.wanted, memory.sync = b"w" * 446, b"five!", b"sync"
    memory.sensors = b"s"
    memory.write(b"the device's record")
    again = Memory(rtc)
    assert again.found
    equal((again.read(), again.join_failures, again.cut_off), (b"the device's record", 3, 4))
    equal((again.phase_ms, again.sleeps_ms, again.next_join_s), (9999, 86400000, 4000000000))
    equal((again.ticket, again.result, again.restart), (255, 3, True))
    equal((again.window, again.wanted, again.sync), (b"w" * 446, b"five!", b"sync"))
    equal((again.log, again.sensors), (b"", b"s"))


def check_what_rtc_memory_cannot_hold_costs_the_window_only():
    rtc = Rtc()  # which refuses more than 2048 bytes
    memory = Memory(rtc)
    memory.window = b"w" * 500
    memory.wanted = b"wanted"
    memory.write(b"d" * 1600)
    again = Memory(rtc)
    equal((again.read(), again.window, again.wanted), (b"d" * 1600, b"", b"wanted"))


def check_settings_survive_a_power_cut():
    nvs = Nvs()
    identity = Identity(nvs)
    equal((identity.setting("interval", 600), identity.setting("parity", None)), (600, None))
    identity.set("interval", 900)
    identity.set("parity", 0)
    again = Identity(nvs.after_reset())
    equal((again.setting("interval", 600), again.setting("parity", 1)), (900, 0))
    commits = len(nvs.log)
    identity.set("interval", 900)
    equal(len(nvs.log), commits, "flash is not written for what it has")


def check_who_changes_a_setting_at_the_cable_has_the_last_word():
    nvs = Nvs()
    Identity(nvs, {"interval_s": 600}).set("interval", 900)
    Identity(nvs, {"interval_s": 600}).set("parity", 3)
    other_sensor = Identity(nvs.after_reset(), {"interval_s": 600, "sensors": [1]})
    equal((other_sensor.setting("interval", 0), other_sensor.setting("parity", 0)), (900, 3))
    nvs = nvs.after_reset()
    other_interval = Identity(nvs, {"interval_s": 300})
    equal((other_interval.setting("interval", 0), other_interval.setting("parity", 0)), (0, 3))
    other_interval.set("interval", 900)
    equal(Identity(nvs.after_reset(), {"interval_s": 300}).setting("interval", 0), 900)


def check_what_was_set_before_does_not_come_back_with_an_old_configuration():
    nvs = Nvs()
    Identity(nvs, {"interval_s": 600}).set("interval", 60)
    nvs = nvs.after_reset()
    equal(Identity(nvs, {"interval_s": 900}).setting("interval", 0), 0)
    equal(Identity(nvs.after_reset(), {"interval_s": 600}).setting("interval", 0), 0)


def _cut(nvs, cut_at, work, *arguments):
    """What a node finds after a power cut behind so many writes of `work`."""
    nvs.cut_at = cut_at
    try:  # noqa: SIM105  MicroPython has no contextlib
        work(*arguments)
    except Reset:
        pass
    return nvs.after_reset()


def check_a_cut_while_it_is_erased_revives_nothing():
    for cut_at in range(3):
        nvs = Nvs(set_interval=60, was_interval=600)
        nvs = _cut(nvs, cut_at, Identity(nvs, {"interval_s": 900}).setting, "interval", 0)
        expected = 60 if not cut_at else 0  # nothing was done yet: 900 never took hold
        equal(Identity(nvs, {"interval_s": 600}).setting("interval", 0), expected, cut_at)
        equal(Identity(nvs.after_reset(), {"interval_s": 900}).setting("interval", 0), 0, cut_at)


def check_a_cut_while_it_is_set_leaves_the_cable_the_last_word():
    """However far it came: beside what it is for, and beside what was set for another config.json."""
    for before in ({}, {"set_interval": 60, "was_interval": 600}):
        for cut_at in range(2 + len(before)):
            nvs = Nvs(**before)
            nvs = _cut(nvs, cut_at, Identity(nvs, {"interval_s": 300}).set, "interval", 900)
            assert Identity(nvs, {"interval_s": 300}).setting("interval", 0) in (0, 900), cut_at
            equal(Identity(nvs.after_reset(), {"interval_s": 200}).setting("interval", 0), 0, cut_at)


def check_a_configuration_written_by_hand_does_not_stop_the_node():
    for value in (None, "x", [1]):
        identity = Identity(Nvs(), {"confirmed": value, "parity": value})
        equal((identity.setting("confirmed", 7), identity.setting("parity", 7)), (7, 7))
        identity.set("parity", 2)
        equal(identity.setting("parity", 7), 2)


def check_every_damaged_byte_is_noticed():
    rtc = Rtc()
    memory = Memory(rtc)
    memory.join_failures = 3
    memory.write(b"the device's record")
    good = rtc.data
    for index in range(len(good)):
        bad = bytearray(good)
        bad[index] ^= 0x10
        again = Memory(Rtc(bytes(bad)))
        equal((again.read(), again.join_failures, again.phase_ms, again.found), (b"", 0, 0, False), index)
    for size in range(len(good)):
        equal(Memory(Rtc(good[:size])).read(), b"", size)


def check_rubbish_is_no_record():
    for data in (b"", b"\xff" * 2048, b"SPM\x04", b"SPM\x04" + b"\xff" * 200, bytes(2048)):
        equal(Memory(Rtc(data)).read(), b"")


def check_failures_do_not_overflow():
    rtc = Rtc()
    memory = Memory(rtc)
    memory.join_failures = memory.cut_off = 70000
    memory.save()
    equal((Memory(rtc).join_failures, Memory(rtc).cut_off), (0xFFFF, 0xFFFF))


def check_missing_config_is_said_in_plain_words():
    raised = raises(ConfigError, load, "there-is-no-such-config.json")
    equal(str(raised), "This node has no config.json yet.")


def check_unusable_config_is_refused():
    raises(ConfigError, checked, [])
    raises(ConfigError, checked, config(format=2))
    raised = raises(ConfigError, checked, config(interval_s="600"))
    assert "interval_s" in str(raised)
    raises(ConfigError, checked, config(interval_s=0))
    raises(ConfigError, checked, config(radio=None))
    equal(checked(config())["name"], "amsel")
