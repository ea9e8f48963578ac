"""LoRaWAN 1.0.4 class A end device without I/O: no clock, no radio, no files.

`mac.Mac` gives exchanges (generators that say what to transmit and when to listen, see `actions`); `session.Session`
is what must be remembered between them; a region (`eu868`) is a module of tables.
"""
