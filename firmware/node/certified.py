"""A node that is being certified: the test tool's wishes on FPort 224, carried out (see lorawan.certification).

Loaded only when config.json says "certification": true, or "lab" where the regional duty cycle may be put aside.
"""

from lorawan.certification import DISABLE, JOIN, Certification
from lorawan.ledger import Ledger


class NoLedger(Ledger):
    """For a shielded room: the regional duty cycle holds nothing back, DutyCycleReq does."""

    def wait_ms(self, band, airtime_us, now_ms):
        return self.silent_ms(now_ms)

    def add(self, band, airtime_us, now_ms):
        pass


class Certified:
    """device: lorawan.device.Device; mode: what config.json says; identity: node.identity.Identity; hardware: has
    `restart()`."""

    def __init__(self, device, mode, identity, hardware):
        self._device = device
        self._identity = identity
        self._hardware = hardware
        self._adr = device.mac.adr
        self._ledger = None  # the one that was put aside
        self.tool = Certification(lab=mode == "lab")
        device.mac.certification = True

    def uplink(self, port, payload, confirmed):
        """What is sent in the place of a reading, or the reading itself: (port, payload, confirmed)."""
        tool = self.tool
        mac = self._device.mac
        mac.adr = self._adr if tool.adr is None else tool.adr
        for cid in tool.ask:
            self._device.request(cid)
        tool.ask = b""
        port, payload = tool.uplink(port, payload, self._device.room())
        return port, payload, confirmed or tool.confirmed

    def heard(self, outcome):
        """Take what the test tool sent, and do what it asks for at once."""
        tool = self.tool
        tool.heard(outcome)
        mac = self._device.mac
        aside = isinstance(mac.ledger, NoLedger)
        if tool.duty_cycle and aside:
            mac.ledger = self._ledger
        elif not (tool.duty_cycle or aside):
            self._ledger = mac.ledger
            mac.ledger = NoLedger(mac.region)
        wish, tool.wish = tool.wish, 0
        if wish == JOIN:
            self._device.leave()
        elif wish:
            if wish == DISABLE:
                self._identity.end_certification()
            self._device.save()
            self._hardware.restart()
