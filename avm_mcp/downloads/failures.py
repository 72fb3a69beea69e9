"""Why a video was not saved, and whether it is worth another try.

VideoError               retryable  link at fault
|- VideoGone             yes        yes   the host has no video under this link: a firewall may say so, or it is signed
|                                        and has run out; a fresh link, or time, helps until the service deletes it
|- VideoUnavailable      yes        no    network, server, a cut; what arrived is continued
|  `- VideoCut           yes        no    all that was announced came, and it is not all of a video
|- VideoRefused          says so    yes   the link itself is private, or the video too large: no; a name that leads to a
|                                        private address, a redirect, what is no video: a login page's, so yes
`- VideoUnwritable       yes        no    the folder; a person can change that

None of them says that a video is lost: only the end of its link does, which `archive` knows.
"""

from typing import ClassVar


class VideoError(Exception):
    """A video was not saved.

    Attributes:
        message: What happened, in one sentence.
        retryable: Whether the same call can succeed later.
        link_at_fault: Whether a fresh link may help.
        retry_after: Seconds until then, where the server told.
    """

    retryable: bool = False
    link_at_fault: bool = False
    gone: ClassVar[str] = "{model:tell the user: }the video is gone."

    def __init__(self, message: str, *, retryable: bool | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after
        if retryable is not None:
            self.retryable = retryable

    @property
    def next_step(self) -> str:
        """What to do about it, as a template for `report.Face`."""
        return "try again in a minute." if self.retryable else self.gone


class VideoGone(VideoError):
    """The host has no video under this link, as it says or as something in its place does: 401, 403, 404, 410, 451."""

    retryable = True
    link_at_fault = True


class VideoUnavailable(VideoError):
    """The network, the server's state, a cut: what arrived is kept and continued by the next call."""

    retryable = True


class VideoCut(VideoUnavailable):
    """All bytes came that were announced, and they are not all of a video; the host may have more of it later."""

    says: ClassVar[str] = "The video looks cut at the service"


class VideoRefused(VideoError):
    """What is there is not taken: a private address, too large, or no video."""

    link_at_fault = True


class VideoUnwritable(VideoError):
    """The folder cannot be written; a person can change that."""

    retryable = True

    @property
    def next_step(self) -> str:
        """Waiting does not help; `avm save` is the one face that asks."""
        return "run avm save {id} --to FOLDER with one that can be written."
