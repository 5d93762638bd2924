"""A folder of audio with one table per part: the plainest way to bring one's own speech.

<root>/train.tsv      first line: audio<TAB>text, and if wanted speaker, id, start, end (seconds)
<root>/a/b/c.wav      named `a/b/c.wav` in the table
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from augmem.corpus.manifests import Utterance
from augmem.corpus.skips import SkipList
from augmem.corpus.source import Parts, parts_by_name
from augmem.corpus.tables import read_table


class Folder:
    """Every <part>.tsv in `root` is a part."""

    def __init__(self, root: Path) -> None:
        """Look at the folder.

        Raises:
            FileNotFoundError: there is no table in it.
        """
        self.tables = {path.stem: path for path in sorted(root.glob("*.tsv"))}
        if not self.tables:
            raise FileNotFoundError(
                f"{root}: no *.tsv in it; write train.tsv there: a line `audio<TAB>text`, then one line per file"
            )

    def names(self) -> tuple[str, ...]:
        return tuple(self.tables)

    def defaults(self) -> Parts:
        return parts_by_name(self.names())

    def utterances(self, part: str, skips: SkipList) -> Iterator[Utterance]:
        table = self.tables[part]
        for number, row in read_table(table, ("audio", "text"), skips.fault):
            origin = f"{table}:{number}"
            try:
                start, end = _seconds(row.get("start")) or 0.0, _seconds(row.get("end"))
            except ValueError as error:
                skips.fault(f"{origin}: {error}")
                continue
            if not Path(row["audio"]).name:
                skips.fault(f"{origin}: no file in column audio; name one, or remove the line")
                continue
            audio = Path(row["audio"]).with_suffix("")
            name = _joined("-".join(audio.relative_to(audio.anchor).parts))
            yield Utterance(
                id=_joined(row.get("id", "")) or name,
                audio=table.parent / row["audio"],
                text=row["text"],
                speaker=_joined(row.get("speaker", "")) or name,
                origin=origin,
                start=start,
                end=end,
                recording=name if start or end is not None else "",
            )


def _joined(name: str) -> str:
    """Without white space, which would end a name in CTM and in Kaldi's files."""
    return "_".join(name.split())


def _seconds(cell: str | None) -> float | None:
    try:
        return float(cell) if cell else None
    except ValueError as error:
        raise ValueError(f"{cell!r} is not a time in seconds") from error
