"""LinkADRReq: a contiguous block is one command (TS001-1.0.4 5.2, RP002-1.0.4 2.4.5, Semtech Learn on ADR off)."""

from commanded import USUAL_HZ, fresh, link_adr, new_channel, state, told
from expect import equal
from lorawan import commands

WIDE = (8, 868300000, 0x66)  # a channel for DR6 alone


def refused(session, block, answer, adr=True):
    """The answer, and nothing changed by it."""
    before = state(session)
    equal(told(session, block, adr=adr), answer, block)
    equal(state(session), before, block)
    assert not session.changed, block


def check_every_request_has_an_answer_and_all_are_the_same():
    for count in (1, 2, 3, 30):
        equal(told(fresh(), link_adr(dr=3) * count), b"\x03\x07" * count)
        refused(fresh(), link_adr(dr=3) * (count - 1) + link_adr(dr=9), b"\x03\x05" * count)
        refused(fresh(), link_adr(mask=0x10) + link_adr(dr=3) * (count - 1), b"\x03\x06" * count)


def check_rate_power_and_repeats_of_the_last_request_count():
    """The others' are not even looked at."""
    session = fresh()
    equal(told(session, link_adr(9, 12, nb_trans=7) + link_adr(2, 4, mask=5, nb_trans=3)), b"\x03\x07\x03\x07")
    equal((session.dr, session.tx_power, session.nb_trans, session.channel_mask), (2, 4, 3, 5))


def check_15_keeps_the_data_rate():
    session = fresh(dr=4)
    equal(told(session, link_adr(15, 2)), b"\x03\x07")
    equal((session.dr, session.tx_power), (4, 2))


def check_15_keeps_the_power():
    session = fresh()
    session.tx_power = 6
    equal(told(session, link_adr(1, 15)), b"\x03\x07")
    equal((session.dr, session.tx_power), (1, 6))


def check_a_kept_data_rate_that_no_channel_of_the_mask_carries_is_refused():
    refused(fresh(channels=(WIDE,), dr=5), link_adr(mask=1 << 8), b"\x03\x05")


def check_every_power_of_the_region_is_taken():
    """Index 0 is more than some boards can radiate: they acknowledge it and send with what they have."""
    for power in range(8):
        session = fresh()
        session.tx_power = 5
        equal(told(session, link_adr(5, power)), b"\x03\x07")
        equal(session.tx_power, power)


def check_a_power_below_the_lowest_is_refused():
    for power in range(8, 15):
        refused(fresh(), link_adr(3, power), b"\x03\x03")


def check_no_or_too_high_repeats():
    for on_air in range(16):
        session = fresh()
        session.nb_trans = 9
        equal(told(session, link_adr(nb_trans=on_air)), b"\x03\x07")
        equal(session.nb_trans, on_air or 1)


def check_control_0_names_channels_0_to_15():
    channels = [(index, 867000000 + index * 50000, 0x50) for index in range(3, 16)]
    for mask in (0x0001, 0x8000, 0x0100, 0x5555, 0xFFFF):
        session = fresh(channels=channels)
        equal(told(session, link_adr(mask=mask)), b"\x03\x07")
        equal(session.channel_mask, mask)


def check_each_request_of_a_block_has_its_own_mask():
    session = fresh(channels=((3, 867100000, 0x50), WIDE, (9, 867500000, 0x50)))
    for masks in ((0x0107, 0x0205), (0x0307, 0x0001), (0x0001, 0x0308)):
        block = b"".join([link_adr(mask=mask) for mask in masks])
        equal(told(session, block), b"\x03\x07" * len(masks))
        equal(session.channel_mask, masks[-1])


def check_control_6_switches_on_all_defined_channels_and_no_other():
    for mask in (0, 0x0001, 0xFFFF):
        session = fresh(channels=USUAL_HZ)
        session.channel_mask = 0x02
        equal(told(session, link_adr(mask=mask, control=6)), b"\x03\x07")
        equal(session.channel_mask, 0xFF)


def check_reserved_controls_are_refused_anywhere_in_the_block():
    for control in (1, 2, 3, 4, 5, 7):
        refused(fresh(), link_adr(3, 1, control=control), b"\x03\x06")
        refused(fresh(), link_adr(control=control) + link_adr(3, 1), b"\x03\x06" * 2)
        refused(fresh(), link_adr(3, 1) + link_adr(control=control), b"\x03\x06" * 2)


def check_the_reserved_bit_beside_the_control_is_ignored():
    block = bytearray(link_adr(dr=2, mask=3))
    block[4] |= 0x80
    session = fresh()
    equal(told(session, block), b"\x03\x07")
    equal((session.dr, session.channel_mask), (2, 3))


def check_a_mask_that_leaves_no_channel_is_refused():
    refused(fresh(), link_adr(3, 1, mask=0), b"\x03\x06")
    refused(fresh(), link_adr(3, 1) + link_adr(3, 1, mask=0), b"\x03\x06" * 2)


def check_only_the_result_of_a_block_must_have_a_channel():
    session = fresh()
    equal(told(session, link_adr(mask=0) + link_adr(mask=4)), b"\x03\x07" * 2)
    equal(session.channel_mask, 4)


def check_an_undefined_channel_is_refused_anywhere_in_the_block():
    for index in range(3, 16):
        refused(fresh(), link_adr(3, 1, mask=1 << index | 7), b"\x03\x06")
        refused(fresh(), link_adr(mask=1 << index | 7) + link_adr(3, 1), b"\x03\x06" * 2)


def check_default_channels_may_be_switched_off():
    session = fresh(channels=USUAL_HZ)
    equal(told(session, link_adr(mask=0xF8)), b"\x03\x07")
    equal(session.channel_mask, 0xF8)
    equal(session.channels[:3], [868100000, 868300000, 868500000])


def check_a_data_rate_that_the_radio_has_not_is_refused():
    for dr in range(7, 15):
        refused(fresh(channels=(WIDE, (9, 867100000, 0xF0))), link_adr(dr, 1, control=6), b"\x03\x05")


def check_a_data_rate_must_be_carried_by_a_channel_of_the_new_mask():
    session = fresh(channels=(WIDE,))
    refused(session, link_adr(6, 1, mask=0x0007), b"\x03\x05")
    refused(session, link_adr(5, 1, mask=0x0100), b"\x03\x05")
    equal(told(session, link_adr(6, 1, mask=0x0101)), b"\x03\x07")
    equal((session.dr, session.channel_mask), (6, 0x0101))


def check_which_channels_carry_a_data_rate():
    session = fresh(channels=(WIDE, (15, 867100000, 0x42)))
    for dr, mask, want in (
        (5, 0xFFFF, 0x0007),
        (3, 0xFFFF, 0x8007),
        (6, 0xFFFF, 0x0100),
        (4, 0x8002, 0x8002),
        (1, 0x8004, 0x0004),
        (6, 0x8007, 0),
        (7, 0xFFFF, 0),
    ):
        equal(commands.carriers(session, dr, mask), want, (dr, mask))


def check_while_the_mask_is_refused_the_data_rate_is_judged_by_the_channels_that_are_on():
    session = fresh(channels=(WIDE,))
    refused(session, link_adr(6, 1, mask=0), b"\x03\x06")
    session.channel_mask = 7
    refused(session, link_adr(6, 1, mask=0), b"\x03\x04")


def check_all_or_nothing():
    """One bit missing, whichever, and nothing of the block is taken."""
    for block, status in (
        (link_adr(2, 3, mask=0x10, nb_trans=4), 6),
        (link_adr(8, 3, mask=0x03, nb_trans=4), 5),
        (link_adr(2, 9, mask=0x03, nb_trans=4), 3),
        (link_adr(8, 9, mask=0x10, nb_trans=4), 0),
    ):
        refused(fresh(), block, bytes((3, status)))


def check_with_adr_off_the_mask_alone_is_taken():
    for block in (link_adr(2, 3, mask=5, nb_trans=4), link_adr(5, 0, mask=5), link_adr(8, 9, mask=5)):
        session = fresh()
        equal(told(session, block, adr=False), b"\x03\x01")
        equal((session.dr, session.tx_power, session.nb_trans, session.channel_mask), (5, 0, 1, 5))


def check_with_adr_off_a_bad_mask_is_refused():
    for block in (link_adr(2, 3, mask=0), link_adr(2, 3, mask=0x10), link_adr(2, 3, control=4)):
        refused(fresh(), block, b"\x03\x00", adr=False)
    refused(fresh(), link_adr(control=2) + link_adr(2, 3), b"\x03\x00" * 2, adr=False)


def check_with_adr_off_a_mask_must_leave_the_data_rate_in_use():
    refused(fresh(channels=(WIDE,)), link_adr(6, 0, mask=0x0100), b"\x03\x00", adr=False)


def check_requests_apart_are_blocks_of_their_own():
    """A refused block does not take the one after the DevStatusReq with it, and the later one builds on the earlier."""
    session = fresh(channels=(WIDE,))
    equal(told(session, link_adr(9) + b"\x06" + link_adr(3)), b"\x03\x05\x06\xff\x00\x03\x07")
    equal(session.dr, 3)
    equal(told(session, link_adr(6, mask=0x100) + b"\x06" + link_adr(15, mask=7)), b"\x03\x07\x06\xff\x00\x03\x05")
    equal((session.dr, session.channel_mask), (6, 0x100))


def check_no_other_command_is_taken_for_a_part_of_the_block():
    """Whatever its CID: LinkCheckAns has a lower one, all others have higher ones."""
    for other, answer in ((b"\x02\x14\x03", b""), (b"\x04\x01", b"\x04"), (b"\x0d\0\0\0\0\0", b"")):
        session = fresh()
        equal(told(session, link_adr(3) + other), b"\x03\x07" + answer)
        equal(told(session, link_adr(9) + other + link_adr(2)), b"\x03\x05" + answer + b"\x03\x07")
        equal(session.dr, 2)


def check_a_channel_of_the_same_downlink_counts():
    session = fresh()
    block = new_channel(3, 867100000) + link_adr(2, mask=0x08)
    equal(told(session, block), b"\x07\x03\x03\x07")
    equal((session.channel_mask, session.dr), (0x08, 2))
    refused(fresh(), link_adr(2, mask=0x08), b"\x03\x06")


def check_a_cut_off_request_is_none_of_the_block():
    for size in range(1, 5):
        session = fresh()
        equal(told(session, link_adr(2, mask=3) + link_adr(9, mask=0)[:size]), b"\x03\x07")
        equal((session.dr, session.channel_mask), (2, 3))
        refused(fresh(), link_adr(2, mask=3)[:size], b"")


def check_a_block_too_long_to_be_answered_is_not_carried_out():
    session = fresh()
    refused(session, link_adr(2) * 31, b"")
    equal(told(session, b"\x06" + link_adr(2) * 29 + b"\x08\x05"), b"\x06\xff\x00")
    equal((session.dr, session.rx1_delay_s), (5, 1))
    session.answers = b"\x06\xff\x00" * 2
    refused(session, link_adr(2) * 28, b"")
    equal(told(session, link_adr(2) * 27), b"\x03\x07" * 27)
    equal(session.dr, 2)


def check_only_another_mask_must_outlive_a_power_cut():
    """Data rate, power and repeats may be lost: the network hears them in the next uplink, and gives them again."""
    session = fresh()
    told(session, link_adr(2, 3, nb_trans=4))
    assert not session.changed
    told(session, link_adr(2, 3, mask=3))
    assert session.changed
