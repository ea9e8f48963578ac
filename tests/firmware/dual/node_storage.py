"""What a node keeps: identity and counters in NVS, the record in RTC memory, config.json."""

from expect import equal, raises
from node.config import ConfigError, checked, load
from node.identity import Identity, IdentityError
from node.memory import Memory
from node_fakes import APP_KEY, DEV_EUI, Nvs, Rtc, config


def check_identity_is_read():
    identity = Identity(Nvs())
    equal(identity.dev_eui, DEV_EUI)
    equal(identity.app_key, APP_KEY)
    equal(identity.join_nonce, -1)


def check_without_identity_it_says_so():
    raised = raises(IdentityError, Identity, Nvs(app_key=None))
    assert "identity" in str(raised)


def check_damaged_identity_is_refused():
    for key in (b"short", b"a key that is far too long"):
        raised = raises(IdentityError, Identity, Nvs(app_key=key))
        assert "damaged" in str(raised)
        assert "short" not in str(raised)


def check_dev_nonce_is_committed_before_it_is_given_out():
    nvs = Nvs()
    identity = Identity(nvs)
    equal(identity.reserve_dev_nonce(), 0)
    equal(nvs.stored["dev_nonce"], 1)
    equal(Identity(nvs.after_reset()).reserve_dev_nonce(), 1)


def check_unreadable_counter_is_not_a_fresh_one():
    """A flash that fails for a moment must not make the DevNonce begin anew."""
    nvs = Nvs(dev_nonce=7)
    identity = Identity(nvs)
    nvs.trouble = OSError(-0x1107, "ESP_ERR_NVS_INVALID_HANDLE")
    raises(OSError, identity.reserve_dev_nonce)
    raises(OSError, lambda: identity.join_nonce)
    raises(OSError, Identity, nvs)
    nvs.trouble = None
    equal(identity.reserve_dev_nonce(), 7)


def check_dev_nonces_end():
    nvs = Nvs(dev_nonce=0xFFFF)
    identity = Identity(nvs)
    equal(identity.reserve_dev_nonce(), 0xFFFF)
    raises(IdentityError, identity.reserve_dev_nonce)
    raises(IdentityError, Identity(nvs.after_reset()).reserve_dev_nonce)


def check_join_nonce_survives():
    nvs = Nvs()
    Identity(nvs).join_nonce = 7
    equal(Identity(nvs.after_reset()).join_nonce, 7)


def check_memory_comes_back():
    rtc = Rtc()
    memory = Memory(rtc)
    memory.session = b"session record"
    memory.join_failures = 3
    memory.cut_off = 4
    memory.phase_ms = 9999
    memory.save()
    again = Memory(rtc)
    equal((again.session, again.join_failures, again.cut_off, again.phase_ms), (b"session record", 3, 4, 9999))


def check_every_damaged_byte_is_noticed():
    rtc = Rtc()
    memory = Memory(rtc)
    memory.session = b"session record"
    memory.join_failures = 3
    memory.save()
    good = rtc.data
    for index in range(len(good)):
        bad = bytearray(good)
        bad[index] ^= 0x10
        again = Memory(Rtc(bytes(bad)))
        equal((again.session, again.join_failures, again.phase_ms), (b"", 0, 0), index)
    for size in range(len(good)):
        equal(Memory(Rtc(good[:size])).session, b"", size)


def check_rubbish_is_no_record():
    for data in (b"", b"\xff" * 2048, b"SPM\x02", b"SPM\x02" + b"\xff" * 200, bytes(2048)):
        equal(Memory(Rtc(data)).session, b"")


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
