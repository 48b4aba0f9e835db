"""Logs of containers: one file for each run of a container, with the time of each line."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

__all__ = ["Log", "LogQuery"]

# A line without end must not fill the memory.
_LONGEST_LINE = 1024 * 1024


@dataclass(frozen=True)
class LogQuery:
    """Which part of a log is wanted, as the API says it.

    Attributes:
        follow: Go on with what is yet to come.
        tail: The number of lines from the end; None for all.
        since: Only lines from this time on (UTC, RFC 3339, comparable as text); empty for all.
        timestamps: Put each line's time before it.
        limit: The number of bytes to stop after; None for no limit.
        previous: The log of the run before the last restart.
    """

    follow: bool = False
    tail: int | None = None
    since: str = ""
    timestamps: bool = False
    limit: int | None = None
    previous: bool = False

    @classmethod
    def of(cls, query: Mapping[str, str]) -> LogQuery:
        """Read the parameters of a request for a container's log.

        Raises:
            ValueError: A number or a time is none.
        """
        since = ""
        if "sinceSeconds" in query:
            start = datetime.now(timezone.utc) - timedelta(seconds=int(query["sinceSeconds"]))
            since = start.strftime("%Y-%m-%dT%H:%M:%S.%f")
        elif "sinceTime" in query:
            start = datetime.fromisoformat(query["sinceTime"].replace("Z", "+00:00"))
            since = start.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")
        return cls(
            follow=query.get("follow") == "true",
            tail=int(query["tailLines"]) if "tailLines" in query else None,
            since=since,
            timestamps=query.get("timestamps") == "true",
            limit=int(query["limitBytes"]) if "limitBytes" in query else None,
            previous=query.get("previous") == "true",
        )


def _now() -> bytes:
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{nanoseconds:09}Z".encode()


class Log:
    """The output of one run of a container: written by the kubelet, read by any number of clients.

    A record of the file is the time, a space and the line.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, empty."""
        self.path = path
        self._file = path.open("wb", buffering=0)
        self._rest = b""
        self._grown = asyncio.Event()
        self._closed = False

    async def copy(self, output: asyncio.StreamReader) -> None:
        """Append what a process writes, until it and all its children have closed `output`."""
        while chunk := await output.read(65536):
            self._append(chunk)

    def _append(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > _LONGEST_LINE:
            lines.append(self._rest)
            self._rest = b""
        if lines:
            now = _now()
            self._file.write(b"".join(b"%s %s\n" % (now, line) for line in lines))
            self._wake()

    def close(self) -> None:
        """End the log; who follows it gets the rest and the end."""
        if self._closed:
            return
        if self._rest:
            self._append(b"\n")
        self._file.close()
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        self._grown.set()
        self._grown = asyncio.Event()

    async def read(self, query: LogQuery) -> AsyncIterator[bytes]:
        """Yield the log in pieces as `query` wants it."""
        left = query.limit
        async for records in self._records(query):
            lines = records if query.timestamps else [record.partition(b" ")[2] for record in records]
            data = b"".join(line + b"\n" for line in lines)[:left]
            if data:
                yield data
            if left is not None:
                left -= len(data)
                if left <= 0:
                    return

    async def _records(self, query: LogQuery) -> AsyncIterator[list[bytes]]:
        """Yield records of the file, at first those that `tail` and `since` leave."""
        with self.path.open("rb") as file:
            since = query.since.encode()
            records = [record for record in _split(file.read()) if record >= since]
            yield records if query.tail is None else records[max(0, len(records) - query.tail) :]
            while query.follow:
                grown, closed = self._grown, self._closed
                if new := _split(file.read()):
                    yield new
                elif closed:
                    return
                else:
                    await grown.wait()


def _split(data: bytes) -> list[bytes]:
    return data.split(b"\n")[:-1]
