"""Tools for those who build and look after nodes; `spatz.sim` is the virtual hardware."""
