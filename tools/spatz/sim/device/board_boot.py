"""One boot of a virtual board from its flash file: `micropython -X heapsize=2M board_boot.py`, as an ESP32 would.

SPATZ_WORLD names world.json: what board.py takes, and "flash" (the file of the whole chip), "flash_bytes", "nvs" and
"vfs" ([offset, size] each), "no_main" (true: as after a soft reset out of the raw REPL). Everything is in
flash_boot.py; the globals here are those of boot.py, main.py and the prompt, so nothing else may stay behind.

The prompt comes by itself (MICROPYINSPECT): with the option -i a reset would end at a prompt instead of ending.
"""

import flash_boot

flash_boot.prepare()
del flash_boot, __file__
__import__("flash_boot").start(globals())
