"""Ctrl-C at the console of a virtual board, noticed where nothing is half done.

The unix port turns SIGINT into a KeyboardInterrupt in the middle of anything: of its own allocator, of littlefs, of the
emulator. So while main.py runs the terminal makes no signal of Ctrl-C (no ISIG); it is a byte, which is read when time
passes on the board: all a node does besides computing. What else was typed before it is lost, as without a buffer.

A program in which no time passes is not reached by that. Whoever holds the other end of the terminal sees by the local
modes that Ctrl-C was noticed (ECHOK turns over) and, after the start (ECHOE), sends SIGINT otherwise. At the prompt the
terminal makes signals, since what is typed belongs to whoever reads it; ISIG says so.
"""

import select
import sys
import termios

import utime

CTRL_C = 3
_EVERY = 16
_LONGEST_MS = 1000
_LOCAL = 3  # place of the local modes in termios.tcgetattr
_ISIG, _ECHOE, _ECHOK = (0x80, 0x02, 0x04) if sys.platform == "darwin" else (0x01, 0x10, 0x20)


class Keys:
    def __init__(self):
        self._poller = select.poll()
        self._poller.register(sys.stdin, select.POLLIN)
        self._reads = True
        self._calls = 0
        self._link = None
        self._pressed = False
        _modes(0, _ISIG)

    def begin(self):
        """The start is over, main.py comes. Raises as look()."""
        _modes(_ECHOE, 0)
        self.check()

    def press(self):
        """Ctrl-C came as a signal when it could not be obeyed: it is when time passes next."""
        self._pressed = True

    def look(self):
        """Raises KeyboardInterrupt when Ctrl-C was pressed. Looks now and then only."""
        self._calls += 1
        if self._pressed or not self._calls % _EVERY:
            self.check()

    def check(self):
        while self._reads and self._stdin_is_ready(0):
            key = sys.stdin.buffer.read(1)
            if not key:
                self._stop()  # nobody is there any more
            elif key[0] == CTRL_C:
                self._pressed = True
                _modes(-1, 0)
                break
        if self._pressed:
            self._pressed = False
            raise KeyboardInterrupt

    def wait(self, duration_us, link):
        """Wait up to duration_us of wall time, less when the air link has something to read. Raises as look()."""
        if link is not self._link:
            self._link = link
            self._poller.register(link.socket, select.POLLIN)
        if duration_us < 1000:
            utime.sleep_us(duration_us)
        else:
            self._poller.poll(min(duration_us // 1000, _LONGEST_MS))
        if link is not None:
            link.poll()
        self.check()

    def _stdin_is_ready(self, wait_ms):
        return any(what is sys.stdin for what, _ in self._poller.poll(wait_ms))

    def _stop(self):
        if self._reads:
            self._reads = False
            self._poller.unregister(sys.stdin)

    def leave_to_prompt(self):
        """From here on what is typed is the prompt's, and Ctrl-C a signal."""
        self._stop()
        _modes(_ISIG, 0)


def _modes(on, off):
    """Change the local modes of the terminal; on < 0: turn over the mark that Ctrl-C was noticed."""
    try:
        modes = termios.tcgetattr(0)
    except OSError:
        return  # no terminal
    modes[_LOCAL] = modes[_LOCAL] ^ _ECHOK if on < 0 else (modes[_LOCAL] | on) & ~off
    termios.tcsetattr(0, termios.TCSANOW, modes)
