"""Fetching one file over HTTP, going on where an earlier attempt stopped."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any

from behaviorzoo.errors import UserError

_CHUNK = 1 << 20


class ResumableDownload:
    """Downloader in the form that pooch calls, ``(url, output_file, pooch)``, with ranges.

    Args:
        target: Final name; the part is ``NAME.part`` beside it.
        size: Number of bytes that the file must have, ``None`` if not known.
        progress: Show a bar.
        timeout: Seconds without any data after which the connection counts as lost.
        attempts: How often in a row a connection that brings nothing is tried again.
        pause: Seconds before a new attempt, doubled each time.
    """

    def __init__(
        self,
        target: Path,
        size: int | None,
        progress: bool,
        timeout: float,
        attempts: int,
        pause: float,
    ):
        self.part = target.with_name(target.name + ".part")
        self.note = target.with_name(target.name + ".part.json")
        self.size, self.progress = size, progress
        self.timeout, self.attempts, self.pause = timeout, attempts, pause

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        """Fetch ``url`` and move it to ``output_file`` once all of it is here."""
        failures = 0
        while True:
            before = self._have()
            try:
                complete = self._receive(url)
            except urllib.error.HTTPError as error:
                if error.code < 500 and error.code != 429:
                    raise UserError(
                        f"{url}: the server answers {error.code} {error.reason}; "
                        "the publisher may have moved the file, look at its record"
                    ) from error
                complete, reason = False, f"server answers {error.code} {error.reason}"
            except (urllib.error.URLError, TimeoutError, ConnectionError, HTTPException) as error:
                complete, reason = False, str(getattr(error, "reason", error)) or repr(error)
            else:
                reason = "the connection ended early"
            if complete:
                break
            failures = 0 if self._have() > before else failures + 1
            if failures >= self.attempts:
                raise UserError(
                    f"{url}: cannot download ({reason}); check the connection and call again, "
                    f"the {self._have():,} bytes that are here are kept"
                )
            time.sleep(self.pause * 2 ** max(failures - 1, 0))
        os.replace(self.part, output_file)
        self.note.unlink(missing_ok=True)

    def _receive(self, url: str) -> bool:
        """Append what the server sends to the part file; whether it is complete now."""
        have, version = self._have(), self._version(url)
        if have and version is None:
            have = 0  # of another address, or nothing tells whether the server's file changed
        headers = {"User-Agent": "behaviorzoo", "Accept-Encoding": "identity"}
        if have:
            # If-Range: the rest of the same file, or all of a new one; never a mixture.
            headers |= {"Range": f"bytes={have}-", "If-Range": str(version)}
        request = urllib.request.Request(url, headers=headers)
        try:
            response: HTTPResponse = urllib.request.urlopen(request, timeout=self.timeout)
        except urllib.error.HTTPError as error:
            if error.code == 416 and have:
                return self._past_the_end(error)
            raise
        with response:
            if response.status != 206:
                have = 0
            total = self._total(response, have)
            self._remember(url, response)
            _check_space(self.part, (total or have) - have)
            self._append(response, have, total)
        if total is not None and self._have() > total:
            self.part.unlink()
            raise UserError(f"{url}: more bytes arrived than the {total:,} announced; try again")
        return total is None or self._have() == total

    def _append(self, response: HTTPResponse, have: int, total: int | None) -> None:
        from tqdm import tqdm

        name = self.part.name.removesuffix(".part")
        bar = tqdm(
            desc=name,
            total=total,
            initial=have,
            unit="B",
            unit_scale=True,
            disable=not self.progress,
        )
        with bar, self.part.open("r+b" if have else "wb") as out:
            out.seek(have)
            while chunk := response.read(_CHUNK):
                out.write(chunk)
                bar.update(len(chunk))

    def _total(self, response: HTTPResponse, have: int) -> int | None:
        """Size of the whole file as the server tells it, checked against the known one."""
        length = response.headers.get("Content-Length")
        total = have + int(length) if length and length.isdigit() else None
        if self.size is not None and total is not None and total != self.size:
            raise UserError(
                f"{response.url}: the server offers {total:,} bytes, but the file that was "
                f"published has {self.size:,}; look at the publisher's record"
            )
        return self.size if total is None else total

    def _past_the_end(self, error: urllib.error.HTTPError) -> bool:
        """Answer 416: the part is complete, or longer than the server's file: start over."""
        length = re.search(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""))
        if length and int(length[1]) == self._have() and self.size in (None, self._have()):
            return True
        self.part.unlink()
        return False

    def _have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _version(self, url: str) -> str | None:
        """Mark of the server's file that the part belongs to, if it is of this address."""
        try:
            note = json.loads(self.note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return note.get("version") if note.get("url") == url else None

    def _remember(self, url: str, response: HTTPResponse) -> None:
        etag = response.headers.get("ETag", "")
        # A weak ETag promises no equal bytes, so it must not be used to join two halves.
        version = etag if etag.startswith('"') else response.headers.get("Last-Modified")
        self.note.parent.mkdir(parents=True, exist_ok=True)
        self.note.write_text(json.dumps({"url": url, "version": version}), encoding="utf-8")


def _check_space(path: Path, needed: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise UserError(
            f"{path.parent}: {needed:,} bytes are needed and {free:,} are free; free some space, "
            "what has arrived is kept"
        )
