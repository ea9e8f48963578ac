"""For all tests: what is compiled and fetched is kept beside pytest's own cache, never in the user's; and each begins
in the language of its environment, whatever the one before it spoke."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from nest.i18n import SPATZ_LANG, language_of_locale

os.environ["SPATZ_CACHE"] = str(Path(__file__).resolve().parents[1] / ".pytest_cache" / "spatz")
os.environ.pop(SPATZ_LANG, None)
_forget_language = language_of_locale.cache_clear


@pytest.fixture(autouse=True)
def _own_language() -> Iterator[None]:
    _forget_language()
    yield
    os.environ.pop(SPATZ_LANG, None)
    _forget_language()


@pytest.fixture
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that compare sentences."""
    monkeypatch.setattr("nest.i18n.language_of_locale", lambda: "en")
