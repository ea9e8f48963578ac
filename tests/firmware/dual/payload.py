"""The encoder against the vectors of boards/payload.md."""

from expect import equal, raises
from payload.encode import FAILED, OUT_OF_RANGE, code, encode
from payload.table import QUANTITIES

VECTORS = "payload.json"


def check_every_vector(vectors):
    for case in vectors["cases"]:
        if "reading" in case:
            equal(encode(case["reading"]).hex() + case.get("rest", ""), case["payload"], case["name"])


def check_climate_set_fits_six_bytes():
    equal(len(encode({"temperature": 21.4, "humidity": 56.5, "pressure": 1008.3, "battery": 3.87})), 6)


def check_what_was_not_measured_takes_no_room():
    equal(encode({}), b"\x00")
    equal(len(encode({"battery": 3.3})), 2)


def check_unknown_quantity_is_refused():
    raised = raises(ValueError, encode, {"temperature": 1, "courage": 5})
    assert "courage" in str(raised)


def check_not_a_number_is_failed():
    equal(code(float("nan"), QUANTITIES[1]), 255)
    equal(code(FAILED, QUANTITIES[1]), 255)


def check_infinite_is_out_of_range():
    equal(code(float("inf"), QUANTITIES[1]), 254)
    equal(code(float("-inf"), QUANTITIES[1]), 254)
    equal(code(OUT_OF_RANGE, QUANTITIES[1]), 254)


def check_no_value_becomes_a_reserved_code():
    for row in QUANTITIES:
        _, name, minimum, steps, bits, _ = row
        top = (1 << bits) - 3
        for step in range(top - 3, top + 6):
            got = code(minimum + step / steps, row)
            equal(got, step if step <= top else top + 1, name)


def check_every_bit_once_and_ascending():
    bits = [row[0] for row in QUANTITIES]
    equal(bits, sorted(set(bits)))
