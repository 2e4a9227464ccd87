"""How a benchmark puts its figures into a page of docs/. Knows no figures."""

from __future__ import annotations

from pathlib import Path

DOCS = Path(__file__).parent.parent.parent / "docs"


def write_block(page: str, name: str, text: str) -> None:
    """Replaces what stands in the page between `<!-- name -->` and `<!-- end of name -->`."""
    path, begin, end = DOCS / page, f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, _, rest = path.read_text(encoding="utf-8").partition(begin)
    path.write_text(f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}", encoding="utf-8")
