"""The contact of a rain gauge, which closes at any time: awake, in light sleep, in deep sleep.

Awake, an interrupt counts. Asleep, the pin wakes the chip (ext0, which waits for a level): first for the contact to
close, then for it to open, so a contact that stays closed costs two wakes and no more. A wake from deep sleep by the
pin is itself one tip; the node counts it, waits until the contact is quiet, and sleeps for the rest of its interval,
without measuring and without the radio (`doze`). The chip's calendar, which runs on in deep sleep, says what is left.

A contact that wakes the node more often than rain could (`_per_wake`) is not waited for until the next reading; that
reading's rain has failed, and the tips since the reading before are forgotten, for they were none.

The total is in RTC memory, and in NVS (`rain_tips`) as it was sent last: after a power cut it goes on from there, so it
never falls back and never grows by rain that nobody counted; what is lost is the rain since the last reading. NVS is
written with a reading whose total is new: at most once a tip, and 1000 mm of rain a year are 3600 tips.
"""

from micropython import const

from node.notes import Notes
from sensors.rain import Counter

_KEY = "rain_tips"
_LOOK_MS = const(5)
_PATIENCE = const(3)  # times the debounce: so long for the contact to come to rest
_WAKES = const(20)  # in a short sleep; in a long one
_S_PER_WAKE = const(4)  # one in so many seconds: 4 mm a minute with 0.28 mm a tip
_SHORT_MS = const(1500)  # a start from deep sleep would take as long


class Pulses:
    """entry: the sensor in config.json with "pin", perhaps "debounce_ms", "pull"; machine, esp32, time: the modules."""

    def __init__(self, entry, machine, esp32, time):
        pin = machine.Pin
        self._machine = machine
        self._esp32 = esp32
        self._time = time
        self._memory = None
        self.notes = Notes(b"", 0)
        pull = pin.PULL_UP if entry.get("pull", True) else None  # only a help: it is not sure to last in deep sleep
        self._pin = pin(entry["pin"], pin.IN, pull)
        self._debounce_ms = entry.get("debounce_ms", 200)
        closed = self._closed()
        self.counter = Counter(self._debounce_ms, time.ticks_diff, time.ticks_ms(), closed)
        self._closed_at_start = closed and machine.reset_cause() == machine.DEEPSLEEP_RESET
        self._pin.irq(self._edge, pin.IRQ_FALLING | pin.IRQ_RISING)

    def _closed(self):
        return not self._pin.value()

    def _edge(self, pin):
        self.counter.edge(self._time.ticks_ms(), self._closed())

    def remember(self, memory, notes):
        """Where the total is kept: memory has `sensors` and `save()`; notes are those in it."""
        self._memory = memory
        self.notes = notes
        if self._closed_at_start and notes.length_ms and not notes.opening:
            self.counter.count += 1  # it closed as the sleep ended by itself
        self._closed_at_start = False

    def collect(self):
        """Add up for a reading: `counter.total` and `counter.chattered` are what sensors.rain reads."""
        notes = self.notes
        chattered = notes.chattered
        if chattered:
            notes.tips = notes.tips_read
            self.counter.take()
        notes.chattered = False
        total = self._count()
        if total != notes.tips_read:
            nvs = self._esp32.NVS("spatz")
            nvs.set_i32(_KEY, total & 0x7FFFFFFF)
            nvs.commit()
            notes.tips_read = total  # only then: what flash refuses now is written with the next reading
        self.counter.total = total
        self.counter.chattered = chattered
        return self.counter

    def _count(self):
        notes = self.notes
        if notes.tips is None:
            notes.tips = notes.tips_read = self._stored()
        notes.tips += self.counter.take()
        return notes.tips

    def _stored(self):
        try:
            return self._esp32.NVS("spatz").get_i32(_KEY)
        except OSError:
            return 0

    # Sleep

    def lightsleep(self, ms):
        """Light sleep for `ms`, in which tips are counted."""
        time = self._time
        end_ms = time.ticks_add(time.ticks_ms(), ms)
        left_ms = ms
        while left_ms > 0:
            self._wait_for_a_change()
            self._machine.lightsleep(left_ms)
            self.counter.look(time.ticks_ms(), self._closed())
            left_ms = time.ticks_diff(end_ms, time.ticks_ms())

    def _wait_for_a_change(self):
        """Wake when the contact is no more as it is. Returns whether it is closed."""
        closed = self._closed()
        esp32 = self._esp32
        esp32.wake_on_ext0(self._pin, esp32.WAKEUP_ANY_HIGH if closed else esp32.WAKEUP_ALL_LOW)
        return closed

    def before_deepsleep(self, ms):
        """To be called last before a deep sleep of `ms`, which a tip may end."""
        notes = self.notes
        self._pin.irq(None)
        memory = self._memory
        if memory is None:
            self._esp32.wake_on_ext0(None)  # nobody could count
            return
        self._count()
        if notes.wakes == 0:
            notes.until_ms = self._calendar_ms() + ms
            notes.length_ms = ms
        if notes.chattered:
            self._esp32.wake_on_ext0(None)
        else:
            notes.opening = self._wait_for_a_change()
        memory.sensors = notes.pack()
        memory.save()

    def _calendar_ms(self):
        return self._time.time_ns() // 1000000

    def woken(self, memory, mark):
        """After a wake by the contact: count. Returns the ms that are left to sleep; 0: it is time for a reading."""
        notes = Notes(memory.sensors, mark)
        if not notes.length_ms:
            return 0  # nobody asked to be woken
        self._closed_at_start = False
        self.remember(memory, notes)
        time = self._time
        counter = self.counter
        counter.begin(time.ticks_ms(), True)
        counter.count = 0 if notes.opening else 1
        for _ in range(_PATIENCE * self._debounce_ms // _LOOK_MS):
            time.sleep_ms(_LOOK_MS)
            counter.look(time.ticks_ms(), self._closed())
            if counter.quiet(time.ticks_ms()):
                break
        notes.wakes += 1
        notes.chattered = notes.wakes > _WAKES + notes.length_ms // (1000 * _S_PER_WAKE)
        left_ms = max(0, min(notes.until_ms - self._calendar_ms(), notes.length_ms))
        if left_ms > _SHORT_MS:
            return left_ms
        time.sleep_ms(left_ms)
        self._count()
        memory.sensors = notes.pack()
        memory.save()
        return 0


def doze(hardware, memory, mark):
    """After a wake by the contact: count it and sleep on; returns when it is time for a reading."""
    left_ms = hardware.pulses.woken(memory, mark)
    if left_ms:
        hardware.deepsleep(left_ms, touched=False)
