"""Run under MicroPython: some checks of a file. Arguments: the file, then names of checks. Prints a JSON line for each:
its name, and '' or what went wrong."""

import io
import json
import sys


def main(path, *checks):
    names: dict = {"__name__": "checks"}
    with open(path) as file:
        exec(compile(file.read(), path, "exec"), names)  # noqa: S102 - our own file
    for check in checks:
        trouble = ""
        try:
            names[check]()
        except Exception as error:
            text = io.StringIO()
            sys.print_exception(error, text)  # type: ignore[attr-defined]  # MicroPython's
            trouble = text.getvalue()
        print(json.dumps([check, trouble]))


main(*sys.argv[1:])
