"""Runs under MicroPython: the check_ functions of a file, one JSON line each (see test_checks.py)."""

import gc
import io
import json
import sys

gc.threshold(300000)


def main(name):
    space = {"__name__": "checks"}
    with open(name) as file:
        exec(file.read(), space)  # noqa: S102 - our own file
    for key in list(space):
        if not key.startswith("check_"):
            continue
        error = ""
        try:
            space[key]()
        except BaseException as caught:
            text = io.StringIO()
            sys.print_exception(caught, text)
            error = text.getvalue()
        print(json.dumps({"check": key, "error": error}))


main(sys.argv[1])
