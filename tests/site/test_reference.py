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


def test_pages_agree_on_the_unit_of_the_deadline() -> None:
    """A function that takes milliseconds for seconds never sees its deadline pass."""
    pages = (reference.ROOT / "docs").glob("*.md")
    said = [
        line
        for page in pages
        for line in page.read_text().splitlines()
        if "ZERVERLESS_DEADLINE" in line
    ]
    assert said
    assert all("milliseconds" in line for line in said)
