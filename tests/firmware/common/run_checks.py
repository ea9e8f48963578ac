"""Run under MicroPython: every check_… of a file, one JSON line each. Arguments: the file, the vectors."""

import gc
import io
import json
import sys

gc.threshold(500_000)  # type: ignore[attr-defined]  # MicroPython's; the unix port is slow on a big, mostly empty heap


def main(path, vectors_path):
    # executed, not imported: a file of checks may have the name of the module it checks
    with open(path) as file:
        code = compile(file.read(), path, "exec")
    names: dict = {"__name__": "checks"}
    exec(code, names)  # noqa: S102 - our own file
    with open(vectors_path) as file:
        vectors = json.load(file)
    for check in sorted(names):
        if not check.startswith("check_"):
            continue
        function = names[check]
        trouble = ""
        try:
            try:
                function(vectors)
            except TypeError as error:
                if "takes 0 positional arguments" not in str(error):
                    raise
                function()
        except Exception as error:
            text = io.StringIO()
            sys.print_exception(error, text)  # type: ignore[attr-defined]  # MicroPython's
            trouble = text.getvalue()
        print(json.dumps(["check", check, trouble]))


main(sys.argv[1], sys.argv[2])
