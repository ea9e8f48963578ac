"""Exchanges: a list plays the air. Every byte of the network's side, and of the node's, was computed elsewhere."""

# pyright: reportAttributeAccessIssue=false

from binascii import hexlify
from binascii import unhexlify as b

from expect import equal, raises, some
from lorawan import airtime, commands, eu868, frames
from lorawan import region as plan
from lorawan.actions import Heard, Listen, Transmit, Wait
from lorawan.mac import Mac
from lorawan.region import choose
from lorawan.results import Joined, NoAirtime, NoChannel, NotJoined, PayloadTooLong
from lorawan.session import Session

VECTORS = "exchanges.json"
KEY = bytes(range(16))


def lowest(n):
    return 0


def timing():
    return ByTheFormula()


class ByTheFormula:
    """Windows for 100 ppm and 15 ms."""

    def __init__(self):
        self.learnt = []
        self.misses = 0

    def missed(self):
        self.misses += 1

    def window(self, sf, bw_hz, delay_us):
        return airtime.rx_window(sf, bw_hz, 15000 + delay_us // 10000)

    def heard(self, delay_us, after_us):
        self.learnt.append((delay_us, after_us))


def drive(exchange, air, waits=None):
    """Carry out an exchange; (its result, the transmissions, the listens). air: what each window hears; waits: a list
    that gets every wait."""
    air = list(air)
    sent = []
    listened = []
    answer = None
    try:
        while True:
            action = exchange.send(answer)
            answer = None
            if isinstance(action, Transmit):
                sent.append(action)
                answer = 12345  # the end of the transmission, by whatever clock: not looked at
            elif isinstance(action, Wait):
                some(waits).append(action.us)
            else:
                assert isinstance(action, Listen)
                assert air, f"a window too many: {action.window}"
                listened.append(action)
                answer = air.pop(0)
    except StopIteration as stop:
        equal(air, [], "windows not opened")
        return stop.value, sent, listened


def play(story, vectors):
    """Tell one story and look at everything the node says and remembers."""
    mac = Mac(eu868, None, lowest, timing())
    for number, step in enumerate(story["steps"]):
        where = (story["name"], number)
        signal = vectors["heard"]
        air = [None if frame is None else Heard(b(frame), signal["rssi"], signal["snr"]) for frame in step["air"]]
        before = (mac.session, mac.last_join_nonce)
        if step["do"] == "join":
            exchange = mac.join(
                b(vectors["dev_eui"]), b(vectors["join_eui"]), b(vectors["app_key"]), step["dev_nonce"], step["dr"]
            )
        else:
            exchange = mac.uplink(step["port"], b(step["payload"]), step["confirmed"])
        result, sent, listened = drive(exchange, air)
        equal(len(sent), 1, where)
        equal(hexlify(sent[0].frame).decode(), step["transmits"], where)
        equal([sent[0].freq_hz, sent[0].sf], step["on"], where)
        equal((sent[0].bw_hz, sent[0].eirp_dbm), (125000, 16), where)
        equal(sent[0].airtime_us, airtime.airtime_us(sent[0].sf, 125000, len(sent[0].frame)), where)
        compare_listens(listened, step["listens"], where)
        window = result.window if result else 0
        equal(window, step["window"], where)
        if step["do"] == "join":
            if result:
                assert isinstance(result, Joined)
                assert result.session is mac.session
                equal(mac.last_join_nonce, result.join_nonce)
            else:
                equal((mac.session, mac.last_join_nonce), before, where)
        if result and result.window:
            equal((result.rssi, result.snr), (signal["rssi"], signal["snr"]))
        for name, want in step.get("outcome", {}).items():
            got = getattr(result, name)
            if name == "downlinks":
                got = [[port, hexlify(payload).decode(), fcnt] for port, payload, fcnt in got]
            equal(got, want, (where, name))
        for name, want in step.get("session", {}).items():
            got = getattr(mac.session, name)
            equal(hexlify(got).decode() if isinstance(got, bytes) else got, want, (where, name))
        if mac.session:  # a deep sleep after every step: nothing may be lost by it
            mac.session = Session.unpack(some(mac.session).pack())


def compare_listens(got, want, where):
    """As windows should be: on the right frequency and data rate, opened early by as much as the clock may be wrong."""
    equal([[one.window, one.freq_hz, one.sf] for one in got], [[one[0], one[2], one[3]] for one in want], where)
    for at, one in enumerate(got):
        nominal_s = want[at][1]
        error_us = 15000 + nominal_s * 100
        offset_us, symbols = airtime.rx_window(one.sf, one.bw_hz, error_us)
        equal((one.delay_us, one.symbols), (nominal_s * 1000000 + offset_us, symbols), where)


def told(vectors, part):
    count = 0
    for story in vectors["stories"]:
        if story["name"].startswith(part):
            play(story, vectors)
            count += 1
    assert count, part


def check_joins_with_every_rx_delay(vectors):
    told(vectors, "RXDelay")


def check_joins_with_dl_settings(vectors):
    told(vectors, "DLSettings")


def check_joins_with_cflists(vectors):
    told(vectors, "CFList")


def check_join_attempts(vectors):
    told(vectors, "Join at each data rate")


def check_join_answered_by_something_else(vectors):
    told(vectors, "Join answered")


def check_old_join_accept(vectors):
    told(vectors, "An old JoinAccept")


def check_silence(vectors):
    told(vectors, "Silence")


def check_downlink_in_rx1(vectors):
    told(vectors, "A downlink in RX1")


def check_downlink_in_rx2(vectors):
    told(vectors, "A downlink in RX2")


def check_bad_frame_in_rx1(vectors):
    told(vectors, "What does not pass")


def check_replay(vectors):
    told(vectors, "A replay")


def check_downlink_counter(vectors):
    told(vectors, "The downlink counter")


def check_confirmed_uplinks(vectors):
    told(vectors, "Confirmed uplinks")


def check_confirmed_downlinks(vectors):
    told(vectors, "A confirmed downlink")


def check_fpending(vectors):
    told(vectors, "FPending")


def check_reserved_ports(vectors):
    told(vectors, "Reserved ports")


def check_rx_timing_setup(vectors):
    told(vectors, "RXTimingSetup")


def check_rx_param_setup(vectors):
    told(vectors, "RXParamSetup")


def check_dev_status(vectors):
    told(vectors, "DevStatus")


def check_answers_give_way(vectors):
    told(vectors, "Answers give way")


def check_nonsense_commands(vectors):
    told(vectors, "A block full of nonsense")


def check_no_story_is_forgotten(vectors):
    """Every story begins with words that one check above asks for."""
    asked = (
        "RXDelay", "DLSettings", "CFList", "Join at each data rate", "Join answered", "An old JoinAccept", "Silence",
        "A downlink in RX1", "A downlink in RX2", "What does not pass", "A replay", "The downlink counter",
        "Confirmed uplinks", "A confirmed downlink", "FPending", "Reserved ports", "RXTimingSetup", "RXParamSetup",
        "DevStatus", "Answers give way", "A block full of nonsense",
    )  # fmt: skip
    for story in vectors["stories"]:
        assert sum(story["name"].startswith(words) for words in asked) == 1, story["name"]


def fresh(dr=5):
    session = Session(0x01020304, 1, KEY, KEY, eu868)
    session.dr = dr
    return session


def check_payload_limits():
    """RP002-1.0.4 table 10: 51, 51, 51, 115, 242, 242 bytes; nothing is sent or counted when it is one too many."""
    for dr, room in enumerate((51, 51, 51, 115, 242, 242)):
        mac = Mac(eu868, fresh(dr), lowest, timing())
        error = raises(PayloadTooLong, mac.uplink, 1, bytes(room + 1))
        equal((error.size, error.room), (room + 1, room))
        assert isinstance(error, ValueError)
        equal(some(mac.session).fcnt_up, 0)
        _, sent, _ = drive(mac.uplink(1, bytes(room)), [None, None])
        equal(len(sent[0].frame), room + 13)
        equal(some(mac.session).fcnt_up, 1)


def check_what_cannot_be_sent():
    raises(NotJoined, Mac(eu868, None, lowest).uplink, 1, b"")
    mac = Mac(eu868, fresh(), lowest)
    for port in (-1, 0, 224, 255, 256):
        raises(ValueError, mac.uplink, port, b"")
    some(mac.session).dr = 6  # SF7 at 250 kHz: no channel carries it
    raises(NoChannel, mac.uplink, 1, b"")
    equal(some(mac.session).fcnt_up, 0)


def check_counter_is_counted_before_the_frame_is_out():
    """Whoever saves the session when it sees the Transmit has the next counter in it."""
    mac = Mac(eu868, fresh(), lowest)
    exchange = mac.uplink(1, b"x")
    action = exchange.send(None)
    assert isinstance(action, Transmit)
    equal(some(Session.unpack(some(mac.session).pack())).fcnt_up, 1)
    exchange.close()  # the radio failed: the number is spent
    _, sent, _ = drive(mac.uplink(1, b"x"), [None, None])
    equal(sent[0].frame[6], 1)


def check_radiated_power():
    for tx_power, limit, want in ((0, None, 16), (1, None, 14), (7, None, 2), (0, 14, 14), (2, 14, 12), (0, 30, 16)):
        mac = Mac(eu868, fresh(), lowest, None, limit)
        some(mac.session).tx_power = tx_power
        _, sent, _ = drive(mac.uplink(1, b""), [None, None])
        equal(sent[0].eirp_dbm, want, (tx_power, limit))
    mac = Mac(eu868, None, lowest, None, 10)
    _, sent, _ = drive(mac.join(bytes(8), bytes(8), KEY, 0), [None, None])
    equal(sent[0].eirp_dbm, 10)


def check_every_channel_once_before_any_again():
    """With any random numbers, over channels that come and go."""
    seed = [1]

    def rng(n):
        seed[0] = (seed[0] * 1103515245 + 12345) % 2147483648
        got = seed[0] // 65536 % n
        assert 0 <= got < n
        return got

    for candidates in (1, 0b101, 0b111, 0xFF, 0xFFFF, 0x8001):
        wanted = sorted([i for i in range(16) if candidates >> i & 1])
        used = 0
        orders = []
        for _ in range(20):
            order = []
            for _ in wanted:
                index, used = choose(candidates, used, rng)
                order.append(index)
            equal(sorted(order), wanted, candidates)
            orders.append(order)
        if len(wanted) > 2:
            assert any(order != orders[0] for order in orders), "not random"
    # a channel that comes on is used before those that were; one that went off is not
    index, used = choose(0b1111, 0b0111, rng)
    equal((index, used), (3, 0b1111))
    index, used = choose(0b0011, 0b1111, rng)
    assert index < 2
    equal(used, 0b1100 | 1 << index)


def check_masked_channels_stay_silent():
    mac = Mac(eu868, fresh(), lowest)
    some(mac.session).channel_mask = 0b101
    on = [drive(mac.uplink(1, b""), [None, None])[1][0].freq_hz for _ in range(4)]
    equal(on, [868100000, 868500000] * 2)


def check_rx1_data_rate():
    for dr in range(6):
        for offset in range(6):
            mac = Mac(eu868, fresh(dr), lowest)
            some(mac.session).rx1_dr_offset = offset
            _, _, listened = drive(mac.uplink(1, b""), [None, None])
            equal((listened[0].sf, listened[0].bw_hz), eu868.DATA_RATES[eu868.RX1_DR[dr][offset]])


def check_randomness_is_asked_for():
    raises(TypeError, Mac, eu868)


def check_rx2_at_250_khz():
    mac = Mac(eu868, fresh(), lowest)
    some(mac.session).rx2_dr = 6
    _, _, listened = drive(mac.uplink(1, b""), [None, None])
    equal((listened[1].sf, listened[1].bw_hz), (7, 250000))


# Law


def check_full_sub_band_is_waited_for():
    """36 s an hour where 1 % is allowed; the refused uplink counts and changes nothing."""
    mac = Mac(eu868, fresh(0), lowest, timing())
    sent_us = 0
    while not mac.wait_ms(20, 0):
        _, sent, _ = drive(mac.uplink(1, bytes(20)), [None, None])
        sent_us += sent[0].airtime_us
    assert 30000000 < sent_us <= 36000000, sent_us
    before = some(mac.session).pack()
    error = raises(NoAirtime, mac.uplink, 1, bytes(20))
    equal(some(mac.session).pack(), before)
    assert 0 < error.wait_ms <= 68 * 60000, error.wait_ms
    equal(mac.wait_ms(20, 0), error.wait_ms)
    drive(mac.uplink(1, bytes(20), False, error.wait_ms), [None, None])


def check_other_sub_band_is_used_meanwhile():
    mac = Mac(eu868, fresh(0), lowest, timing())
    some(mac.session).set_channel(3, 867100000, 0x50)
    bands = set()
    for _ in range(30):
        _, sent, _ = drive(mac.uplink(1, bytes(20)), [None, None])
        bands.add(sent[0].freq_hz < 868000000)
    equal(len(bands), 2)


def check_joins_keep_to_their_budget():
    """36 s in the first hour, however often the caller asks and whatever the duty cycle would allow."""
    mac = Mac(eu868, None, lowest, timing())
    sent_us = now_ms = tries = 0
    while now_ms < 3600000:
        wait_ms = mac.join_wait_ms(0, now_ms)
        if wait_ms:
            error = raises(NoAirtime, mac.join, bytes(8), bytes(8), KEY, tries, 0, now_ms)
            equal(error.wait_ms, wait_ms)
            now_ms += wait_ms
            continue
        _, sent, _ = drive(mac.join(bytes(8), bytes(8), KEY, tries, 0, now_ms), [None, None])
        tries += 1
        now_ms += 8000
        sent_us += sent[0].airtime_us
    assert 30000000 < sent_us < 36000000, (tries, sent_us)


def check_duty_cycle_request_keeps_it_silent():
    mac = Mac(eu868, fresh(), lowest, timing())
    some(mac.session).max_duty = 7
    _, sent, _ = drive(mac.uplink(1, b"x"), [None, None])
    silent_ms = sent[0].airtime_us * 127 // 1000
    error = raises(NoAirtime, mac.uplink, 1, b"x", False, 1000)
    assert silent_ms - 1001 <= error.wait_ms <= silent_ms + 100, (error.wait_ms, silent_ms)
    drive(mac.uplink(1, b"x", False, 1000 + error.wait_ms), [None, None])


# NbTrans (TS001-1.0.4 4.3.1.3, 5.2)


def repeated(nb_trans, confirmed, air):
    mac = Mac(eu868, fresh(), lambda n: n // 2, timing())
    some(mac.session).nb_trans = nb_trans
    waits = []
    outcome, sent, listened = drive(mac.uplink(1, b"x", confirmed), air, waits)
    return mac, outcome, sent, listened, waits


def check_repetitions_are_the_same_frame_on_other_channels():
    for confirmed in (False, True):
        mac, outcome, sent, listened, waits = repeated(4, confirmed, [None] * 8)
        equal(len({one.frame for one in sent}), 1)
        equal(len({one.freq_hz for one in sent[:3]}), 3)
        equal((len(sent), outcome.repeats, len(listened), len(waits)), (4, 4, 8, 3))
        equal(some(mac.session).fcnt_up, 1)
        equal(some(mac.session).adr_ack_cnt, 1)
        for us in waits:
            assert (1000000 <= us <= 3000000) if confirmed else us <= 1000000, us


def check_repetitions_end_with_any_downlink():
    session = fresh()
    down = frames_down(session, 0)
    for confirmed in (False, True):
        for window in range(6):
            air = [None] * window + [Heard(down, -90, 7.0)]
            _, outcome, sent, _, _ = repeated(3, confirmed, air)
            equal((len(sent), outcome.repeats, outcome.window), (window // 2 + 1, window // 2 + 1, window % 2 + 1))


def check_law_goes_before_repetitions():
    mac = Mac(eu868, fresh(0), lowest, timing())
    some(mac.session).nb_trans = 15
    total_us = 0
    now_ms = 0
    for _ in range(3):
        try:
            exchange = mac.uplink(1, bytes(50), True, now_ms)
        except NoAirtime:
            break
        air = [None] * 30
        sent = []
        answer = None
        try:
            while True:
                action = exchange.send(answer)
                answer = None
                if isinstance(action, Transmit):
                    sent.append(action)
                    total_us += action.airtime_us
                elif isinstance(action, Listen):
                    air.pop()
        except StopIteration:
            pass
        now_ms += 100000
    assert total_us <= 36000000, total_us


def frames_down(session, fcnt, fopts=b"", port=None, payload=b"", fctrl=0):
    """A downlink of the network, by the firmware's own crypto."""
    from lorawan import crypto

    body = bytes((0x60,)) + session.dev_addr.to_bytes(4, "little") + bytes((fctrl | len(fopts),))
    body += (fcnt & 0xFFFF).to_bytes(2, "little") + fopts
    if port is not None:
        key = session.app_skey if port else session.nwk_skey
        body += bytes((port,)) + crypto.crypt_payload(key, session.dev_addr, fcnt, crypto.DOWN, payload)
    return body + crypto.data_mic(session.nwk_skey, session.dev_addr, fcnt, crypto.DOWN, body)


# ADR (TS001-1.0.4 4.3.1.1)


def check_adr_backoff():
    """Table 9: when the bit, when which step; ADRACKReq stays; at the end the default channels are on again."""
    mac = Mac(eu868, fresh(3), lowest, timing())
    session = some(mac.session)
    session.set_channel(3, 867100000, 0x50)
    session.channel_mask = 0b1000
    session.tx_power = 5
    session.nb_trans = 3
    now_ms = 0
    for n in range(300):
        _, sent, _ = drive(mac.uplink(1, b"x", False, now_ms), [None] * 2 * (1 if n >= 224 else 3), [])
        now_ms += 600000
        fctrl = sent[0].frame[5]
        equal(fctrl, 0xC0 if n >= 64 else 0x80, n)
        dr = 3 if n < 128 else 2 if n < 160 else 1 if n < 192 else 0
        equal(sent[0].sf, 12 - dr, n)
        equal(sent[0].eirp_dbm, 6 if n < 96 else 16, n)
        equal((session.channel_mask, session.nb_trans), (0b1000, 3) if n < 224 else (0b1111, 1), n)
    equal(mac.lost, False)
    equal(len(session.pack()), len(session.pack()))


def check_downlink_ends_the_backoff():
    mac = Mac(eu868, fresh(), lowest, timing())
    session = some(mac.session)
    session.adr_ack_cnt = 70
    _, sent, _ = drive(mac.uplink(1, b"x"), [Heard(frames_down(session, 0), -90, 7.0)])
    equal(sent[0].frame[5], 0xC0)
    equal(session.adr_ack_cnt, 0)
    _, sent, _ = drive(mac.uplink(1, b"x"), [None, None])
    equal(sent[0].frame[5], 0x80)


def check_without_adr_no_bit_and_no_backoff():
    mac = Mac(eu868, fresh(), lowest, timing(), adr=False)
    some(mac.session).adr_ack_cnt = 400
    _, sent, _ = drive(mac.uplink(1, b"x"), [None, None])
    equal((sent[0].frame[5], sent[0].sf, mac.lost), (0, 7, False))


def check_payload_must_fit_after_the_step_down():
    mac = Mac(eu868, fresh(3), lowest, timing())
    session = some(mac.session)
    session.adr_ack_cnt = 128  # the next uplink goes out at DR2
    error = raises(PayloadTooLong, mac.uplink, 1, bytes(52))
    equal((error.room, mac.room(), session.dr, session.adr_ack_cnt), (51, 51, 3, 128))
    _, sent, _ = drive(mac.uplink(1, bytes(51)), [None, None])
    equal(sent[0].sf, 10)


# What gives way


def check_answers_go_ahead_when_they_cannot_go_along():
    """An answer waits for one uplink whose payload fills the frame, then it goes ahead on FPort 0."""
    mac = Mac(eu868, fresh(0), lowest, timing())
    session = some(mac.session)
    session.answers = b"\x06\xff\x07\x08"
    full = bytes(51)
    equal(mac.room(), 47)
    _, sent, _ = drive(mac.uplink(1, full), [None, None])
    equal((len(sent[0].frame), sent[0].frame[5]), (64, 0x80))
    equal(session.answers, b"\x06\xff\x07\x08")
    outcome, sent, _ = drive(mac.uplink(1, full, False, 100000), [None] * 4)
    equal([one.frame[8] for one in sent], [0, 1], "FPort")
    equal(outcome.fcnt, 2)
    answered = frames.crypto.crypt_payload(KEY, session.dev_addr, 1, 0, sent[0].frame[9:-4])
    equal(answered, b"\x06\xff\x07\x08")
    equal((session.answers, session.sticky), (b"", b"\x08"))


def check_answers_that_stick_are_repeated_behind_new_ones():
    mac = Mac(eu868, fresh(), lowest, timing())
    session = some(mac.session)
    down = frames_down(session, 0, b"\x08\x01\x0a\x01\x18\x4f\x84")  # RXTimingSetup, DlChannel 1: 867.1 MHz
    drive(mac.uplink(1, b"x"), [Heard(down, -90, 7.0)])
    for _ in range(3):
        _, sent, _ = drive(mac.uplink(1, b"x"), [None, None])
        equal(sent[0].frame[8 : 8 + (sent[0].frame[5] & 15)], b"\x08\x0a\x03")
    equal(session.dl_channels[1], 867100000)
    drive(mac.uplink(1, b"x"), [None, Heard(frames_down(session, 1), -90, 7.0)])
    equal((session.answers, session.sticky), (b"", b""))


def check_many_answers_go_out_over_several_uplinks():
    mac = Mac(eu868, fresh(), lowest, timing())
    session = some(mac.session)
    drive(mac.uplink(1, b"x"), [Heard(frames_down(session, 0, b"", 0, b"\x06" * 12), -90, 7.0)])
    equal(session.answers, b"\x06\xff\x07" * 12)
    for left in (7, 2, 0):
        drive(mac.uplink(1, b"x"), [None, None])
        equal(len(session.answers), 3 * left)


def check_answers_do_not_pile_up():
    mac = Mac(eu868, fresh(), lowest, timing())
    session = some(mac.session)
    for fcnt in range(20):
        drive(mac.uplink(1, bytes(242)), [Heard(frames_down(session, fcnt, b"", 0, b"\x06" * 20), -90, 7.0)])
        if session.waited:
            break
        assert len(session.answers) <= 120


# Requests


def check_link_check_and_device_time():
    mac = Mac(eu868, fresh(), lowest, timing())
    session = some(mac.session)
    answer = frames_down(session, 0, b"\x02\x14\x03\x0d\x00\xe1\xf5\x05\x40")
    outcome, sent, _ = drive(mac.uplink(1, b"x"), [Heard(answer, -90, 7.0)])
    equal((outcome.link_check, outcome.device_time), (None, None), "nobody asked")
    mac.request(commands.LINK_CHECK)
    mac.request(commands.DEVICE_TIME)
    mac.request(commands.LINK_CHECK)
    answer = frames_down(session, 1, b"\x02\x14\x03\x0d\x00\xe1\xf5\x05\x40")
    outcome, sent, _ = drive(mac.uplink(1, b"x"), [None, Heard(answer, -90, 7.0)])
    equal(sent[0].frame[5:10], bytes((0x82, 1, 0, 2, 0x0D)))
    equal((outcome.link_check, outcome.device_time, outcome.asked), ((20, 3), (100000000, 64), b"\x02\x0d"))
    equal(outcome.ended, 12345)
    _, sent, _ = drive(mac.uplink(1, b"x"), [None, None])
    equal(sent[0].frame[5], 0x80, "asked once")


def check_frame_without_payload():
    mac = Mac(eu868, fresh(), lowest, timing())
    _, sent, _ = drive(mac.uplink(None, b""), [None, None])
    equal(len(sent[0].frame), 12)
    raises(ValueError, mac.uplink, None, b"x")


def check_certification_port_is_a_switch():
    mac = Mac(eu868, fresh(), lowest, timing())
    raises(ValueError, mac.uplink, 224, b"x")
    mac.certification = True
    session = some(mac.session)
    outcome, _, _ = drive(mac.uplink(224, b"x"), [Heard(frames_down(session, 0, b"", 224, b"\x00"), -90, 7.0)])
    equal(outcome.downlinks, [(224, b"\x00", 0)])
    raises(ValueError, mac.uplink, 225, b"x")


def check_rx1_on_another_frequency():
    mac = Mac(eu868, fresh(), lowest, timing())
    some(mac.session).dl_channels[0] = 869525000
    _, _, listened = drive(mac.uplink(1, b"x"), [None, None])
    equal([one.freq_hz for one in listened], [869525000, 869525000])
    equal(plan.sub_band(eu868, 868100000), 2)


def check_windows_learn_from_what_came_and_what_did_not():
    mac = Mac(eu868, fresh(), lowest, timing())
    session = some(mac.session)
    drive(mac.uplink(1, b"x"), [None, None])
    equal((mac.timing.learnt, mac.timing.misses), ([], 0), "nothing was due")
    drive(mac.uplink(1, b"x", True), [None, None])
    equal(mac.timing.misses, 1)
    drive(mac.uplink(1, b"x"), [None, Heard(frames_down(session, 0), -90, 7.0, 2000123)])
    drive(mac.uplink(1, b"x"), [Heard(frames_down(session, 0), -90, 7.0, 1000123), None])
    drive(mac.uplink(1, b"x"), [Heard(frames_down(session, 1), -90, 7.0)])
    equal(mac.timing.learnt, [(2000000, 2000123)], "not from what does not pass, nor from what was not measured")
    session.adr_ack_cnt = 64
    drive(mac.uplink(1, b"x"), [None, None])
    equal(mac.timing.misses, 2)


def check_law_holds_for_exchanges_made_in_advance():
    mac = Mac(eu868, fresh(0), lowest, timing())
    sent_us = 0
    for exchange in [mac.uplink(1, bytes(51)) for _ in range(30)]:
        try:
            _, sent, _ = drive(exchange, [None, None])
        except NoAirtime:
            continue
        sent_us += sent[0].airtime_us
    assert sent_us <= 36000000, sent_us
    mac = Mac(eu868, None, lowest, timing())
    sent_us = 0
    for exchange in [mac.join(bytes(8), bytes(8), KEY, nonce, 0) for nonce in range(40)]:
        try:
            _, sent, _ = drive(exchange, [None, None])
        except NoAirtime:
            continue
        sent_us += sent[0].airtime_us
    assert sent_us < 36000000, sent_us


def check_silence_ends_when_the_network_says_so():
    mac = Mac(eu868, fresh(), lowest, timing())
    session = some(mac.session)
    session.max_duty = 15
    drive(mac.uplink(1, b"x"), [None, Heard(frames_down(session, 0, b"\x04\x00"), -90, 7.0)])
    equal(mac.wait_ms(10, 5000), 0)


def check_room_is_never_negative():
    mac = Mac(eu868, fresh(0), lowest, timing())
    session = some(mac.session)
    session.answers = b"\x06\xff\x07" * 5
    session.dwell = 0
    equal(mac.room(), 36)
    from lorawan import as923

    mac = Mac(as923, Session(1, 0, KEY, KEY, as923), lowest, timing())
    session = some(mac.session)
    session.dwell = 1
    session.dr = 2
    session.answers = b"\x06\xff\x07" * 5
    equal(mac.room(), 0)
