"""Exchanges: a list plays the air. Every byte of the network's side, and of the node's, was computed elsewhere."""

from binascii import hexlify
from binascii import unhexlify as b

from expect import equal, raises, some
from lorawan import airtime, eu868
from lorawan.actions import Heard, Listen, Transmit
from lorawan.mac import Joined, Mac, NoChannel, NotJoined, PayloadTooLong, choose
from lorawan.session import Session

VECTORS = "exchanges.json"
TIMING = airtime.Timing(100, 15000)
KEY = bytes(range(16))


def lowest(n):
    return 0


def drive(exchange, air):
    """Carry out an exchange; (its result, the transmissions, the listens). air: what each window hears."""
    air = list(air)
    sent = []
    listened = []
    answer = None
    try:
        while True:
            action = exchange.send(answer)
            answer = None
            if isinstance(action, Transmit):
                equal(listened, [], "transmits before it listens")
                sent.append(action)
                answer = 12345  # the end of the transmission, by whatever clock: not looked at
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
    mac = Mac(eu868, None, lowest, TIMING)
    binding = b"test"
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
            mac.session = Session.unpack(some(mac.session).pack(binding), binding)


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
        mac = Mac(eu868, fresh(dr), lowest, TIMING)
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
    equal(some(Session.unpack(some(mac.session).pack(b"test"), b"test")).fcnt_up, 1)
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
