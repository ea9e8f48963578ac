"""The node's log: what is in it is found, whatever fails while it is written."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false

import struct

from expect import equal, raises
from node.log import FILE_SIZE, FILES, NOWHERE, Log
from node_fakes import Files, Reset

PAYLOAD = bytes.fromhex("0f65ce39a776")


def a_log(files, packed=b""):
    return Log(packed, "log", files.open, files.mkdir)


def fill(log, count, session=7, first=0):
    for fcnt in range(first, first + count):
        log.append(session, fcnt, 3600 * fcnt, 0x81, PAYLOAD[:2] + struct.pack(">I", fcnt))


def found(log, session, first, count):
    """[(FCnt, part)], the rest being as `fill` has written it."""
    result = []
    for fcnt, part, when, flags, payload in log.find(session, first, count):
        equal((when, flags, payload), (3600 * fcnt & 0xFFFFFFFF, 0x81, PAYLOAD[:2] + struct.pack(">I", fcnt)))
        result.append((fcnt, part))
    return result


def check_what_was_written_is_found():
    files = Files()
    log = a_log(files)
    fill(log, 600)
    for first, count in ((0, 1), (599, 1), (0, 600), (190, 255), (598, 10), (600, 5)):
        expected = [(fcnt, 0) for fcnt in range(first, min(600, first + count))]
        equal(found(log, 7, first, count), expected, (first, count))
        equal(found(a_log(files), 7, first, count), expected, "without a memory of it")
        equal(found(a_log(files, log.pack()), 7, first, count), expected)
    equal(found(log, 8, 0, 100), [], "another session")


def check_thirty_days_are_there_in_64_kilobytes():
    files = Files()
    log = a_log(files)
    fill(log, 4 * 2880)
    assert sum([len(data) for data in files.data.values()]) <= 65536
    equal((len(files.data), max([len(data) for data in files.data.values()]) <= FILE_SIZE), (FILES, True))
    last = 4 * 2880
    equal(found(log, 7, last - 2880, 2880), [(fcnt, 0) for fcnt in range(last - 2880, last)])
    equal(found(log, 7, 0, 255), [], "overwritten")
    equal(log.writes, 4 * 2880)


def check_the_log_goes_on_after_a_wake_and_after_a_power_cut():
    files = Files()
    log = a_log(files)
    packed = b""
    for fcnt in range(700):
        log = a_log(files, b"" if fcnt % 50 == 0 else packed)
        fill(log, 1, 7, fcnt)
        packed = log.pack()
        equal(len(packed), 15)
    equal(found(log, 7, 0, 700), [(fcnt, 0) for fcnt in range(700)])
    equal(log.writes, 700)


def check_a_stale_memory_of_it_does_no_harm():
    """A reset after a record was written and before RTC memory knew of it."""
    files = Files()
    log = a_log(files)
    fill(log, 3)
    stale = log.pack()
    fill(log, 300, 7, 3)
    log = a_log(files, stale)
    fill(log, 1, 7, 303)
    equal(found(log, 7, 0, 1000), [(fcnt, 0) for fcnt in range(304)])
    files = Files()  # another flash
    log = a_log(files, stale)
    fill(log, 1, 7, 9)
    equal(found(log, 7, 0, 1000), [(9, 0)])


def check_a_stale_memory_of_a_file_that_was_full():
    """The record that began the next file was longer than the one after the reset: that one would fit here."""
    for count in range(200, 256):
        files = Files()
        log = a_log(files)
        fill(log, count)
        stale = log.pack()
        log.append(7, count, 0, 0x81, PAYLOAD + bytes(15))
        log = a_log(files, stale)
        log.append(7, count + 1, 0, 0x81, PAYLOAD)
        fill(log, 250, 7, count + 2)
        rows = [row[0] for row in log.find(7, 0, 1000)]
        equal(rows, list(range(count + 252)), count)


def check_a_start_counts_what_is_not_sent_in_two_files():
    files = Files()
    log = a_log(files)
    fill(log, 200)
    for _ in range(60):
        log.append(7, 200, 0, 5, PAYLOAD)
    equal((len(files.data), log.unsent), (2, 59))
    later = a_log(files)
    later.append(7, 200, 0, 5, PAYLOAD)
    equal((later.unsent, later.writes), (60, 261))
    for count in range(238, 242):  # only an amendment in the newest file
        files = Files()
        log = a_log(files)
        fill(log, count)
        log.amend(7, count)
        later = a_log(files)
        later.load()
        equal((later.boot, later.slot), (1, (7, count)), count)


def check_readings_that_were_never_sent_are_parts_of_the_next_frame():
    files = Files()
    log = a_log(files)
    for when, slot in enumerate((NOWHERE, NOWHERE, NOWHERE)):
        log.append(slot[0], slot[1], when, 1, PAYLOAD)
    equal(log.unsent, 2)
    log.amend(7, 0)  # it joined
    again = a_log(files)
    again.load()
    equal((log.unsent, again.unsent), (2, 2))
    log.append(7, 1, 3, 1, PAYLOAD)
    log.append(7, 1, 4, 1, PAYLOAD)
    equal(log.unsent, 1)
    log.amend(7, 2)  # MAC answers took the frame
    log.append(7, 3, 5, 1, PAYLOAD)
    equal(log.unsent, 0)
    log.append(7, 4, 6, 1, PAYLOAD)
    rows = [row[:3] for row in log.find(7, 0, 4)]
    equal(rows, [(0, 1, 0), (0, 2, 1), (0, 0, 2), (2, 1, 3), (2, 0, 4), (3, 0, 5)])
    equal([row[:3] for row in log.find(7, 2, 1)], [(2, 1, 3), (2, 0, 4)])


def check_amended_across_two_files():
    for before in range(180, 260):  # somewhere here the first file is full
        files = Files()
        log = a_log(files)
        fill(log, before)
        log.append(7, before, 99, 1, PAYLOAD)
        log.amend(7, before + 1)
        log.append(7, before + 2, 100, 1, PAYLOAD)
        log.append(7, before + 3, 101, 1, PAYLOAD)
        rows = [row[:3] for row in log.find(7, before, 3)]
        equal(rows, [(before + 1, 0, 99), (before + 2, 0, 100)], before)


def check_sessions_and_counters_that_come_round():
    files = Files()
    log = a_log(files)
    fill(log, 400, 7, 0)
    fill(log, 400, 8, 0)
    log.append(9, 0xFFFE, 0, 1, PAYLOAD)
    for fcnt in (0xFFFF, 0x10000, 0x10001, 0x10002):
        log.append(9, fcnt, 0, 1, PAYLOAD)
    equal(found(log, 7, 390, 20), [(fcnt, 0) for fcnt in range(390, 400)])
    equal(found(log, 8, 0, 255), [(fcnt, 0) for fcnt in range(255)])
    equal([row[0] for row in log.find(9, 0xFFFF, 3)], [0xFFFF, 0, 1])


def cut(log, count, first):
    try:
        fill(log, count, 7, first)
    except Reset:
        return


def check_power_cut_at_every_byte():
    """Only the reading that is being written may be lost, and the log goes on behind it."""
    base = Files()
    fill(a_log(base), 210)  # near the end of a file, so that the cuts meet an old and a new one
    size = 3 + 8 + len(PAYLOAD)
    done = 0
    while True:
        files = Files()
        files.folders = list(base.folders)
        files.data = dict(base.data)
        log = a_log(files)
        files.cut_at = done
        cut(log, 25, 210)
        if files.cut_at is not None:
            break
        log = a_log(files)
        log.load()
        before = [row[0] for row in log.find(7, 0, 1000)]
        equal(before, list(range(len(before))), done)
        assert len(before) >= 210 + done // size - 2, (done, len(before))
        fill(log, 3, 7, 500)
        again = a_log(files, log.pack() if done % 2 else b"")
        fill(again, 1, 7, 503)
        equal([row[0] for row in again.find(7, 0, 1000)], before + [500, 501, 502, 503], done)
        done += 1
    assert done > 20 * size


def check_power_cut_after_power_cut_costs_no_room():
    """Torn ends are written over: a weak battery does not push old readings out."""
    files = Files()
    log = a_log(files)
    fill(log, 20)
    for _ in range(1000):
        files.cut_at = 7
        cut(a_log(files), 1, 20)
    equal(len(files.data), 1)
    equal(found(a_log(files), 7, 0, 100), [(fcnt, 0) for fcnt in range(20)])


def check_a_damaged_record_costs_itself_alone():
    files = Files()
    log = a_log(files)
    fill(log, 20)
    good = files.data["log/1.bin"]
    for at in range(14 + 5 * 17, 14 + 6 * 17 - 1):  # all of the sixth but its length
        files.data["log/1.bin"] = good[:at] + bytes((good[at] ^ 0x20,)) + good[at + 1 :]
        equal([row[0] for row in a_log(files).find(7, 0, 20)], [0, 1, 2, 3, 4] + list(range(6, 20)), at)


def check_rubbish_in_the_files_is_no_reading():
    files = Files()
    files.folders.append("log")
    for index in range(FILES):
        files.data[f"log/{index}.bin"] = bytes([(index * 31 + at * at) & 0xFF for at in range(300)])
    log = a_log(files)
    equal(list(log.find(7, 0, 255)), [])
    fill(log, 5)
    equal(found(a_log(files), 7, 0, 255), [(fcnt, 0) for fcnt in range(5)])


def check_flash_that_fails_is_said_and_survived():
    files = Files()
    log = a_log(files)
    fill(log, 5)
    files.trouble = OSError(28)
    for broken in (lambda: fill(log, 1, 7, 5), lambda: list(log.find(7, 0, 5))):
        raises(OSError, broken)
    equal(log.pack(), b"")
    files.trouble = None
    fill(log, 1, 7, 5)
    equal(found(log, 7, 0, 10), [(fcnt, 0) for fcnt in range(6)])
