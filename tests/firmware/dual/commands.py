"""MAC commands: cut into commands, carried out, answered. LinkADRReq has a file of its own."""

from binascii import unhexlify as b

from commanded import (
    USUAL_HZ,
    Asked,
    dl_channel,
    fresh,
    link_adr,
    new_channel,
    on_air,
    rx_param,
    state,
    told,
)
from expect import equal
from lorawan import commands
from lorawan.session import Session
from lorawan_rows import find, rows


def sizes(row):
    return commands.DOWN_SIZES if row["dir"] else commands.UP_SIZES


def nothing_of(block, session=None, **given):
    """The block is neither answered nor carried out."""
    session = session or fresh()
    before = state(session)
    equal(told(session, block, **given), b"", block)
    equal(state(session), before, block)
    assert not session.changed, block


def refused(session, block, answer):
    before = state(session)
    equal(told(session, block), answer, block)
    equal(state(session), before, block)
    assert not session.changed, block


# Blocks


def check_sizes():
    """As the specification's table has them; a length that nothing else asks for would go wrong in the field."""
    equal(commands.DOWN_SIZES, {2: 2, 3: 4, 4: 1, 5: 4, 6: 0, 7: 5, 8: 1, 9: 1, 10: 4, 13: 5})
    equal(commands.UP_SIZES, {2: 0, 3: 1, 4: 0, 5: 1, 6: 2, 7: 1, 8: 0, 9: 0, 10: 1, 13: 0})


def check_streams_are_cut(vectors):
    """Every published command is one command of the table and nothing is left over."""
    for row in rows(vectors, "mac_commands"):
        wire = b(row["wire"])
        got = commands.parse(wire, sizes(row))
        equal(b"".join([bytes((cid,)) + data for cid, data in got]), wire, row["name"])
        fields = row["fields"]
        equal(len(got), fields.get("count", len(fields.get("cids", "x"))), row["name"])
        if "cids" in fields:
            equal([cid for cid, _ in got], fields["cids"])


def check_streams_cut_short(vectors):
    for row in rows(vectors, "mac_commands"):
        wire = b(row["wire"])
        whole = commands.parse(wire, sizes(row))
        for size in range(len(wire)):
            got = commands.parse(wire[:size], sizes(row))
            equal(got, whole[: len(got)], row["name"])
            assert len(got) < len(whole), row["name"]


def check_published_requests(vectors):
    """What this device makes of each published downlink command; what each asks for stands in the row's fields."""
    answers = {
        "LinkCheckAns": b"",
        "LinkCheckAns margin 7 gw 1": b"",
        "two LinkADRReq contiguous": b"\x03\x06\x03\x06",  # reserved ChMaskCntl, 7 and 3
        "LinkADRReq DR1 TXP2 mask ch2 cntl4 nbTrans5": b"\x03\x06",
        "DutyCycleReq 13": b"\x04",
        "RXParamSetupReq": b"\x05\x04",  # 26 MHz and DR11 are nothing for this radio, the offset alone would do
        "DevStatusReq": b"\x06\xc8\x05",
        "RXTimingSetupReq 15 s": b"\x08",
        "DlChannelReq ch0 868.1": b"\x0a\x03",
        "DlChannelReq ch1 868.2": b"\x0a\x03",
    }
    seen = 0
    for row in rows(vectors, "mac_commands"):
        if row["dir"]:
            session = fresh()
            outcome = Asked(commands.LINK_CHECK)
            got = told(session, b(row["wire"]), snr=5.0, battery=200, outcome=outcome)
            fields = row["fields"]
            tx_param = row["name"].startswith("TxParamSetupReq")  # Europe has none
            equal(got, b"" if tx_param else answers[row["name"]], row["name"])
            if "gwCnt" in fields:
                equal(outcome.link_check, (fields["margin"], fields["gwCnt"]))
            if "maxDutyCycle" in fields:
                equal(session.max_duty, fields["maxDutyCycle"])
            if "delay" in fields:
                equal(session.rx1_delay_s, fields["delay"])
            if "chIndex" in fields:
                equal(session.dl_channels[fields["chIndex"]], fields["hz"])
            seen += 1
    equal(seen, 13)


def check_an_unknown_command_ends_the_block(vectors):
    """What stands before it is carried out, what stands after it is not."""
    row = find(vectors, "must_reject", "unknown CID")
    equal([cid for cid, _ in commands.parse(b(row["macStream"]), commands.UP_SIZES)], [2])
    session = fresh()
    equal(told(session, b"\x08\x05\x80\x06"), b"\x08")
    equal(session.rx1_delay_s, 5)
    for cid in range(256):
        if cid not in commands.DOWN_SIZES:
            nothing_of(bytes((cid,)) + b"\x06\x08\x05" * 20)


def check_a_cut_off_command_ends_the_block(vectors):
    nothing_of(b(find(vectors, "must_reject", "truncated LinkADRReq")["macStream"]))
    for cid, size in commands.DOWN_SIZES.items():
        for left in range(size):
            session = fresh()
            equal(told(session, b"\x08\x05" + bytes((cid,)) + bytes(left)), b"\x08")
            equal(session.rx1_delay_s, 5)


def check_answers_have_the_order_of_the_requests():
    block = b"\x06\x08\x03" + new_channel(3, 867100000) + dl_channel(3, 867100000) + b"\x04\x01" + link_adr(mask=9)
    equal(told(fresh(), block), b"\x06\xff\x00\x08\x07\x03\x0a\x03\x04\x03\x07")
    block = link_adr(2) + b"\x04\x01" + rx_param(1, 3, 869525000) + b"\x08\x03\x06"
    equal(told(fresh(), block), b"\x03\x07\x04\x05\x07\x08\x06\xff\x00")


def check_endless_requests_end_at_60_bytes():
    """242 bytes of DevStatusReq fit into a downlink; 726 bytes of answers fit into nothing."""
    session = fresh()
    session.answers = told(session, b"\x06" * 242 + b"\x08\x05", snr=5.0)
    equal(session.answers, b"\x06\xff\x05" * 20)
    equal(session.rx1_delay_s, 1, "what is not answered is not carried out")
    again = Session.unpack(session.pack())
    equal(again and again.answers, session.answers)
    nothing_of(b"\x06\x08\x05" * 20, session)
    session.answers = session.answers[:57]
    equal(told(session, b"\x08\x05\x04\x01\x06"), b"\x08\x04")


def check_nothing_is_lasting_when_nothing_is_different():
    """The same again does not cost a write to flash."""
    block = (
        new_channel(3, 867100000)
        + dl_channel(3, 867300000)
        + rx_param(1, 3, 869525000)
        + b"\x08\x05\x04\x02"
        + link_adr(3, mask=0x0D)
    )
    session = fresh()
    answers = told(session, block)
    equal(answers, b"\x07\x03\x0a\x03\x05\x07\x08\x04\x03\x07")
    assert session.changed
    session.changed = False
    equal(told(session, block[len(new_channel(3, 0)) :]), answers[2:])
    assert not session.changed
    equal(told(session, b"\x06"), b"\x06\xff\x00")
    assert not session.changed


def check_each_thing_is_lasting_by_itself():
    """Where it alone is different, it must be in flash before it is answered."""
    for block in (
        rx_param(1, 0, 869525000),
        rx_param(0, 3, 869525000),
        rx_param(0, 0, 868525000),
        new_channel(3, 867300000),  # another frequency, the same data rates
        new_channel(3, 867100000, 5, 2),
        dl_channel(3, 867300000),
        link_adr(mask=0x01),
        b"\x04\x01",
        b"\x08\x05",
    ):
        session = fresh(channels=USUAL_HZ)
        told(session, block)
        assert session.changed, block


# Answers on their way


def check_answers_that_fit():
    answers = b"\x05\x07\x06\xff\x00\x08"
    for room, want in ((0, b""), (1, b""), (2, b"\x05\x07"), (4, b"\x05\x07"), (5, answers[:5]), (6, answers)):
        equal(commands.fitting(answers, room), want, room)
    equal(commands.fitting(b"\x06\xff\x00" * 6, 200), b"\x06\xff\x00" * 5)
    equal(commands.fitting(b"\x06\xff\x00" * 20, 59, 242), b"\x06\xff\x00" * 19)


def check_four_answers_are_repeated_until_a_downlink():
    equal(commands.sticky(b"\x05\x07\x06\xff\x00\x08\x03\x07\x0a\x03\x09\x07\x03\x04"), b"\x05\x07\x08\x0a\x03\x09")
    equal(commands.sticky(b"\x06\xff\x00"), b"")


# LinkCheck and DeviceTime


def check_link_check_answer_tells_margin_and_gateways():
    for data in (b"\x00\x01", b"\x14\x03", b"\xfe\xff"):
        outcome = Asked(commands.LINK_CHECK)
        nothing_of(b"\x02" + data, outcome=outcome)
        equal(outcome.link_check, (data[0], data[1]))


def check_device_time_answer_tells_seconds_and_fraction():
    outcome = Asked(commands.DEVICE_TIME)
    nothing_of(b"\x0d\x78\x56\x34\x52\x80", outcome=outcome)
    equal(outcome.device_time, (0x52345678, 128))


def check_answers_that_nobody_asked_for_are_nothing():
    for asked in ((), (commands.DEVICE_TIME,)):
        outcome = Asked(*asked)
        nothing_of(b"\x02\x14\x03", outcome=outcome)
        equal(outcome.link_check, None)
    for asked in ((), (commands.LINK_CHECK,)):
        outcome = Asked(*asked)
        nothing_of(b"\x0d\x78\x56\x34\x52\x80", outcome=outcome)
        equal(outcome.device_time, None)
    equal(told(fresh(), b"\x02\x14\x03\x0d\x78\x56\x34\x52\x80\x06"), b"\x06\xff\x00", "the block goes on")


# DevStatus


def check_dev_status_answers(vectors):
    """Published DevStatusAns values come out of the battery and SNR they state."""
    seen = 0
    for row in rows(vectors, "mac_commands"):
        if not row["dir"] and "margin" in row["fields"]:
            fields = row["fields"]
            got = told(fresh(), b"\x06", snr=float(fields["margin"]), battery=fields["battery"])
            equal(got, b(row["wire"]), row["name"])
            seen += 1
    equal(seen, 3)


def check_battery_is_told_as_it_was_given():
    """0 external, 1 to 254, 255 not measured: nothing is made up in between."""
    for battery in (0, 1, 254, 255):
        equal(told(fresh(), b"\x06", battery=battery), bytes((6, battery, 0)))


def check_margin_is_rounded_and_limited():
    for snr, want in ((-40.0, 0x20), (-32.4, 0x20), (-0.6, 0x3F), (-0.4, 0), (0.4, 0), (9.75, 10), (50.0, 31)):
        equal(told(fresh(), b"\x06", snr=snr), bytes((6, 255, want)), snr)
    equal(told(fresh(), b"\x06", snr=-7), b"\x06\xff\x39", "an SNR in whole dB")


# DutyCycle


def check_duty_cycle_is_taken():
    for on_air_value, want in ((0, 0), (1, 1), (15, 15), (0xF3, 3)):
        session = fresh()
        session.max_duty = 9
        equal(told(session, bytes((4, on_air_value))), b"\x04")
        equal(session.max_duty, want)
        assert session.changed


# RXParamSetup and RXTimingSetup


def check_rx_param_setup_is_taken():
    for offset in range(6):
        for dr in range(7):
            session = fresh()
            equal(told(session, rx_param(offset, dr, 868525000)), b"\x05\x07")
            equal((session.rx1_dr_offset, session.rx2_dr, session.rx2_freq_hz), (offset, dr, 868525000))
            assert session.changed


def check_rx_param_setup_is_all_or_nothing():
    for offset, dr, freq_hz, status in (
        (6, 3, 869525000, 3),
        (7, 3, 869525000, 3),
        (2, 7, 869525000, 5),
        (2, 15, 869525000, 5),
        (2, 3, 0, 6),
        (2, 3, 862999900, 6),
        (2, 3, 870000100, 6),
        (7, 8, 1677721500, 0),
    ):
        refused(fresh(), rx_param(offset, dr, freq_hz), bytes((5, status)))


def check_rx_timing_setup():
    for on_air_value, want in ((5, 5), (0, 1), (1, 1), (15, 15), (0xF3, 3), (0xF0, 1)):
        session = fresh()
        equal(told(session, bytes((8, on_air_value))), b"\x08")
        equal(session.rx1_delay_s, want)
        equal(session.changed, want != 1)


# TxParamSetup


def check_tx_param_setup_is_ignored_in_eu868():
    """Not carried out and not answered; the commands after it are."""
    for value in range(256):
        nothing_of(bytes((9, value)))
    equal(told(fresh(), b"\x09\x3f\x06"), b"\x06\xff\x00")


# NewChannel


def check_new_channel_is_defined_and_switched_on():
    for index in range(3, 16):
        session = fresh()
        equal(told(session, new_channel(index, 867100000, 5, 2)), b"\x07\x03")
        equal((session.channels[index], session.channel_drs[index]), (867100000, 0x52))
        equal(session.channel_mask, 7 | 1 << index)
        assert session.changed


def check_new_channel_changes_a_channel():
    """Its frequency, its data rates; RX1 is on the new frequency again."""
    session = fresh(channels=USUAL_HZ)
    told(session, dl_channel(4, 868500000) + link_adr(mask=7))
    equal(told(session, new_channel(4, 868300000, 6, 6)), b"\x07\x03")
    equal((session.channels[4], session.channel_drs[4], session.dl_channels[4]), (868300000, 0x66, 0))
    equal(session.channel_mask, 7 | 1 << 4)


def check_default_channels_are_never_changed():
    for index in range(3):
        refused(fresh(), new_channel(index, 867100000), b"\x07\x00")
        refused(fresh(), new_channel(index, 868100000), b"\x07\x00")
        refused(fresh(), new_channel(index, 0), b"\x07\x00")


def check_channels_beyond_16_are_refused():
    """Any index: no other channel, and nothing outside the table, is touched."""
    for index in range(16, 256):
        refused(fresh(), new_channel(index, 867100000), b"\x07\x00")
        refused(fresh(), new_channel(index, 0), b"\x07\x00")


def check_frequency_0_removes_a_channel():
    for highest, lowest in ((5, 0), (0, 0), (15, 15), (0, 5)):
        session = fresh(channels=USUAL_HZ)
        told(session, dl_channel(4, 868500000))
        equal(told(session, new_channel(4, 0, highest, lowest)), b"\x07\x03")
        equal((session.channels[4], session.channel_drs[4], session.dl_channels[4]), (0, 0, 0))
        equal(session.channel_mask, 0xEF)
    refused(fresh(), new_channel(9, 0), b"\x07\x03")  # there was none: true, and no change


def check_new_channel_frequencies():
    """Only where a channel fits into a sub-band as a whole; the rare 0.1 % bands are among them."""
    for freq_hz in (863062500, 864900000, 867100000, 868800000, 869525000, 869850000, 869937500):
        session = fresh()
        equal(told(session, new_channel(3, freq_hz)), b"\x07\x03", freq_hz)
        equal(session.channels[3], freq_hz)
    for freq_hz in (100, 99999900, 433175000, 863000000, 868000000, 868650000, 869300000, 869680000, 1677721500):
        refused(fresh(), new_channel(3, freq_hz), b"\x07\x02")


def check_new_channel_data_rates():
    for highest, lowest in ((0, 0), (5, 5), (6, 0), (6, 6)):
        session = fresh()
        equal(told(session, new_channel(3, 868300000, highest, lowest)), b"\x07\x03")
        equal(session.channel_drs[3], highest << 4 | lowest)
    for highest, lowest in ((0, 1), (4, 5), (7, 0), (15, 0), (7, 7), (8, 8), (15, 15)):
        refused(fresh(), new_channel(3, 868300000, highest, lowest), b"\x07\x01")
        refused(fresh(), new_channel(3, 868650000, highest, lowest), b"\x07\x00")


def check_a_wide_channel_must_fit_into_its_band():
    """DR6 takes 250 kHz: at 868.5 MHz it would reach over 868.6 MHz, where the alarms begin."""
    equal(told(fresh(), new_channel(3, 868500000, 5, 0)), b"\x07\x03")
    refused(fresh(), new_channel(3, 868500000, 6, 0), b"\x07\x02")
    equal(told(fresh(), new_channel(3, 868475000, 6, 0)), b"\x07\x03")


def check_removing_the_only_channel_of_a_data_rate_lowers_the_data_rate():
    """There is no answer that says so; the nearest slower rate is heard at least as far, and the mask stays."""
    session = fresh(channels=((3, 868300000, 0x66), (4, 867100000, 0x31)), dr=6)
    session.channel_mask = 0x18
    equal(told(session, new_channel(3, 0)), b"\x07\x03")
    equal((session.dr, session.channel_mask), (3, 0x10))


def check_changing_the_only_channel_of_a_data_rate_raises_it_if_it_must():
    session = fresh(channels=((3, 868300000, 0x50),), dr=1)
    session.channel_mask = 0x08
    equal(told(session, new_channel(3, 868300000, 5, 3)), b"\x07\x03")
    equal((session.dr, session.channel_mask), (3, 0x08))


def check_removing_the_last_channel_that_is_on_brings_the_default_channels_back():
    session = fresh(channels=((3, 868300000, 0x66), (4, 867100000, 0x50)), dr=6)
    session.channel_mask = 0x08
    equal(told(session, new_channel(3, 0)), b"\x07\x03")
    equal((session.dr, session.channel_mask), (5, 0x07))


# DlChannel


def check_dl_channel_is_taken():
    session = fresh(channels=USUAL_HZ)
    for index in range(8):
        equal(told(session, dl_channel(index, 868100000 + index * 100000)), b"\x0a\x03")
        equal(session.dl_channels[index], 868100000 + index * 100000)
        assert session.changed
    equal(session.channels[3], 867100000, "uplinks stay where they were")


def check_dl_channel_is_all_or_nothing():
    for index in range(3, 256):
        refused(fresh(), dl_channel(index, 868200000), b"\x0a\x01")
    for freq_hz in (0, 862999900, 870000100):
        refused(fresh(), dl_channel(1, freq_hz), b"\x0a\x02")
        refused(fresh(), dl_channel(9, freq_hz), b"\x0a\x00")


def check_on_air_is_what_stands_in_the_vectors(vectors):
    """The helper of these checks writes frequencies as the published commands do."""
    fields = find(vectors, "mac_commands", "DlChannelReq ch1")["fields"]
    equal(on_air(fields["hz"]), b(find(vectors, "mac_commands", "DlChannelReq ch1")["wire"])[2:])
