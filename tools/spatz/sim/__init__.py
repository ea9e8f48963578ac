"""Virtual hardware: real firmware on real MicroPython, on emulated chips, in simulated air, behind virtual gateways."""
