"""Why a video was not saved: what is retried, with which link, and until when.

error                what happened                                          retryable   fresh link
VideoError
|- VideoGone         the host refuses the link: 401, 403, 404, 410, 451     yes         at once
|- VideoUnavailable  network, server or connection; what came is continued  yes         after 2 failures
|  `- VideoCut       all announced bytes came, and are not a whole video    yes         after 2 failures
|- VideoRefused      private address, too large, not a video                it varies   at once
`- VideoUnwritable   the folder cannot be written                           yes         after 2 failures

`retryable` tells a person whether another try can help. The downloader retries all of these until the link has ended,
since a firewall or a login page may have refused the link. A `VideoCut` is accepted 15 minutes after completion.
"""

import contextlib
import errno
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import ClassVar

from avm_mcp.domain.next_steps import Action, NextStep


class VideoError(Exception):
    """A video was not saved.

    Attributes:
        message: What happened, in one sentence.
        retryable: Whether the same call can succeed later.
        link_at_fault: Whether a fresh link may help.
        retry_after: Seconds after which the server wants to be asked again, if it said so.
    """

    retryable: bool = False
    link_at_fault: bool = False

    def __init__(self, message: str, *, retryable: bool | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after
        if retryable is not None:
            self.retryable = retryable

    @property
    def next_step(self) -> NextStep:
        """What to do about it."""
        return Action.TRY_AGAIN() if self.retryable else Action.VIDEO_GONE()


class VideoGone(VideoError):
    """The host, or a firewall in its place, has no video under this link: 401, 403, 404, 410 or 451."""

    retryable = True
    link_at_fault = True


class VideoUnavailable(VideoError):
    """The network, the server or the connection failed. What arrived is kept and continued by the next call."""

    retryable = True


class VideoCut(VideoUnavailable):
    """All announced bytes came, and they are not a whole video. The host may have more of it later."""

    LOOKS_CUT: ClassVar[str] = "The video looks cut at the service"


class VideoRefused(VideoError):
    """The link leads to a private address, to something too large, or to something that is not a video."""

    link_at_fault = True


class VideoUnwritable(VideoError):
    """The folder cannot be written."""

    retryable = True

    @property
    def next_step(self) -> NextStep:
        """Name the command for another folder, since waiting does not help."""
        return Action.SAVE_ELSEWHERE()


_DISK_REASONS: Mapping[int, str] = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EACCES: "this program may not write there",
    errno.EPERM: "this program may not write there",
    errno.EROFS: "it is read-only",
    errno.ENOTDIR: "it is not a folder",
    errno.EEXIST: "it is not a folder",
}


@contextlib.contextmanager
def writing_to(folder: Path) -> Generator[None, None, None]:
    """Raise the system's errors about the folder as `VideoUnwritable`."""
    try:
        yield
    except OSError as error:
        reason = _DISK_REASONS.get(error.errno or 0) or error.strerror or "the system refuses"
        raise VideoUnwritable(f"The video cannot be saved in {folder}: {reason}.") from error
