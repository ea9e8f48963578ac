"""The rows that a burst adds, collected and written many at a time: raw frames, readings, gaps, their places in the
outbox, and the notes that stand beside every reading (`adding.py` keeps them where the journal is not the writer).
"""

from __future__ import annotations

from typing import Any

from nest.archive.memory import Line, Memory, Node
from nest.archive.schema import DAY_MS, OPEN
from nest.archive.statements import Sql
from nest.quantities import all_quantities

_WALK = 64  # moments looked at in one go
_BITS = {quantity.name: quantity.bit for quantity in all_quantities()}


class Rows:
    """See above. `now`: ms."""

    def __init__(self, connection: Any, memory: Memory, now: int) -> None:
        self.connection, self.now = connection, now
        self._marked = memory.marked
        self.frame_id = self.seq = 0  # the last that was used
        self._counting = False
        self.frames: list[tuple[Any, ...]] = []
        self._readings: list[tuple[Any, ...]] = []
        self._outbox: list[tuple[Any, ...]] = []
        self._gaps: list[tuple[Any, ...]] = []
        self._measured: list[tuple[int, int, int]] = []
        self._days: list[tuple[int, int]] = []

    def count(self) -> None:
        """Know the numbers of frames and of the outbox, before the first row is added."""
        if not self._counting:
            self._counting = True
            self.frame_id = (self.one(Sql.last_frame) or (0,))[0] or 0
            self.seq = (self.one(Sql.last_seq) or (0,))[0] or 0

    def one(self, statement: str, *parameters: Any) -> Any:
        return self.connection.execute(statement, parameters).fetchone()

    def frame_moment(self, node: Node, moment: int) -> int:
        """`moment`, or the next millisecond at which this node has no frame: each keeps a moment of its own, though a
        gateway that comes back delivers a whole night at one."""
        line = node.frames
        if moment > line.newest:
            line.run = line.newest = moment
            return moment
        if moment >= line.run:
            line.newest += 1
            return line.newest
        return self._free_moment(line, Sql.frame_times, node.id, moment)

    def reading(
        self,
        node: Node,
        moment: int,
        origin: int,
        heard: int | None,
        packed: bytes,
        names: tuple[str, ...],
        frame_id: int | None,
    ) -> int:
        """One reading, measured at `moment` and brought by a frame heard at `heard`; it stands at the moment that is
        returned, and in the outbox under the number `seq`."""
        line = node.readings or self._load(node)
        newest = line.newest
        if moment > newest:
            line.run = line.newest = moment
        elif moment >= line.run:
            moment = line.newest = newest + 1
        else:
            moment = self._free_moment(line, Sql.reading_times, node.id, moment)
        if names != node.names:
            self._note_measured(node, names, moment, newest)
        self.mark(node, moment)
        self._readings.append((node.id, moment, origin, None if heard is None else heard - moment, packed))
        self.seq += 1
        self._outbox.append((self.seq, node.id, moment, frame_id))
        return moment

    def gap(self, session_id: int, node: Node, fcnt: int, part: int, time: int, state: int = OPEN) -> None:
        """A slot whose reading did not come, unless it is known as one."""
        self._gaps.append((session_id, fcnt, part, node.id, time, self.now, state, self.now))
        self.mark(node, time)

    def mark(self, node: Node, time: int) -> None:
        """Something has changed on that day."""
        day = node.id, time // DAY_MS
        if day not in self._marked:
            self._marked.add(day)
            self._days.append(day)

    def flush(self) -> None:
        """Write what was collected, so that the database can be asked."""
        executemany = self.connection.executemany
        for statement, rows in (
            (Sql.insert_frame, self.frames),
            (Sql.insert_reading, self._readings),
            (Sql.insert_outbox, self._outbox),
            (Sql.insert_gap, self._gaps),
        ):
            if rows:
                executemany(statement, rows)
                rows.clear()
        if self._measured:
            executemany(Sql.insert_measured, self._measured)
            executemany(Sql.raise_measured, [(time, node, bit, time) for node, bit, time in self._measured])
            self._measured.clear()
        if self._days:
            new = executemany(Sql.insert_day, [(*day, True) for day in self._days])
            if new.rowcount < len(self._days):
                executemany(Sql.mark_day, [(True, *day) for day in self._days])
            self._days.clear()

    def _load(self, node: Node) -> Line:
        """Ask for a node's newest reading. None of its rows waits here: they come after this."""
        return node.loaded(*(self.one(Sql.newest_reading, node.id) or (None, None)))

    def _note_measured(self, node: Node, names: tuple[str, ...], moment: int, newest: int) -> None:
        """As `adding.note_measured`."""
        line = node.readings
        if line is not None and moment == line.newest:
            gone, moment, node.names = [name for name in node.names if name not in names], newest, names
        else:
            gone = [name for name in names if name not in node.names]
        self._measured += [(node.id, _BITS[name], moment) for name in gone]

    def _free_moment(self, line: Line, times: str, node_id: int, moment: int) -> int:
        self.flush()
        while moment < line.run:
            last = min(moment + _WALK, line.run) - 1
            found = {row[0] for row in self.connection.execute(times, (node_id, moment, last))}
            for free in range(moment, last + 1):
                if free not in found:
                    return free
            moment = last + 1
        line.newest += 1
        return line.newest
