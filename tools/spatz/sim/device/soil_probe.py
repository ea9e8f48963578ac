"""A capacitive soil probe: a voltage that falls with moisture, after it has had power for a while.

spec: {"chip": "soil", "adc": GPIO, "dry_uv": in air, "wet_uv": in water, "noise_uv": how far samples lie apart}.
"""

START_UP_US = 300000


class SoilProbe:
    name = "soil probe"

    def __init__(self, board, spec):
        self.board = board
        self.dry_uv = spec.get("dry_uv", 2600000)
        self.wet_uv = spec.get("wet_uv", 1200000)
        self.noise_uv = spec.get("noise_uv", 4000)

    def uv(self):
        """µV at its output; rising from 0 while it starts."""
        since = self.board.vext_since(self)
        if since is None:
            return 0
        percent = self.board.weather().soil_moisture(self.board.unix_now())
        value = self.dry_uv + (self.wet_uv - self.dry_uv) * percent / 100
        value += self.board.random(2 * self.noise_uv + 1) - self.noise_uv
        running_us = self.board.clock.now - since
        return int(value if running_us >= START_UP_US else value * running_us / START_UP_US)
