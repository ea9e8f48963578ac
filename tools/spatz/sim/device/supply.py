"""Power cuts and brown-outs of the virtual board. Mixin of Board.

With b a Board in virtual time; b.reboot() then goes on with a cause of "power_on" or "brown_out" by itself:

    b.flash.cut_at = 3                   # the third flash operation from here ends the boot: PowerDown("power_cut")
    b.flash.writes, b.flash.wear         # values written so far, over reboot() too; by "namespace/key"
    b.cut_power_at(true_us)              # the power goes at a moment
    b.cut_power_when(lambda b: b.radio.mode == "tx")           # ... or as soon as this is true; None: never
    b.cut_power_when(condition, "brown_out")
    Board({"brown_out_at": {"mode": "tx"}})                    # every boot, as soon as the radio is in this mode
    Board({"brown_out_at": {"mode": "tx", "after_us": 9000}})  # every boot, this long after that
    Board({"brown_out_at": {"after_us": 300000}})              # every boot, this long after its start

A power cut forgets the RTC memory, the calendar, the pads and the radio; a brown-out keeps the RTC memory or loses it
by chance (of the seed and the moment), and the radio starts anew. Flash operations are set_*, erase_key and commit of
esp32.NVS. NVS writes a value when it is set, but promises it only after commit(): so of what was set and not committed
when a *flash operation* is cut, the first ones may be there and the later ones not, by chance; any other cut or
reboot("power_on") loses all of it. A single value is there whole or not at all, as NVS does it.
"""


class Supply:
    def chance(self, below):
        """A number in [0, below) that the seed and the present moment decide."""
        mixed = (self.world["seed"] * 2654435761 + self.clock.now * 2246822519) & 0xFFFFFFFF
        for _ in range(3):
            mixed = (mixed ^ mixed >> 15) * 2146121005 & 0xFFFFFFFF
        return (mixed >> 8) % below

    def _lose(self, event):
        """What survives a power cut or a brown-out."""
        self._forget_files()
        self._kept = {"flash": self.flash.committed}
        if event == "brown_out" and self.chance(2):
            self._kept["rtc_memory"] = self.rtc_memory
            self.write("rtc.bin", self.rtc_memory)

    def cut_power_when(self, condition, event="power_cut"):
        """End the boot with `event` ("power_cut" or "brown_out") as soon as condition(board) is true; None: never.

        Looked at after each event of the clock and with each call of the firmware that takes time.
        """

        def look():
            if condition(self):
                self.clock.watch = None
                self.end({"event": event})

        self.clock.watch = None if condition is None else look

    def cut_power_at(self, at_us, event="power_cut"):
        """End the boot with `event` at a moment (true µs)."""
        self.clock.at(at_us, lambda: self.end({"event": event}))

    def _plan_brown_out(self, when):
        if not when:
            return
        after_us = when.get("after_us", 0)

        def ready(b):
            if b.radio.mode != when["mode"]:
                return False
            if after_us:
                self.clock.watch = None
                self.cut_power_at(self.clock.now + after_us, "brown_out")
            return not after_us

        if "mode" in when:
            self.cut_power_when(ready, "brown_out")
        else:
            self.cut_power_at(self.clock.now + after_us, "brown_out")
