"""MicroPython, keys and files onto boards: what is written (plan), by whom (worker), to how many (fleet), and whether
the node lives (life)."""
