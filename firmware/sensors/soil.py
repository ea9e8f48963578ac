"""A capacitive soil probe: a voltage that falls as the soil gets wetter, between two points of each probe's own.

0 % is the probe in dry air, 100 % in water; it compares only with itself. The middle of several samples counts, because
the ADC has wild ones. A voltage beyond both points by more than the rest of a calibration is no moisture.
"""

from micropython import const

from payload.encode import OUT_OF_RANGE
from sensors.errors import SensorError

_SAMPLES = const(15)  # odd: the middle one is a sample
_PAUSE_MS = const(2)
_SPAN_UV = const(100000)  # a probe differs by a volt; less would be noise
_BEYOND = 10  # % beyond a point, which temperature and wear explain
_BROKEN_UV = const(20000)  # nothing is connected, or it has no power


def moisture(samples_uv, dry_uv, wet_uv):
    """% of the way from dry to wet, 0..100, or OUT_OF_RANGE.

    samples_uv: microvolts at the ADC; dry_uv, wet_uv: those in air and in water. Raises SensorError for points that
    cannot be those of a probe (equal, nearly so, or swapped), and when there is no voltage at all.
    """
    if dry_uv - wet_uv < _SPAN_UV:
        raise SensorError("dry_uv must be above wet_uv by 100000 or more: are they swapped?")
    value_uv = sorted(samples_uv)[len(samples_uv) // 2]
    if value_uv < _BROKEN_UV:
        raise SensorError("no voltage, is it connected?")
    percent = 100 * (dry_uv - value_uv) / (dry_uv - wet_uv)
    if not -_BEYOND <= percent <= 100 + _BEYOND:
        return OUT_OF_RANGE
    return min(100, max(0, percent))


def read(adc, entry, sleep_ms):
    """{"soil_moisture": %}. adc: with read_uv() of `machine.ADC`; entry: with dry_uv and wet_uv. Raises SensorError."""
    samples_uv = []
    for _ in range(_SAMPLES):
        samples_uv.append(adc.read_uv())
        sleep_ms(_PAUSE_MS)
    return {"soil_moisture": moisture(samples_uv, entry["dry_uv"], entry["wet_uv"])}
