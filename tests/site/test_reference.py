"""Generated pages: they say what the code does."""

from __future__ import annotations

from zerverless_site import reference, settings


def test_generated_pages_are_up_to_date() -> None:
    for path, text in reference.pages().items():
        assert path.read_text() == text, "run python -m zerverless_site.reference"


def test_every_setting_is_documented_once() -> None:
    names = [item.name for item in settings.read.declared]
    assert len(names) == len(set(names))
    page = (reference.ROOT / "docs" / "settings.md").read_text()
    assert all(f"| `{name}` |" in page for name in names)
