"""NVS in the flash file, in the page format of ESP-IDF, behind `esp32.NVS` (the same interface as nvs.Flash).

    board.flash = PagedFlash(chip, 0x9000, 0x6000)

Pages of 4096 bytes: a header (state, sequence number, version 0xFE, CRC), 126 × 2 bits of entry states, 126 entries of
32 bytes: namespace, type, span, chunk, CRC, key, data. A blob is chunks (0x42) and an index (0x48) that names the first
chunk's number, 0 or 0x80 in turn, so that old and new lie side by side for a moment. Source: ESP-IDF Programming
Guide, "Non-Volatile Storage Library", Internals.

The order of writing is that of ESP-IDF: the new value first, then the old one is erased; an entry, then its state. One
page is always free: when it would be used up, what is valid in the page with the most erased entries moves into it. So
a power cut at any byte leaves the old value or the new one, and `load` mends the rest. A value is durable when it is
set; `commit` only counts, as in ESP-IDF today.

Kept for `live` are i32 and blobs; what else a partition holds is carried along, and reading it is a type mismatch.
"""

import struct
from binascii import crc32, hexlify, unhexlify

from micropython import const

PAGE = const(4096)
ENTRIES = const(126)
_FIRST = const(64)
_ENTRY = const(32)
_BITMAP = const(32)
_ACTIVE, _FULL, _FREEING = 0xFFFFFFFE, 0xFFFFFFFC, 0xFFFFFFF8
_EMPTY, _WRITTEN, _ERASED = const(3), const(2), const(0)
_U8, _I32, _SZ, _BLOB, _DATA, _INDEX = const(0x01), const(0x14), const(0x21), const(0x41), const(0x42), const(0x48)
_ANY = const(0xFF)
_OTHER_VERSION = const(0x80)
_SMALL_ROOM = const(400)  # bytes: a new blob does not begin in a page with less
NO_SPACE = (-0x1105, "ESP_ERR_NVS_NOT_ENOUGH_SPACE")
_SEED = 0xFFFFFFFF


def _entry_crc(entry):
    return crc32(entry[8:32], crc32(entry[:4], _SEED))


class _Page:
    """One page: `at` its address, `data` its bytes as the flash has them."""

    def __init__(self, chip, at):
        self._chip = chip
        self.at = at
        self.load()

    def load(self):
        self.data = bytearray(self._chip.read(self.at, PAGE))
        state, self.seq = struct.unpack_from("<II", self.data)
        whole = crc32(self.data[4:28], _SEED) == struct.unpack_from("<I", self.data, 28)[0]
        if state == 0xFFFFFFFF and self.data == b"\xff" * PAGE:
            self.state = None  # empty
        elif whole and self.data[8] in (0xFE, 0xFF) and state in (_ACTIVE, _FULL, _FREEING):
            self.state = state
        else:
            self.state = 0  # what a cut left of a header or of an erased page, or something else
        self.next = 0
        if self.state:
            self.next = max((i + 1 for i in range(ENTRIES) if self.entry_state(i) != _EMPTY), default=0)

    def _program(self, offset, data):
        self._chip.program(self.at + offset, data)
        self.data[offset : offset + len(data)] = data

    def erase(self):
        self._chip.erase(self.at)
        self.data = bytearray(b"\xff" * PAGE)
        self.state = None
        self.next = 0

    def activate(self, seq):
        if self.state is not None:
            self.erase()
        head = struct.pack("<IIB", _ACTIVE, seq, 0xFE) + b"\xff" * 19
        self._program(0, head + struct.pack("<I", crc32(head[4:], _SEED)))
        self.state, self.seq = _ACTIVE, seq

    def become(self, state):
        self._program(0, struct.pack("<I", state))
        self.state = state

    def entry_state(self, index):
        return self.data[_BITMAP + (index >> 2)] >> (index & 3) * 2 & 3

    def set_states(self, first, end, state):
        """From the end on, so that the head of a value is the last to go."""
        while end > first:
            word = max(first, (end - 1) & ~15)
            offset = _BITMAP + (word >> 4) * 4
            bits = int.from_bytes(self.data[offset : offset + 4], "little")
            for index in range(word, end):
                bits &= ~((3 ^ state) << (index & 15) * 2)
            self._program(offset, (bits & 0xFFFFFFFF).to_bytes(4, "little"))
            end = word

    def entry(self, index):
        start = _FIRST + index * _ENTRY
        return bytes(self.data[start : start + _ENTRY])

    def payload(self, index):
        """What follows a head of variable length; b"" and False when it is damaged."""
        size, _, wanted = struct.unpack_from("<HHI", self.entry(index), 24)
        start = _FIRST + (index + 1) * _ENTRY
        data = bytes(self.data[start : start + size])
        return data, len(data) == size and crc32(data, _SEED) == wanted

    def used(self):
        return sum(1 for index in range(self.next) if self.entry_state(index) == _WRITTEN)

    def room(self):
        return ENTRIES - self.next

    def write(self, head, data=b""):
        """Add an item; its index. head: 32 bytes with their CRC."""
        index = self.next
        self._program(_FIRST + index * _ENTRY, head)
        self.next += 1
        self.set_states(index, self.next, _WRITTEN)
        if data:
            end = self.next + (len(data) + 31) // 32
            for part in range(0, len(data), _ENTRY):
                piece = data[part : part + _ENTRY]
                self._program(_FIRST + self.next * _ENTRY + part, piece + b"\xff" * (-len(piece) & 3))
            self.set_states(self.next, end, _WRITTEN)
            self.next = end
        return index

    def erase_item(self, index):
        span = self.entry(index)[2]
        if not 1 <= span <= ENTRIES - index:
            span = 1
        self.set_states(index, index + span, _ERASED)
        self.next = max(self.next, index + span)

    def items(self):
        """(index, head) of every whole item; what is not whole is erased on the way."""
        if self.state == _ACTIVE:
            self._tidy_end()
        index = 0
        while index < self.next:
            if self.entry_state(index) != _WRITTEN:
                if self.entry_state(index) != _ERASED:
                    self.set_states(index, index + 1, _ERASED)
                index += 1
                continue
            head = self.entry(index)
            if not self._is_whole(index, head):
                whole_head = _entry_crc(head) == struct.unpack_from("<I", head, 4)[0]
                self.erase_item(index) if whole_head else self.set_states(index, index + 1, _ERASED)
                index += 1
                continue
            yield index, head
            index += head[2]

    def _is_whole(self, index, head):
        span = head[2]
        if _entry_crc(head) != struct.unpack_from("<I", head, 4)[0] or not 1 <= span <= ENTRIES - index:
            return False
        if head[1] in (_SZ, _BLOB, _DATA):
            size = struct.unpack_from("<H", head, 24)[0]
            if span != 1 + (size + 31) // 32 or not self.payload(index)[1]:
                return False
        elif span != 1:
            return False
        return all(self.entry_state(i) == _WRITTEN for i in range(index, index + span))

    def _tidy_end(self):
        """What was written into entries that are still said to be empty."""
        for index in range(ENTRIES - 1, self.next - 1, -1):
            if self.entry(index) != b"\xff" * _ENTRY:
                first, self.next = self.next, index + 1
                self.set_states(first, self.next, _ERASED)
                return


class _Value:
    """Where a value lies: `index` (page, entry) of its number or index, `chunks` of its data."""

    def __init__(self, seq, where, kind, content, chunks=(), version=0):
        self.seq, self.where, self.kind, self.content = seq, where, kind, content
        self.chunks, self.version = chunks, version


class PagedFlash:
    """NVS at `start`, `size` bytes of a flash_file.Chip. Whatever lies there, reading it raises nothing."""

    def __init__(self, chip, start, size):
        self._chip = chip
        self._start, self._size = start, size
        self.commits = 0
        self.writes = 0
        self.wear = {}  # "namespace/key" -> writes
        self.cut_at = None  # the boot ends in the n-th operation from here
        self._load()

    @property
    def committed(self):
        """The same as `live`: what is set is in flash."""
        return self.live

    def after_reboot(self):
        """What the next boot finds; its wear goes on."""
        flash = PagedFlash(self._chip, self._start, self._size)
        flash.writes, flash.wear = self.writes, self.wear
        return flash

    def change(self, owner, namespace, key, entry):
        """Set (entry None: erase) one value; `owner` is the board whose power may end here."""
        self._operation(owner)
        while True:
            try:
                if self._change(namespace, key, entry):
                    self.writes += 1
                    name = namespace + "/" + key
                    self.wear[name] = self.wear.get(name, 0) + 1
                return
            except KeyboardInterrupt:  # a real board's NVS is C, and ends what it began
                self._load()
                self._change(namespace, key, entry)
                raise

    def commit(self, owner, namespace):
        self._operation(owner)
        self.commits += 1

    def _operation(self, owner):
        if self.cut_at is None or owner.clock.halted is not None:
            return
        self.cut_at -= 1
        if self.cut_at <= 0:
            self.cut_at = None
            self._chip.on_cut = lambda: owner.end({"event": "power_cut"})
            self._chip.left = owner.chance(64)

    # reading

    def _load(self):
        self._pages = [_Page(self._chip, self._start + at) for at in range(0, self._size, PAGE)]
        self._mend_freeing()
        self._spaces = {}  # name -> number
        self._values = {}  # (number, key) -> _Value
        self.live = {}
        chunks = {}  # (number, key, chunk) -> [(page, entry)]
        stale = []  # (page, entry)
        for page in self._in_order():
            for index, head in page.items():
                self._found(page, index, head, chunks, stale)
        for place, value in list(self._values.items()):
            if value.kind == "index":
                self._gather(place, value, chunks, stale)
        in_use = set()
        for value in self._values.values():
            in_use.update(value.chunks)
        for places in chunks.values():
            stale.extend(place for place in places if place not in in_use)
        for at, index in stale:
            self._page(at).erase_item(index)
        names = {number: name for name, number in self._spaces.items()}
        for (number, key), value in self._values.items():
            if number in names and value.kind is not None:
                self.live.setdefault(names[number], {})[key] = {value.kind: value.content}

    def _in_order(self):
        return sorted((page for page in self._pages if page.state), key=lambda page: page.seq)

    def _page(self, at):
        return self._pages[(at - self._start) // PAGE]

    def _found(self, page, index, head, chunks, stale):
        number, kind, _, chunk = head[:4]
        key = _text(head[8:24])
        where = (page.at, index)
        if number == 0:
            if kind == _U8 and 0 < head[24] < 255:
                self._spaces[key] = head[24]
            return
        if kind == _DATA:
            chunks.setdefault((number, key, chunk), []).append(where)
            return
        if kind == _I32:
            value = _Value(page.seq, where, "i32", struct.unpack_from("<i", head, 24)[0])
        elif kind == _INDEX:
            size, count, first = struct.unpack_from("<IBB", head, 24)
            value = _Value(page.seq, where, "index", (size, count), (), first)
        elif kind == _BLOB:
            value = _Value(page.seq, where, "blob", hexlify(page.payload(index)[0]).decode())
        else:
            value = _Value(page.seq, where, "other", None)
        old = self._values.get((number, key))
        if old is not None:
            value.before = old
            if old.kind != "index":
                stale.append(old.where)
        self._values[(number, key)] = value

    def _gather(self, place, value, chunks, stale):
        """Put a blob together; when it is not whole, the value before it holds, or none."""
        while value is not None and value.kind == "index":
            size, count = value.content
            data, used = b"", []
            for number in range(value.version, value.version + count):
                found = chunks.get(place + (number & 0xFF,))
                if not found:
                    break
                at, index = found[-1]
                data += self._page(at).payload(index)[0]
                used.append(found[-1])
            if len(used) == count and len(data) == size:
                value.kind, value.content, value.chunks = "blob", hexlify(data).decode(), tuple(used)
                break
            stale.append(value.where)
            value = getattr(value, "before", None)
        if value is None:
            del self._values[place]
            return
        if value.where in stale:
            stale.remove(value.where)
        self._values[place] = value
        old = getattr(value, "before", None)
        while old is not None:
            if old.where not in stale:
                stale.append(old.where)
            old = getattr(old, "before", None)

    # mending

    def _mend_freeing(self):
        """The power went while a page was being emptied: what it was copied into is thrown away, and it is done again."""
        pages = self._in_order()
        for page in pages:
            if page.state == _FREEING:
                if pages[-1].state == _ACTIVE and pages[-1] is not page:
                    pages[-1].erase()
                self._move(page)
                return
        if pages and pages[-1].state == _ACTIVE and not pages[-1].next and all(page.state for page in self._pages):
            pages[-1].erase()

    def _free(self):
        return [page for page in self._pages if not page.state]

    def _activate(self):
        pages = self._in_order()
        page = self._free()[0]
        page.activate(pages[-1].seq + 1 if pages else 0)
        return page

    def _move(self, page):
        """What is valid in `page` goes to a new one, and `page` is erased."""
        new = self._activate()
        for index, head in page.items():
            self._moved(page, index, new, new.write(head, self._body(page, index, head)))
        page.erase()
        return new

    def _body(self, page, index, head):
        start = _FIRST + (index + 1) * _ENTRY
        return bytes(page.data[start : start + (head[2] - 1) * _ENTRY])

    def _moved(self, page, index, new, new_index):
        old, where = (page.at, index), (new.at, new_index)
        for value in getattr(self, "_values", {}).values():
            if value.where == old:
                value.where = where
            if old in value.chunks:
                value.chunks = tuple(where if chunk == old else chunk for chunk in value.chunks)

    # writing

    def _active(self):
        for page in self._pages:
            if page.state == _ACTIVE:
                return page
        return self._activate()

    def _next_page(self):
        """The page in use is full: another one, after tidying up when only one is free."""
        page = self._active()
        page.become(_FULL)
        if len(self._free()) >= 2:
            return self._activate()
        best, most = None, 0
        for page in self._in_order():
            erased = ENTRIES - page.used()
            if erased > most:
                best, most = page, erased
        if best is None or not self._free():
            raise OSError(*NO_SPACE)
        best.become(_FREEING)
        return self._move(best)

    def _write(self, head, data=b""):
        """Add an item where there is room; where it lies."""
        needed = 1 + (len(data) + 31) // 32
        page = self._active()
        if page.room() < needed:
            page = self._next_page()
            if page.room() < needed:
                raise OSError(*NO_SPACE)
        return page.at, page.write(head, data)

    def _change(self, namespace, key, entry):
        """Whether anything was written."""
        keys = self.live.setdefault(namespace, {})
        if entry is not None and keys.get(key) == entry:
            return False
        number = self._number(namespace)
        old = self._values.get((number, key))
        if entry is None:
            if old is None:
                keys.pop(key, None)
                return False
            del self._values[(number, key)]
        else:
            self._values[(number, key)] = self._new(number, key, entry, old)
        if old is not None:
            for at, index in (old.where,) + tuple(old.chunks):
                self._page(at).erase_item(index)
        if entry is None:
            keys.pop(key, None)
        else:
            keys[key] = entry
        return True

    def _number(self, namespace):
        number = self._spaces.get(namespace)
        if number is None:
            used = set(self._spaces.values())
            number = next((n for n in range(1, 255) if n not in used), None)
            if number is None:
                raise OSError(*NO_SPACE)
            self._write(_head(0, _U8, 1, _ANY, namespace, bytes((number,)) + b"\xff" * 7))
            self._spaces[namespace] = number
        return number

    def _new(self, number, key, entry, old):
        if "i32" in entry:
            data = struct.pack("<i", entry["i32"]) + b"\xff" * 4
            return _Value(0, self._write(_head(number, _I32, 1, _ANY, key, data)), "i32", entry["i32"])
        blob = unhexlify(entry["blob"])
        first = 0
        if old is not None and old.kind == "blob" and old.chunks:
            first = old.version ^ _OTHER_VERSION
        chunks = []
        try:
            self._write_chunks(number, key, blob, first, chunks)
            index = struct.pack("<IBBH", len(blob), len(chunks), first, 0xFFFF)
            value = _Value(0, self._write(_head(number, _INDEX, 1, _ANY, key, index)), "blob", entry["blob"], (), first)
        except OSError:
            for at, index in self._chunk_places(number, key, first):
                self._page(at).erase_item(index)
            raise
        # Tidying up may have moved them meanwhile.
        value.chunks = tuple(self._chunk_places(number, key, first))
        return value

    def _write_chunks(self, number, key, blob, first, chunks):
        done = 0
        while done < len(blob) or not chunks:
            page = self._active()
            room = (page.room() - 1) * _ENTRY
            if room <= 0 or (not chunks and room < len(blob) and room < _SMALL_ROOM):
                page = self._next_page()
                room = (page.room() - 1) * _ENTRY
                if room <= 0 or (not chunks and room < len(blob) and room < _SMALL_ROOM):
                    raise OSError(*NO_SPACE)
            part = blob[done : done + min(room, len(blob) - done)]
            data = struct.pack("<HHI", len(part), 0xFFFF, crc32(part, _SEED))
            span = 1 + (len(part) + 31) // 32
            chunks.append(self._write(_head(number, _DATA, span, first + len(chunks), key, data), part))
            done += len(part)

    def _chunk_places(self, number, key, first):
        """Where the chunks of this version lie, in order of their numbers."""
        found = {}
        for page in self._pages:
            if page.state:
                for index, head in page.items():
                    if head[0] == number and head[1] == _DATA and (head[3] ^ first) < 0x80 and _text(head[8:24]) == key:
                        found[head[3]] = (page.at, index)
        return [found[chunk] for chunk in sorted(found)]


def _text(key):
    """The name in an entry; what is no UTF-8 is a name that nobody asks for."""
    raw = bytes(key).split(b"\0")[0]
    try:
        return raw.decode()
    except (UnicodeError, ValueError):
        return "\ufffd" + hexlify(raw).decode()


def _head(number, kind, span, chunk, key, data):
    name = key.encode()
    head = struct.pack("<BBBB", number, kind, span, chunk)
    rest = name + bytes(16 - len(name)) + data
    return head + struct.pack("<I", crc32(rest, crc32(head, _SEED))) + rest
