"""A folder of audio files with one table per part.

<root>/train.tsv      first line: audio<TAB>text, and optionally speaker, id, start, end (seconds), channel (from 1)
<root>/a/b/c.wav      `a/b/c.wav` in the table
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from augmem.audio import channel_index
from augmem.corpus.manifests import CorpusUtterance
from augmem.corpus.reader import CorpusReader
from augmem.errors import UserError
from augmem.skipped import SkipLog
from augmem.tables import read_table


class Folder(CorpusReader):
    """Reads <root>/<part>.tsv."""

    def __init__(self, root: Path) -> None:
        """List the tables.

        Raises:
            FileNotFoundError: there is none.
        """
        self.tables = {path.stem: path for path in sorted(root.glob("*.tsv"))}
        if not self.tables:
            raise FileNotFoundError(
                f"{root}: no *.tsv in it; write train.tsv there: a line `audio<TAB>text`, then one line per file"
            )

    def names(self) -> tuple[str, ...]:
        return tuple(self.tables)

    def utterances(self, part: str, skipped: SkipLog) -> Iterator[CorpusUtterance]:
        table = self.tables[part]
        for number, row in read_table(table, ("audio", "text"), skipped.error):
            try:
                yield _utterance(table, number, row)
            except UserError as error:
                skipped.error(str(error))


def _utterance(table: Path, number: int, row: dict[str, str]) -> CorpusUtterance:
    origin = f"{table}:{number}"
    start, end = _seconds(row, "start", origin), _seconds(row, "end", origin)
    if not Path(row["audio"]).name:
        raise UserError(f"{origin}: column audio is empty; give a file, or remove the line")
    audio = Path(row["audio"]).with_suffix("")
    name = _without_spaces("-".join(audio.relative_to(audio.anchor).parts))
    return CorpusUtterance(
        id=_without_spaces(row.get("id", "")) or name,
        audio=table.parent / row["audio"],
        text=row["text"],
        speaker=_without_spaces(row.get("speaker", "")) or name,
        origin=origin,
        start=start or 0.0,
        end=end,
        recording=name if start or end is not None or row.get("channel") else "",
        channel=_channel(row, origin),
    )


def _channel(row: dict[str, str], origin: str) -> int | None:
    cell = row.get("channel", "").strip()
    try:
        return channel_index(cell) if cell else None
    except UserError as error:
        raise UserError(f"{origin}: {error}") from error


def _without_spaces(name: str) -> str:
    """Replace white space, which separates fields in CTM and in Kaldi's files."""
    return "_".join(name.split())


def _seconds(row: dict[str, str], column: str, origin: str) -> float | None:
    cell = row.get(column)
    try:
        return float(cell) if cell else None
    except ValueError as error:
        raise UserError(f"{origin}: {cell!r} is not a time in seconds") from error
