"""The capacitive soil probe: two points, wild samples, and what is no moisture."""

# pyright: reportOperatorIssue=false

from expect import equal, raises
from payload.encode import OUT_OF_RANGE
from sensors import soil
from sensors.errors import SensorError

DRY = 2600000
WET = 1200000


def check_between_the_points():
    for uv, percent in ((DRY, 0), (WET, 100), (1900000, 50), (2250000, 25)):
        assert abs(soil.moisture([uv], DRY, WET) - percent) < 0.001, uv


def check_one_wild_sample_does_no_harm():
    assert abs(soil.moisture([1900000, 0, 1900000, 3100000, 1900000], DRY, WET) - 50) < 0.001


def check_a_little_beyond_is_the_end_and_far_beyond_is_marked():
    equal(soil.moisture([DRY + 130000], DRY, WET), 0)
    equal(soil.moisture([WET - 130000], DRY, WET), 100)
    equal(soil.moisture([DRY + 150000], DRY, WET), OUT_OF_RANGE)
    equal(soil.moisture([WET - 150000], DRY, WET), OUT_OF_RANGE)


def check_points_that_cannot_be_are_refused():
    for dry, wet in ((WET, DRY), (DRY, DRY), (WET + 99999, WET)):
        assert "swapped" in str(raises(SensorError, soil.moisture, [1900000], dry, wet))


def check_nothing_connected_is_not_wet():
    raises(SensorError, soil.moisture, [0, 12000, 3000], DRY, WET)


def check_read_takes_several_samples_apart():
    samples = [1900000] * 8 + [0] * 7
    slept = []

    class Adc:
        def read_uv(self):
            return samples.pop()

    got = soil.read(Adc(), {"dry_uv": DRY, "wet_uv": WET}, slept.append)
    assert abs(got["soil_moisture"] - 50) < 0.001
    equal((samples, len(slept) >= 15), ([], True))
