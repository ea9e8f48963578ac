"""A virtual board: flash, boot ROM and MicroPython behind one serial port, for the tools that talk to boards."""
