"""What Chroma's vector files hold beyond their vectors: memory that this process freed, such as the text of a talk.

hnswlib writes its whole buffer, also the places that no vector has yet, which nobody has set to anything.
"""

from __future__ import annotations

import struct
from pathlib import Path

from bakemem.disk import blank

_HEADER = struct.Struct("<i4Q")  # format, offset of the first place, places, those in use, bytes of a place
_FORMAT = 1
_LENGTH_BYTES = 4  # of each place, in length.bin


class Slack:
    """The vector files below a folder; nothing may write to them meanwhile."""

    def __init__(self) -> None:
        self._blanked: dict[Path, int] = {}  # the headers' times: Chroma writes one anew with all that is behind it

    def blank(self, folder: Path) -> bool:
        """Writes zeros over the places without a vector in what Chroma wrote since the last time; whether it wrote.

        Raises OSError.
        """
        wrote = False
        for header in folder.rglob("header.bin"):
            written = header.stat().st_mtime_ns
            if self._blanked.get(header) == written:
                continue
            content = header.read_bytes()[: _HEADER.size]
            if len(content) == _HEADER.size:
                form, offset, _, n_used, n_bytes = _HEADER.unpack(content)
                if form == _FORMAT:
                    blank(header.with_name("data_level0.bin"), offset + n_used * n_bytes)
                    blank(header.with_name("length.bin"), n_used * _LENGTH_BYTES)
            self._blanked[header], wrote = written, True
        return wrote
