"""Why a film was not saved, and whether it is worth another try.

FilmError               retryable
|- FilmGone             no         the link is dead
|- FilmUnavailable      yes        network, server, a cut; what arrived is continued
|  `- FilmCut           yes        all that was announced came, and it is not all of a film
|- FilmRefused          says so    a private address or too large: no; not a film: perhaps later
`- FilmUnwritable       yes        the folder; a person can change that
"""


class FilmError(Exception):
    """A film was not saved.

    Attributes:
        message: What happened, in one sentence.
        retryable: Whether the same call can succeed later.
        retry_after: Seconds until then, where the server told.
    """

    retryable: bool = False

    def __init__(self, message: str, *, retryable: bool | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after
        if retryable is not None:
            self.retryable = retryable

    @property
    def next_step(self) -> str:
        """What to do about it, as a template for `report.Face`."""
        return "try again in a minute." if self.retryable else "{model:tell the user: }the film is gone."


class FilmGone(FilmError):
    """The link is dead: 403, 404 or 410."""


class FilmUnavailable(FilmError):
    """The network, the server's state, a cut: what arrived is kept and continued by the next call."""

    retryable = True


class FilmCut(FilmUnavailable):
    """All bytes came that were announced, and they are not all of a film; the host may have more of it later."""


class FilmRefused(FilmError):
    """What is there is not taken: a private address, too large (both final), or no film (perhaps one later)."""


class FilmUnwritable(FilmError):
    """The folder cannot be written; a person can change that."""

    retryable = True

    @property
    def next_step(self) -> str:
        """Waiting does not help; `avm save` is the one face that asks."""
        return "run avm save {id} --to FOLDER with one that can be written."
