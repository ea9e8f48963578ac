"""Residue parity: the frames of a node against an oracle made from the words of boards/payload.md."""

from expect import equal
from payload.encode import codes as codes_of
from payload.table import QUANTITIES
from payload.window import Window

VECTORS = "parity.json"
CLIMATE = {"temperature": 21.4, "humidity": 56.5, "pressure": 1008.3, "battery": 3.87}


def _codes(given):
    return [(index, given[row[1]]) for index, row in enumerate(QUANTITIES) if row[1] in given]


def _frames(window, vectors, again=False):
    for scenario in vectors["scenarios"]:
        current = window()
        for row in scenario["frames"]:
            if again:
                current = Window(bytes(current.pack()))
            frame = current.frame(7, _codes(row["codes"]), scenario["symbols"], b"", scenario["fill"])
            got = frame(row["fcnt"])
            equal(got.hex(), row["frame"], f"{scenario['name']}, FCnt {row['fcnt']}")
            assert len(got) <= len(frame), "longer than it said"


def check_every_vector(vectors):
    _frames(Window, vectors)


def check_every_vector_with_a_sleep_between(vectors):
    _frames(Window, vectors, True)


def check_climate_with_one_and_two_symbols(vectors):
    """The figures of the issue: at most 7, 10 and 12 bytes; 544 bytes to remember."""
    for symbols, size in ((0, 7), (1, 10), (2, 12)):
        window, frame, got = Window(), None, b""
        for fcnt in range(150):
            frame = window.frame(1, codes_of(CLIMATE), symbols)
            got = frame(fcnt)
        equal(len(got), size)
        assert frame is not None
        equal(len(frame), size)
        equal(len(bytes(window.pack())), 544)


def check_climate_and_dust_alone_take_eleven_bytes(vectors):
    reading = CLIMATE.copy()
    reading.update({"pm2_5": 12.3, "pm10": 20.0})
    equal(len(Window().frame(1, codes_of(reading), 0)(0)), 11)


def check_a_frame_asked_for_again_is_the_same(vectors):
    window = Window()
    frame = window.frame(1, codes_of(CLIMATE))
    first = frame(5)
    equal(frame(5), first)
    equal(window.frame(1, codes_of(CLIMATE))(6)[6] & 15, 1)  # one slot, not two


def check_another_session_begins_anew(vectors):
    window = Window()
    for fcnt in range(10):
        window.frame(1, codes_of(CLIMATE))(fcnt)
    equal(window.frame(2, codes_of(CLIMATE))(10)[6:].hex(), "20")  # no slot, and a step


def check_a_counter_that_went_back_begins_anew(vectors):
    window = Window()
    for fcnt in range(10, 20):
        window.frame(1, codes_of(CLIMATE))(fcnt)
    equal(window.frame(1, codes_of(CLIMATE))(19)[6:].hex(), "20")


def check_memory_of_another_firmware_is_no_memory(vectors):
    """The record around it has a CRC; what is left is another version, or another length."""
    window = Window()
    for fcnt in range(10):
        window.frame(1, codes_of(CLIMATE))(fcnt)
    good = bytes(window.pack())
    for packed in (
        b"",
        good[:-1],
        good + b"\x00",
        good[:3] + b"\x09" + good[4:],
        good[:10],
        bytes(len(good)),
        b"\xff" * 500,
    ):
        equal(Window(packed).frame(1, codes_of(CLIMATE))(10)[6:].hex(), "20", str(len(packed)))


def check_twelve_quantities_take_no_more_memory(vectors):
    everything = {row[1]: row[2] + 1 for row in QUANTITIES}
    window = Window()
    for fcnt in range(100):
        window.frame(1, codes_of(everything if fcnt % 3 else CLIMATE))(fcnt)
    assert len(bytes(window.pack())) <= 600, len(bytes(window.pack()))
