"""What is written into a board's flash: MicroPython, the node's files, its identity; made and read as bytes.

Nothing here talks to a board. `micropython_image` checks the file with MicroPython in it and cuts it into parts,
`layout` says what lies where, `filesystem` makes the node's files, `nvs_image` its identity, `cache` keeps the files
with MicroPython on this computer.
"""
