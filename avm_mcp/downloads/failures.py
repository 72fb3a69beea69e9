"""Why a video was not saved: what is retried, with which link, and until when.

error              what happened                                          retried   fresh link   until
VideoError
|- VideoGone       the host refuses the link: 401, 403, 404, 410, 451     yes       at once      the link ends
|- VideoUnavailable  network, server error, broken connection; what       yes       after some   the link ends
|  |                 arrived is kept and continued                                  failures
|  `- VideoCut     all announced bytes came and are not a whole video     yes       no           15 min, then accepted
|- VideoRefused    private address, not a video, too large                if it     at once      the link ends
|                                                                         may pass
`- VideoUnwritable the folder cannot be written                           yes       no           the link ends

`retryable` tells a person who asks whether another try can help. The downloader itself retries everything until the
link's end, since what refuses a link may be a firewall or a login page (`downloader.py`).
"""

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
