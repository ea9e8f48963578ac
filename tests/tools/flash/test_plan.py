"""What becomes of a board's keys, case by case; and that nothing is ever written over keys that stay."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nest import keys as nest_keys
from nest.registry import Former, Provisioned
from spatz.flash.plan import SECTOR, TABLE_AT, Keys, Probe, is_our_log, judge, make_plan, used_parts
from spatz.flash.worker import Refused, keep_nvs_whole
from spatz.images.filesystem import filesystem_image, read_filesystem
from spatz.images.layout import Layout, Region, layout_of
from spatz.images.nvs_image import Identity, identity_of, nvs_image, read_nvs
from spatz.troubles import Trouble

from tests.tools.flash.tables import table_of

MAC = bytes.fromhex("f412fa0b1c2d")
DEV_EUI = bytes.fromhex("f412fafffe0b1c2d")
JOIN_EUI = bytes.fromhex("0200000000000001")
KEY = bytes(range(16))
OTHER_KEY = bytes(range(16, 32))
MIB = 1 << 20
NVS, SMALL_NVS = Region(0x9000, 0x6000), Region(0x9000, 0x4000)
PLAIN = table_of(nvs=NVS)
OTA = table_of(nvs=SMALL_NVS)
NEW = layout_of(PLAIN, "esp32s3", 8 * MIB)
BLANK = b"\xff" * 0x6000

KNOWN = Provisioned("amsel", DEV_EUI, JOIN_EUI, KEY, dev_nonce=0, join_nonce=0, new=False)
OURS = Identity(DEV_EUI, JOIN_EUI, KEY)


WAS_OURS = Former("amsel", nest_keys.mark(DEV_EUI, KEY), retired=False)
WAS_HERE = Former("amsel", nest_keys.mark(DEV_EUI, OTHER_KEY), retired=False)


def board(nvs: bytes = BLANK, table: bytes = PLAIN, mac: bytes = MAC) -> Probe:
    head = table.ljust(0x1000, b"\xff") + nvs
    return Probe("esp32s3", mac, 8 * MIB, head=head.ljust(0x8000, b"\xff"))


def of(identity: Identity) -> bytes:
    return nvs_image(identity, NVS.size)


def noise(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311


def torn(nvs: bytes) -> bytes:
    """As a cut in the middle of writing it leaves it."""
    return nvs[:100].ljust(len(nvs), b"\xff")


def test_dev_eui_is_the_chips_mac() -> None:
    assert board().dev_eui == DEV_EUI


@pytest.mark.parametrize(
    ("probe", "known", "options", "expected"),
    [
        pytest.param(board(of(OURS)), KNOWN, {}, Keys.KEPT, id="a, it is ours"),
        pytest.param(board(of(OURS), table=BLANK), KNOWN, {}, Keys.KEPT, id="a, table lost in a cut"),
        pytest.param(board(of(OURS), table=PLAIN[:40]), KNOWN, {}, Keys.KEPT, id="a, table torn in a cut"),
        pytest.param(board(), KNOWN, {}, Keys.AGAIN, id="b, erased by somebody"),
        pytest.param(board(torn(of(OURS))), KNOWN, {}, Keys.AGAIN, id="b, cut while keys were written"),
        pytest.param(board(of(replace(OURS, app_key=OTHER_KEY))), KNOWN, {}, Keys.AGAIN, id="b, the key was rotated"),
        pytest.param(board(of(replace(OURS, join_eui=bytes(8)))), KNOWN, {}, Keys.AGAIN, id="b, another JoinEUI"),
        pytest.param(board(of(OURS)), replace(KNOWN, dev_nonce=7), {}, Keys.AGAIN, id="b, it has forgotten its joins"),
        pytest.param(
            board(of(replace(OURS, dev_nonce=1024))), replace(KNOWN, dev_nonce=1024), {}, Keys.KEPT, id="a, after b"
        ),
        pytest.param(
            board(of(replace(OURS, dev_eui=bytes(8)))), KNOWN, {}, Keys.AGAIN, id="b, a copy of another board's flash"
        ),
        pytest.param(board(of(OURS)), None, {}, "other_town", id="c, it belongs to another town"),
        pytest.param(board(of(OURS)), None, {"take_over": True}, Keys.TAKEN_OVER, id="c, and is taken over"),
        pytest.param(board(of(OURS)), None, {"former": WAS_OURS}, Keys.NEW, id="d, removed here"),
        pytest.param(board(of(OURS)), None, {"former": WAS_HERE}, "other_town", id="c, removed here, then given away"),
        pytest.param(board(), None, {}, Keys.NEW, id="d, from the factory"),
        pytest.param(board(noise(1).randbytes(0x6000)), None, {}, Keys.NEW, id="d, another program's"),
        pytest.param(board(table=BLANK), None, {}, Keys.NEW, id="d, an empty flash"),
        pytest.param(board(table=OTA), None, {}, Keys.NEW, id="d, divided in another way"),
        pytest.param(board(torn(of(OURS))), None, {}, Keys.NEW, id="d, nobody's, damaged"),
        pytest.param(board(of(OURS)), KNOWN, {"erase": True}, Keys.ERASED, id="e"),
        pytest.param(board(of(OURS)), None, {"erase": True}, Keys.ERASED, id="e, another town's"),
        pytest.param(board(of(OURS), table=OTA), KNOWN, {"erase": True}, Keys.ERASED, id="e, divided in another way"),
        pytest.param(board(of(OURS)[:0x4000], table=OTA), KNOWN, {}, "wrong_layout", id="keys would lie elsewhere"),
        pytest.param(board(table=OTA), KNOWN, {}, Keys.AGAIN, id="b, divided in another way"),
    ],
)
def test_rules(probe: Probe, known: Provisioned | None, options: dict[str, Any], expected: Keys | str) -> None:
    if isinstance(expected, Keys):
        assert judge(probe, NEW, known, **options) is expected
    else:
        with pytest.raises(Trouble) as caught:
            judge(probe, NEW, known, **options)
        assert caught.value.kind == expected


@pytest.mark.parametrize(
    ("probe", "known", "former", "ours"),
    [
        pytest.param(board(of(OURS)), KNOWN, None, True, id="our node"),
        pytest.param(board(of(OURS), table=BLANK), KNOWN, None, True, id="our node, its table lost in a cut"),
        pytest.param(board(of(replace(OURS, app_key=OTHER_KEY))), KNOWN, None, True, id="its key was rotated"),
        pytest.param(board(), KNOWN, None, True, id="its keys erased by somebody"),
        pytest.param(board(of(OURS)), None, WAS_OURS, True, id="removed here, its key still on it"),
        pytest.param(
            board(of(replace(OURS, join_eui=bytes(8)))), KNOWN, None, False, id="it was in another town since"
        ),
        pytest.param(board(of(replace(OURS, dev_eui=bytes(8)))), KNOWN, None, False, id="a copy of another's flash"),
        pytest.param(board(of(OURS)), None, None, False, id="another town's"),
        pytest.param(board(of(OURS)), None, WAS_HERE, False, id="removed here, then given away"),
        pytest.param(board(of(OURS)), None, Former("amsel", None, retired=False), False, id="here once, key unknown"),
        pytest.param(board(), None, None, False, id="nobody's"),
        pytest.param(board(), None, WAS_OURS, False, id="here once, nobody knows where since"),
    ],
)
def test_whose_log_it_is(probe: Probe, known: Provisioned | None, former: Former | None, ours: bool) -> None:
    assert is_our_log(probe, NEW, known, former) is ours


@given(data=st.data(), known=st.sampled_from([KNOWN, None]))
@settings(max_examples=200, deadline=None)
def test_damaged_nvs_is_kept_whole_or_written_again(data: st.DataObject, known: Provisioned | None) -> None:
    """Whatever bytes lie there: keys are kept only if they can be read, and then they are the right ones."""
    nvs = bytearray(of(OURS))
    for _ in range(data.draw(st.integers(0, 20))):
        nvs[data.draw(st.integers(0, 600))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.sampled_from([len(nvs), data.draw(st.integers(0, 700))]))
    left = bytes(nvs[:cut]).ljust(len(nvs), b"\xff")
    there = identity_of(read_nvs(left))
    if known is None and there is not None and there.dev_eui == DEV_EUI:
        with pytest.raises(Trouble):
            judge(board(left), NEW, known)
        return
    keys = judge(board(left), NEW, known)
    if keys is Keys.KEPT:
        assert there is not None
        assert there.app_key == KEY
        assert there.dev_eui == DEV_EUI
    else:
        assert keys is (Keys.AGAIN if known else Keys.NEW)
        assert there != OURS


PROGRAM = [(0, b"\xe9" * 0x5000), (TABLE_AT, PLAIN.ljust(SECTOR, b"\xff")), (0x10000, b"\xe9" * 0x21000)]
FILES = filesystem_image({"main.py": b"print(1)", "log/1": bytes(9000)}, 256 * SECTOR)


def test_kept_keys_are_not_written_over() -> None:
    plan = make_plan(Keys.KEPT, NEW, PROGRAM, None, FILES)
    for at, data in plan.parts:
        assert at >= NVS.end or at + len(data) <= NVS.offset
    keep_nvs_whole(plan.parts, plan.nvs, keys=False, erase_all=False)  # raises nothing


def test_new_keys_come_right_after_the_table_and_clear_what_lay_there() -> None:
    layout = layout_of(OTA, "esp32s3", 8 * MIB)
    ota_data = (0xD000, b"\xff" * 0x2000)
    plan = make_plan(Keys.NEW, layout, [*PROGRAM, ota_data], of(OURS)[:0x4000], FILES)
    assert [at for at, _ in plan.parts][:4] == [TABLE_AT, 0x9000, 0, layout.app.offset]
    assert plan.parts[1][1] == of(OURS)[:0x4000].ljust(layout.app.offset - 0x9000, b"\xff")
    ends = sorted((at, at + len(data)) for at, data in plan.parts)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(ends))


@pytest.mark.parametrize(
    ("parts", "fields"),
    [
        ([(0x9000, b"\xff" * 0x6000)], {}),
        ([(0x8000, b"\xff" * 0x1001)], {}),
        ([(0xE800, b"\xff")], {}),
        ([(0x0, b"\xff" * 0x200000)], {}),
        ([(0x10000, b"\xff")], {"erase_all": True}),
        ([(0x9000, b"\xff" * 0x5000)], {"erase_all": True, "keys": True}),
    ],
)
def test_the_worker_refuses_to_touch_keys_unasked(parts: list[tuple[int, bytes]], fields: dict[str, bool]) -> None:
    with pytest.raises(Refused):
        keep_nvs_whole(parts, (0x9000, 0x6000), **{"keys": False, "erase_all": False, **fields})


@pytest.mark.parametrize("seed", range(5))
def test_what_is_not_written_does_not_matter(seed: int) -> None:
    """The new files are there, and only they, whatever filesystem was on the board before."""
    source = noise(seed)
    size = 128 * SECTOR
    old = {
        f"{source.choice(('', 'node/', 'log/'))}old{at}": source.randbytes(source.randrange(9000)) for at in range(60)
    }
    flash = bytearray(filesystem_image(old, size))
    new = {
        f"{source.choice(('', 'node/', 'log/'))}new{at}": source.randbytes(source.randrange(5000)) for at in range(30)
    }
    parts = used_parts(filesystem_image(new, size), 0)
    assert sum(len(data) for _, data in parts) < size // 2
    for at, data in parts:
        flash[at : at + len(data)] = data
    assert read_filesystem(bytes(flash), size) == new


def test_layout_is_what_the_tests_say() -> None:
    assert isinstance(NEW, Layout)
    assert NEW.nvs == NVS
