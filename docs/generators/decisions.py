"""The decisions of `backend/decisions` as pages; the overview lists them by title."""

from pathlib import Path

FOLDER = Path(__file__).parents[2] / "backend" / "decisions"


def pages() -> dict[str, str]:
    """`decisions/index.md` and a page per decision."""
    found = {path.name: path.read_text() for path in sorted(FOLDER.glob("[0-9]*.md"))}
    lines = [f"- [{text.partition(chr(10))[0].removeprefix('# ')}]({name})" for name, text in found.items()]
    overview = (FOLDER / "README.md").read_text().rstrip() + "\n\n" + "\n".join(lines) + "\n"
    return {"decisions/index.md": overview} | {f"decisions/{name}": text for name, text in found.items()}
