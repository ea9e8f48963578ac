"""The battery's voltage: divider, trim, wild samples, and what is no voltage."""

# pyright: reportOperatorIssue=false

from expect import equal
from payload.encode import FAILED
from sensors import battery


class Adc:
    def __init__(self, samples):
        self.samples = samples

    def read_uv(self):
        return self.samples.pop(0)


def check_divider_and_trim():
    # 800 mV at the ADC behind 4.9:1, trim 1.045: 0.8 * 4.9 * 1.045 = 4.0964 V
    assert abs(battery.volts([800000], 4.9, 1.045) - 4.0964) < 0.0001
    assert abs(battery.volts([800000], 4.9) - 3.92) < 0.0001


def check_one_wild_sample_does_no_harm():
    assert abs(battery.volts([800000, 0, 800000, 3000000, 800000], 4.9) - 3.92) < 0.0001


def check_no_voltage_is_failed_never_zero():
    equal(battery.volts([], 4.9), FAILED)
    equal(battery.volts([0, 0, 0], 4.9), FAILED)
    equal(battery.volts([3000000], 4.9), FAILED)


def check_read_takes_several_samples():
    adc = Adc([800000] * 4 + [0] + [800000] * 4)
    assert abs(battery.read(adc, 4.9) - 3.92) < 0.0001
    equal(adc.samples, [])
