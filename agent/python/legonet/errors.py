"""The protocol's statuses as exceptions: one class each, all of them Error.

`status` is the protocol's name; the text is the agent's sentence, or this package's where the agent was not asked.
"""


class Error(Exception):
    """What all of them are."""

    status = "E_INTERNAL"

    def __str__(self):
        return super().__str__() or self.status


class NoMemoryError(Error, MemoryError):
    """The agent is out of memory."""
    status = "E_NOMEM"


class InvalidError(Error, ValueError):
    """The request contradicts itself or lacks something."""
    status = "E_INVALID"


class IoError(Error, OSError):
    """A file or the socket cannot be read or written."""
    status = "E_IO"


class NotFoundError(Error, LookupError):
    """No such socket, model, version, input, output or region."""
    status = "E_NOT_FOUND"


class ExistsError(Error):
    """The name is taken."""
    status = "E_EXISTS"


class PermissionDeniedError(Error, PermissionError):
    """This user, or this memory, may not."""
    status = "E_PERMISSION"


class FormatError(Error, ValueError):
    """Not a valid message or file."""
    status = "E_FORMAT"


class ChecksumError(Error):
    """A model's file is damaged."""
    status = "E_CHECKSUM"


class VersionError(Error):
    """A model's file needs a newer agent."""
    status = "E_VERSION"


class UnsupportedError(Error):
    """A call, parameter, datatype or model that the agent does not offer."""
    status = "E_UNSUPPORTED"


class LimitError(Error):
    """Over a limit: frame, memory, regions."""
    status = "E_LIMIT"


class OverflowedError(Error, OverflowError):
    """Sizes whose product does not fit."""
    status = "E_OVERFLOW"


class ShapeError(Error, ValueError):
    """An input's shape is not what the model takes."""
    status = "E_SHAPE"


class DatatypeError(Error, TypeError):
    """An input's datatype is not what the model takes."""
    status = "E_TYPE"


class MismatchError(Error):
    """A model's self-test does not give what it should."""
    status = "E_MISMATCH"


class StateError(Error):
    """Not possible now: there is nothing to go back to, or nothing to wait for."""
    status = "E_STATE"


class FaultError(Error):
    """The model's file changed under the agent: load it again."""
    status = "E_FAULT"


class UnavailableError(Error):
    """Nobody listens, the model does not serve, or the agent is stopping."""
    status = "E_UNAVAILABLE"


class ExhaustedError(Error):
    """A queue or quota is full: try again later."""
    status = "E_EXHAUSTED"


class DeadlineError(Error, TimeoutError):
    """Its deadline passed while it waited, or no answer came in time."""
    status = "E_DEADLINE"


class CancelledError(Error):
    """Cancelled, or overtaken by a newer request of its stream."""
    status = "E_CANCELLED"


class ConfigError(Error):
    """The agent's configuration is wrong."""
    status = "E_CONFIG"


class ClosedError(Error, ConnectionError):
    """The connection broke; reconnect() makes a new one."""
    status = "E_CLOSED"


class InternalError(Error):
    """The agent's trouble; also statuses that this package does not know."""
    status = "E_INTERNAL"


BY_STATUS = {cls.status: cls for cls in Error.__subclasses__()}


def from_status(status, message):
    """The exception of a status' name."""
    return BY_STATUS.get(status, InternalError)(message or "the agent refuses")
