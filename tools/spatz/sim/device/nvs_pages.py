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
from nvs_page import (
    ACTIVE,
    BLOB,
    DATA,
    ENTRIES,
    ENTRY,
    FREEING,
    FULL,
    I32,
    INDEX,
    SEED,
    SIZE,
    U8,
    Page,
    head_of,
    text,
)

_ANY = const(0xFF)
_OTHER_VERSION = const(0x80)
_SMALL_ROOM = const(400)  # bytes: a new blob does not begin in a page with less
NO_SPACE = (-0x1105, "ESP_ERR_NVS_NOT_ENOUGH_SPACE")


class _Value:
    """Where a value lies: `index` (page, entry) of its number or index, `chunks` of its data."""

    def __init__(self, where, kind, content, chunks=(), version=0):
        self.where, self.kind, self.content, self.chunks, self.version = where, kind, content, chunks, version
        self.before = None


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
        if self.live.get(namespace, {}).get(key) == entry:
            return
        pressed = None
        while True:
            try:
                if pressed:
                    self._load()
                self._change(namespace, key, entry)
                break
            except KeyboardInterrupt as error:  # a real board's NVS is C, and ends what it began
                pressed = error
        self.writes += 1
        name = namespace + "/" + key
        self.wear[name] = self.wear.get(name, 0) + 1
        if pressed:
            raise pressed

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
        self._pages = [Page(self._chip, self._start + at) for at in range(0, self._size, SIZE)]
        self._spaces = {}  # name -> number
        self._values = {}  # (number, key) -> _Value
        self._fresh = []  # the chunks of a blob that is being written
        self.live = {}
        self._mend_freeing()
        chunks = {}  # (number, key, chunk) -> [(page, entry)]
        found = set()  # (page, entry)
        for page in self._in_order():
            for index, head in page.items():
                self._found(page, index, head, chunks, found)
        in_use = set()
        for place, value in list(self._values.items()):
            value = self._gather(place, value, chunks)
            if value is None:
                del self._values[place]
            else:
                self._values[place] = value
                value.before = None
                in_use.add(value.where)
                in_use.update(value.chunks)
        for at, index in found - in_use:
            self._page(at).erase_item(index)
        names = {number: name for name, number in self._spaces.items()}
        for (number, key), value in self._values.items():
            if number in names and value.kind is not None:
                self.live.setdefault(names[number], {})[key] = {value.kind: value.content}

    def _in_order(self):
        return sorted((page for page in self._pages if page.state), key=lambda page: page.seq)

    def _page(self, at):
        return self._pages[(at - self._start) // SIZE]

    def _found(self, page, index, head, chunks, found):
        number, kind, _, chunk = head[:4]
        key = text(head[8:24])
        where = (page.at, index)
        if number == 0:
            if kind == U8 and 0 < head[24] < 255:
                self._spaces[key] = head[24]
            return
        found.add(where)
        if kind == DATA:
            chunks.setdefault((number, key, chunk), []).append(where)
            return
        if kind == I32:
            value = _Value(where, "i32", struct.unpack_from("<i", head, 24)[0])
        elif kind == INDEX:
            size, count, first = struct.unpack_from("<IBB", head, 24)
            value = _Value(where, "index", (size, count), (), first)
        elif kind == BLOB:
            value = _Value(where, "blob", hexlify(page.payload(index)[0]).decode())
        else:
            value = _Value(where, "other", None)
        value.before = self._values.get((number, key))
        self._values[(number, key)] = value

    def _gather(self, place, value, chunks):
        """Put a blob together. Returns what holds for `place`: when it is not whole the value before it, or None."""
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
            value = value.before
        return value

    # mending

    def _mend_freeing(self):
        """The power went while a page was being emptied: it is done again, into a page that is erased first."""
        pages = self._in_order()
        for page in pages:
            if page.state == FREEING:
                if pages[-1].state == ACTIVE:
                    pages[-1].erase()
                if self._free():
                    self._move(page)
                return
        if pages and pages[-1].state == ACTIVE and not pages[-1].next and all(page.state for page in self._pages):
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
            self._moved(page, index, new, new.write(head, page.body(index, head)))
        page.erase()
        return new

    def _moved(self, page, index, new, new_index):
        old, where = (page.at, index), (new.at, new_index)
        for value in self._values.values():
            if value.where == old:
                value.where = where
            if old in value.chunks:
                value.chunks = tuple(where if chunk == old else chunk for chunk in value.chunks)
        self._fresh = [where if chunk == old else chunk for chunk in self._fresh]

    # writing

    def _active(self):
        """The page that is written to, None when there is none yet."""
        for page in self._pages:
            if page.state == ACTIVE:
                return page
        return None

    def _next_page(self):
        """Another page to write to, after tidying up when only one is free."""
        page = self._active()
        if page:
            page.become(FULL)
        if len(self._free()) >= 2:
            return self._activate()
        best, most = None, 0
        for page in self._in_order():
            erased = ENTRIES - page.used()
            if erased > most:
                best, most = page, erased
        if best is None or not self._free():
            raise OSError(*NO_SPACE)
        best.become(FREEING)
        return self._move(best)

    def _with_room(self, enough):
        """A page for which enough(bytes that a value may have in it) holds."""
        page = self._active() or self._next_page()
        for _ in self._pages:
            if enough((page.room() - 1) * ENTRY):
                return page
            page = self._next_page()
        raise OSError(*NO_SPACE)

    def _write(self, head):
        """Add an item without data; where it lies."""
        page = self._with_room(lambda room: room >= 0)
        return page.at, page.write(head)

    def _change(self, namespace, key, entry):
        keys = self.live.setdefault(namespace, {})
        if keys.get(key) == entry:
            return
        number = self._number(namespace)
        old = self._values.get((number, key))
        new = None if entry is None else self._new(number, key, entry, old)
        if old is not None:
            for at, index in (old.where,) + tuple(old.chunks):
                self._page(at).erase_item(index)
        if new is None:
            self._values.pop((number, key), None)
            keys.pop(key, None)
        else:
            self._values[(number, key)] = new
            keys[key] = entry

    def _number(self, namespace):
        number = self._spaces.get(namespace)
        if number is None:
            used = set(self._spaces.values())
            number = next((n for n in range(1, 255) if n not in used), None)
            if number is None:
                raise OSError(*NO_SPACE)
            self._write(head_of(0, U8, 1, _ANY, namespace, bytes((number,)) + b"\xff" * 7))
            self._spaces[namespace] = number
        return number

    def _new(self, number, key, entry, old):
        """Write a value beside the old one."""
        if "i32" in entry:
            data = struct.pack("<i", entry["i32"]) + b"\xff" * 4
            return _Value(self._write(head_of(number, I32, 1, _ANY, key, data)), "i32", entry["i32"])
        blob = unhexlify(entry["blob"])
        first = old.version ^ _OTHER_VERSION if old is not None and old.chunks else 0
        self._fresh = []
        try:
            self._write_chunks(number, key, blob, first)
            data = struct.pack("<IBBH", len(blob), len(self._fresh), first, 0xFFFF)
            where = self._write(head_of(number, INDEX, 1, _ANY, key, data))
        except OSError:
            for at, index in self._fresh:
                self._page(at).erase_item(index)
            raise
        return _Value(where, "blob", entry["blob"], tuple(self._fresh), first)

    def _write_chunks(self, number, key, blob, first):
        done = 0
        while done < len(blob) or not self._fresh:
            left = len(blob) - done
            least = min(left, 1 if self._fresh else _SMALL_ROOM)
            page = self._with_room(lambda room: room >= least)  # noqa: B023 - called at once
            size = min(left, (page.room() - 1) * ENTRY)
            part = blob[done : done + size]
            data = struct.pack("<HHI", size, 0xFFFF, crc32(part, SEED))
            head = head_of(number, DATA, 1 + (size + 31) // 32, first + len(self._fresh), key, data)
            self._fresh.append((page.at, page.write(head, part)))
            done += size
