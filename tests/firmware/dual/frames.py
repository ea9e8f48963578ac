"""Frames built and taken apart, against frames that other projects published."""

from binascii import unhexlify as b

from expect import equal, raises, some
from lorawan import commands, crypto, eu868, frames
from lorawan_rows import find, rows


def address(row):
    return int(row["expect"]["devAddr"], 16)


def check_data_frame_fields(vectors):
    for row in rows(vectors, "data_frames"):
        want = row["expect"]
        got = frames.data_fields(b(row["phyPayload"]))
        equal(
            got,
            (
                want["mtype"],
                address(row),
                want["fctrl"],
                want["fcnt16"],
                b(want["fopts"]),
                want["fport"],
                b(want["frmPayload"]),
            ),
            row["name"],
        )
        equal(bool(want["fctrl"] & frames.ADR), want["adr"], row["name"])
        equal(bool(want["fctrl"] & frames.ACK), want["ack"], row["name"])
        if row["dir"]:
            equal(bool(want["fctrl"] & frames.FPENDING), want["fPending"], row["name"])
        else:
            equal(bool(want["fctrl"] & frames.ADR_ACK_REQ), want["adrAckReq"], row["name"])


def check_data_frame_mics(vectors):
    for row in rows(vectors, "data_frames"):
        want = row["expect"]
        if "micValid" not in want:
            continue  # keys not published
        phy = b(row["phyPayload"])
        mic = crypto.data_mic(b(row["nwkSKey"]), address(row), row["fcnt"], row["dir"], phy[:-4])
        equal(mic, b(want.get("micShouldBe", want["mic"])), row["name"])
        equal(mic == phy[-4:], want["micValid"], row["name"])


def check_data_frame_payloads(vectors):
    for row in rows(vectors, "data_frames"):
        want = row["expect"]
        if "plaintext" not in want:
            continue
        key = row["appSKey"] if want["fport"] else row["nwkSKey"]
        got = crypto.crypt_payload(b(key), address(row), row["fcnt"], row["dir"], b(want["frmPayload"]))
        equal(got, b(want["plaintext"]), row["name"])


def check_uplinks_are_built_to_the_byte(vectors):
    """Every published uplink whose plaintext is known comes out of data_up as published."""
    built = 0
    for row in rows(vectors, "data_frames"):
        want = row["expect"]
        if row["dir"] or "plaintext" not in want:
            continue
        frame = frames.data_up(
            b(row["nwkSKey"]),
            b(row["appSKey"] or "00" * 16),
            address(row),
            row["fcnt"],
            want["fport"],
            b(want["plaintext"]),
            want["fctrl"] & 0xF0,
            b(want["fopts"]),
            want["mtype"] == frames.CONFIRMED_UP,
        )
        phy = b(row["phyPayload"])
        equal(frame, phy[:-4] + b(want.get("micShouldBe", want["mic"])), row["name"])
        built += 1
    assert built >= 6, built


def check_downlinks_pass_once(vectors):
    """A published downlink passes with any older counter, with the full 32 bits; it does not pass again."""
    seen = 0
    for row in rows(vectors, "data_frames"):
        if not row["dir"]:
            continue
        want = row["expect"]
        phy = b(row["phyPayload"])
        keys = b(row["nwkSKey"]), b(row["appSKey"]), address(row)
        for last in (row["fcnt"] - 1, row["fcnt"] - 0xFFFF, row["fcnt"] - 0x10000):
            down = frames.parse_data_down(keys[0], keys[1], keys[2], last, phy)
            assert down, (row["name"], last)
            equal(down.fcnt, row["fcnt"])
            equal(down.port, want["fport"])
            equal(down.payload, b(want["plaintext"]))
            equal(down.commands, b(want["fopts"]))
            equal(down.confirmed, want["mtype"] == frames.CONFIRMED_DOWN)
            equal(down.fctrl, want["fctrl"])
        for last in (row["fcnt"], row["fcnt"] + 1, row["fcnt"] - 0x10001, -1):
            equal(frames.parse_data_down(keys[0], keys[1], keys[2], last, phy), None, last)
        equal(frames.parse_data_down(keys[0], keys[1], keys[2] ^ 1, row["fcnt"] - 1, phy), None, "another DevAddr")
        seen += 1
    assert seen


def check_uplinks_are_not_downlinks(vectors):
    """A frame on the way up, heard by a device that has its very address and keys, is nothing."""
    for row in rows(vectors, "data_frames"):
        if row["dir"] == 0 and row["nwkSKey"]:
            key = b(row["nwkSKey"])
            equal(frames.parse_data_down(key, key, address(row), row["fcnt"] - 1, b(row["phyPayload"])), None)


def check_counters_end_at_32_bits():
    """The last counter passes; nothing after it does, and counter 0 is not taken for the one above."""
    key = bytes(16)

    def down(fcnt):
        msg = b"\x60\x01\x00\x00\x00\x00" + bytes((fcnt & 0xFF, fcnt >> 8 & 0xFF))
        return msg + crypto.data_mic(key, 1, fcnt, crypto.DOWN, msg)

    got = some(frames.parse_data_down(key, key, 1, 0xFFFFFFFE, down(0xFFFFFFFF)))
    equal(got.fcnt, 0xFFFFFFFF)
    for fcnt in (0, 1, 0xFFFF, 0xFFFFFFFF):
        equal(frames.parse_data_down(key, key, 1, 0xFFFFFFFF, down(fcnt)), None, fcnt)


def check_counter_rebuild():
    for last, low, want in (
        (-1, 0, 0),
        (-1, 65535, 65535),
        (0, 1, 1),
        (0, 0, 0x10000),
        (65535, 0, 65536),
        (65534, 65535, 65535),
        (65536, 65535, 131071),
        (76542, 76543 & 0xFFFF, 76543),
        (0xFFFFFFFE, 0xFFFF, 0xFFFFFFFF),
    ):
        equal(frames.rebuild_fcnt(last, low), want, (last, low))


def check_join_requests(vectors):
    for row in rows(vectors, "join_requests"):
        want = row["expect"]
        phy = b(row["phyPayload"])
        key = b(row["appKey"] or "00" * 16)
        frame = frames.join_request(b(want["joinEui"]), b(want["devEui"]), want["devNonce"], key)
        equal(frame[:-4], phy[:-4], row["name"])
        if row["appKey"]:
            equal(frame[-4:], b(want.get("micShouldBe", want["mic"])), row["name"])
            equal(frame == phy, want["micValid"], row["name"])


def check_join_accepts(vectors):
    for row in rows(vectors, "join_accepts"):
        want = row["expect"]
        key = b(row["appKey"])
        phy = b(row["phyPayload"])
        equal(phy[:1] + crypto.decrypt_join_accept(key, phy[1:]), b(want["decrypted"]), row["name"])
        got = some(frames.parse_join_accept(key, phy))
        equal(got["join_nonce"], int(want["joinNonce"], 16), row["name"])
        equal(got["net_id"], int(want["netId"], 16), row["name"])
        equal(got["dev_addr"], address(row), row["name"])
        equal(got["rx1_dr_offset"], want["rx1DrOffset"], row["name"])
        equal(got["rx2_dr"], want["rx2DataRate"], row["name"])
        equal(got["rx_delay_s"], want["rxDelay"] or 1, row["name"])
        equal(got["cflist"], b(want["cfListWire"]) if want["cfListWire"] else None, row["name"])
        if want["cfListWire"]:
            equal(got["cflist"][15], want["cfListType"])
            equal(frames.cflist_freqs(got["cflist"]), want["cfListHz"])
        if "nwkSKey" in want:
            keys = crypto.session_keys(key, got["join_nonce"], got["net_id"], row["devNonce"])
            equal(keys, (b(want["nwkSKey"]), b(want["appSKey"])), row["name"])


def check_cflists(vectors):
    row = find(vectors, "cflist", "EU868 usual")
    equal(row["type"], eu868.CFLIST_TYPE)
    equal(frames.cflist_freqs(b(row["wire"])), row["hz"])


def check_join_accept_body_fields(vectors):
    """The published body has no MIC and no key: it is signed and encrypted here, with a cipher of our own making.

    AES-ECB *decryption* by cryptolib is not what firmware uses, so the way back is not the way there.
    """
    from cryptolib import aes

    row = find(vectors, "cflist", "JoinAccept body")
    key = bytes(range(16))
    plain = b(row["wireBody"])
    mic = crypto.join_mic(key, b"\x20" + plain)
    got = some(frames.parse_join_accept(key, b"\x20" + aes(key, 1).decrypt(plain + mic)))
    want = row["fields"]
    equal(got["join_nonce"], int(want["joinNonce"], 16))
    equal(got["net_id"], int(want["netId"], 16))
    equal(got["dev_addr"], int(want["devAddr"], 16))
    equal(got["rx2_dr"], want["rx2DataRate"])
    equal(got["rx1_dr_offset"], want["rx1DrOffset"])
    equal(got["rx_delay_s"], want["rxDelay"])
    equal(got["cflist"], plain[12:])


def check_signed_join_accepts_of_another_kind():
    """A good MIC does not make up for another type or major version; reserved bits of MHDR are not looked at."""
    from cryptolib import aes

    key = bytes(range(16))
    plain = bytes(12)
    for mhdr in range(256):
        head = bytes((mhdr,))
        frame = head + aes(key, 1).decrypt(plain + crypto.join_mic(key, head + plain))
        equal(frames.parse_join_accept(key, frame) is not None, mhdr in range(0x20, 0x40, 4), mhdr)


def check_lorawan11_join_accept_is_refused(vectors):
    for row in rows(vectors, "lorawan11_negative_for_10"):
        equal(row["mic10Valid"], False)
        key = b(row["appKey"])
        phy = b(row["phyPayload"])
        equal(phy[:1] + crypto.decrypt_join_accept(key, phy[1:]), b(row["decrypted"]), row["name"])
        equal(frames.parse_join_accept(key, phy), None, row["name"])


def check_must_reject_fopts_overrun(vectors):
    row = find(vectors, "must_reject", "FOptsLen overruns")
    equal(frames.data_fields(b(row["phyPayload"])), None)


def check_must_reject_tampered_port(vectors):
    row = find(vectors, "must_reject", "uplink frame with 1-octet tampered")
    phy = b(row["phyPayload"])
    addr = some(frames.data_fields(phy))[1]
    assert crypto.data_mic(b(row["nwkSKey"]), addr, row["fcnt"], crypto.UP, phy[:-4]) != phy[-4:]


def check_must_reject_wrong_join_key(vectors):
    row = find(vectors, "must_reject", "join accept decrypted with the wrong key")
    equal(frames.parse_join_accept(b(row["appKey"]), b(row["phyPayload"])), None)


def check_must_reject_fopts_with_port_0(vectors):
    find(vectors, "must_reject", "FPort 0 together with")
    key = bytes(16)
    raises(ValueError, frames.data_up, key, key, 1, 0, 0, b"\x02", 0, b"\x02")
    # a receiver ignores it, though the MIC is good
    msg = b"\x60\x01\x00\x00\x00\x01\x00\x00\x06\x00\x06"
    frame = msg + crypto.data_mic(key, 1, 0, crypto.DOWN, msg)
    equal(frames.parse_data_down(key, key, 1, -1, frame), None)
    # the same without FOpts passes
    msg = b"\x60\x01\x00\x00\x00\x00\x00\x00\x00\x06"
    frame = msg + crypto.data_mic(key, 1, 0, crypto.DOWN, msg)
    assert frames.parse_data_down(key, key, 1, -1, frame)


def check_signed_frames_of_another_kind():
    """A good MIC over our keys and address does not make up for a foreign DevAddr, type or major version."""
    key = bytes(16)
    good = b"\x60\x01\x00\x00\x00\x00\x00\x00"
    for msg, passes in (
        (good, True),
        (b"\x60\x02" + good[2:], False),
        (b"\x60\x00" + good[2:], False),
        (b"\x61" + good[1:], False),
        (b"\x40" + good[1:], False),
        (b"\xe0" + good[1:], False),
        (b"\x7c" + good[1:], True),  # reserved bits of MHDR are not looked at
    ):
        frame = msg + crypto.data_mic(key, 1, 0, crypto.DOWN, msg)
        equal(frames.parse_data_down(key, key, 1, -1, frame) is not None, passes, msg)


def check_what_port_0_carries_is_commands_and_no_payload():
    nwk_skey, app_skey = bytes(16), bytes(range(16))
    block = b"\x06\x08\x05"
    for port, key, want in ((0, nwk_skey, (b"", block)), (1, app_skey, (block, b"")), (255, app_skey, (block, b""))):
        msg = b"\x60\x01\x00\x00\x00\x00\x00\x00" + bytes((port,))
        msg += crypto.crypt_payload(key, 1, 0, crypto.DOWN, block)
        got = some(
            frames.parse_data_down(nwk_skey, app_skey, 1, -1, msg + crypto.data_mic(nwk_skey, 1, 0, crypto.DOWN, msg))
        )
        equal((got.port, got.payload, got.commands), (port, want[0], want[1]))


def check_must_reject_command_streams(vectors):
    row = find(vectors, "must_reject", "unknown CID")
    equal(commands.parse(b(row["macStream"]), commands.UP_SIZES), [(commands.LINK_CHECK, b"")])
    row = find(vectors, "must_reject", "truncated LinkADRReq")
    equal(commands.parse(b(row["macStream"]), commands.DOWN_SIZES), [])


def check_types_and_flags():
    equal(
        (frames.JOIN_REQUEST, frames.JOIN_ACCEPT, frames.UNCONFIRMED_UP, frames.UNCONFIRMED_DOWN, frames.CONFIRMED_UP),
        (0, 1, 2, 3, 4),
    )
    equal(frames.CONFIRMED_DOWN, 5)
    equal((frames.ADR, frames.ADR_ACK_REQ, frames.ACK, frames.FPENDING), (0x80, 0x40, 0x20, 0x10))


def check_an_uplink_is_plain_unless_told_otherwise():
    """Unconfirmed, without any flag or FOpts."""
    key = bytes(16)
    equal(frames.data_up(key, key, 1, 2, 3, b"x"), frames.data_up(key, key, 1, 2, 3, b"x", 0, b"", False))
    equal(frames.data_up(key, key, 1, 2, 3, b"x")[:9], b"\x40\x01\x00\x00\x00\x00\x02\x00\x03")


def check_too_many_fopts():
    key = bytes(16)
    raises(ValueError, frames.data_up, key, key, 1, 0, 1, b"", 0, bytes(16))
    equal(some(frames.data_fields(frames.data_up(key, key, 1, 0, 1, b"", 0, bytes(15))))[4], bytes(15))


def check_cut_frames_are_nothing(vectors):
    """Every published frame, cut at every length, and with every other major version or type."""
    key = bytes(range(16))
    for row in vectors["data_frames"] + vectors["join_accepts"] + vectors["join_requests"]:
        phy = b(row["phyPayload"])
        for size in range(len(phy)):
            equal(frames.parse_data_down(key, key, 0x01020304, -1, phy[:size]), None)
            equal(frames.parse_join_accept(key, phy[:size]), None)
    row = vectors["join_accepts"][0]
    phy = b(row["phyPayload"])
    for mhdr in range(256):
        got = frames.parse_join_accept(b(row["appKey"]), bytes((mhdr,)) + phy[1:])
        equal(got is not None, mhdr == 0x20, mhdr)
