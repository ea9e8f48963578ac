"""Run under MicroPython (modules as for radio_world.py): what one uplink spends, state by state, as JSON.

Each is one exchange of the real MAC, runner and driver on the emulated SX1262: 11 bytes of payload, nobody answers, RX2
at SF12 as EU868 has it. Counted is from the call of the exchange until it returns, with the radio in cold sleep again:
processor and radio; no boot, no sensors.
"""

# This file is MicroPython's, with the modules of the virtual board:
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false, reportMissingModuleSource=false

import json

from radio_world import World, joined

PAYLOAD = bytes(11)


def exchange(sf, stay_awake):
    world = World()
    world.clock.stay_awake = stay_awake
    mac, network = joined(world, dr=12 - sf)
    network.window = 0
    mark = world.board.energy.mark()
    world.run(mac.uplink(1, PAYLOAD))
    spent = world.board.energy.since(mark)
    assert world.chip.mode == "sleep_cold", world.chip.mode
    assert world.why() == ["symbol timeout", "symbol timeout"], world.why()
    assert [len(frame["data"]) for frame in world.air.log] == [24], world.air.log
    return spent


result = {}
for sf in range(7, 13):
    result[str(sf)] = {"asleep": exchange(sf, False), "awake": exchange(sf, True)}
print("SPENT " + json.dumps(result))
