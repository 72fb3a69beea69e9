"""Why a film was not saved, and whether it is worth another try.

FilmError               retryable  link at fault
|- FilmGone             yes        yes   the host has no film under this link: a firewall may say so, or it is signed
|                                        and has run out; a fresh link, or time, helps until the service deletes it
|- FilmUnavailable      yes        no    network, server, a cut; what arrived is continued
|  `- FilmCut           yes        no    all that was announced came, and it is not all of a film
|- FilmRefused          says so    yes   the link itself is private, or the film too large: no; a name that leads to a
|                                        private address, a redirect, what is no film: a login page's, so yes
`- FilmUnwritable       yes        no    the folder; a person can change that

None of them says that a film is lost: only the end of its link does, which `archive` knows.
"""

from typing import ClassVar


class FilmError(Exception):
    """A film was not saved.

    Attributes:
        message: What happened, in one sentence.
        retryable: Whether the same call can succeed later.
        link_at_fault: Whether a fresh link may help.
        retry_after: Seconds until then, where the server told.
    """

    retryable: bool = False
    link_at_fault: bool = False
    gone: ClassVar[str] = "{model:tell the user: }the film is gone."

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


class FilmGone(FilmError):
    """The host has no film under this link, as it says or as something in its place does: 401, 403, 404, 410, 451."""

    retryable = True
    link_at_fault = True


class FilmUnavailable(FilmError):
    """The network, the server's state, a cut: what arrived is kept and continued by the next call."""

    retryable = True


class FilmCut(FilmUnavailable):
    """All bytes came that were announced, and they are not all of a film; the host may have more of it later."""

    says: ClassVar[str] = "The film looks cut at the service"


class FilmRefused(FilmError):
    """What is there is not taken: a private address, too large, or no film."""

    link_at_fault = True


class FilmUnwritable(FilmError):
    """The folder cannot be written; a person can change that."""

    retryable = True

    @property
    def next_step(self) -> str:
        """Waiting does not help; `avm save` is the one face that asks."""
        return "run avm save {id} --to FOLDER with one that can be written."
