"""A node's start: everything is in node/app.py. Ctrl-C ends the program and leaves MicroPython's prompt."""

import sys
import time

RETRY_S = 600


def main():
    """Run the node; when the program itself is broken, stay reachable for ten minutes and then start afresh."""
    import machine

    try:
        import esp32

        from node import app

        app.start(machine, esp32, time)
    except KeyboardInterrupt:
        print("Stopped by Ctrl-C. The node measures again after machine.reset() or the reset button.")
    except Exception as error:
        sys.print_exception(error)
        print(f"The program cannot run. It stays awake and tries again in {RETRY_S // 60} minutes.")
        time.sleep(RETRY_S)
        machine.reset()


main()
