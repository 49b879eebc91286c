"""Every error that finkbridge raises on purpose.

Each message is one line that says what happened and what to do next. Expected outcomes (an empty
range, a rejected message) are values, not errors.

    FinkbridgeError
    |-- SettingsError            a bad setting, credentials file or argument
    |-- BrokerError              the Kafka side
    |   |-- AuthenticationError  the cluster refuses the credentials
    |   |   `-- ForbiddenError   it knows the user, who has no right to this
    |   |-- UnreachableError     no broker of the cluster answers
    |   |-- UnknownTopicError    no such topic
    |   |-- BrokerTimeoutError   the cluster answered before, and then stopped
    |   |-- RangeExpiredError    the broker no longer has the start of the range
    |   |-- GenerationError      the topic was recreated under our feet
    |   `-- RegistryError        the schema registry does not answer, or refuses
    |-- SchemaError              a writer schema that cannot be parsed or has no mapping
    |-- DecodeError              a segment's rows do not match its messages, or a message its schema
    |   `-- ClashError           fields of several schemas have no kind in common
    |-- SaveError                an alert cannot be saved as a file
    |   `-- AlertExistsError     its file is there, and may not be replaced
    |-- WorkerError              no worker process can be started
    |-- ChannelError             a chat service takes no message at all: token, channel or address
    |   |-- ChannelDownError     it does not answer or is too busy: surely nothing was posted
    |   |-- MessageRefusedError  it does not take this one message
    |   `-- NoAnswerError        it got the message and did not answer: posted or not, nobody knows
    |-- ReconciliationError      planned offsets are not all accounted for
    |-- NameTakenError           the lake has a file of this name with other content
    |-- SalvageError             what a dead run landed, and only the lake still has, cannot be committed
    `-- LakeError                the lake side
        |-- LakeBusyError        another coordinator holds the lake
        |-- LakeVersionError     the lake was made by a newer version
        |-- LakeAccessError      unwritable, full, or not there
        |   `-- NoLakeError      no drain has made it yet
        `-- CommitConflictError  the ledger moved on: nothing was changed
"""

from __future__ import annotations

from finkbridge.text import storable

SCHEMA_CHARACTERS = 600
"""Of what is said of a schema, which quotes names of it."""


class FinkbridgeError(Exception):
    """Root of all errors that finkbridge raises on purpose."""


class SettingsError(FinkbridgeError):
    """A setting, credentials file or argument is wrong."""


class BrokerError(FinkbridgeError):
    """The Kafka cluster did not do what was asked."""


class AuthenticationError(BrokerError):
    """The cluster refuses the credentials."""


class ForbiddenError(AuthenticationError):
    """The cluster knows the user, who has no right to do this."""


class UnreachableError(BrokerError):
    """No broker of the cluster answers."""


class UnknownTopicError(BrokerError):
    """The cluster has no topic of this name."""


class BrokerTimeoutError(BrokerError):
    """The cluster stopped answering in the middle of the work."""


class RangeExpiredError(BrokerError):
    """The broker no longer has the first messages of the range.

    Attributes
    ----------
    low : int
        The first offset of the partition that the broker still has.
    """

    def __init__(self, message: str, low: int) -> None:
        super().__init__(message, low)
        self.low = low

    def __str__(self) -> str:
        return str(self.args[0])


class GenerationError(BrokerError):
    """The topic was deleted or recreated after it was planned."""


class RegistryError(BrokerError):
    """The cluster's schema registry does not answer, or refuses."""


class SchemaError(FinkbridgeError):
    """A writer schema cannot be parsed, or one of its types has no mapping."""

    def __init__(self, message: str) -> None:
        super().__init__(storable(message, SCHEMA_CHARACTERS))


class NotAskedError(SchemaError):
    """Where a writer schema may be is not looked at; the text says why."""


class DecodeError(FinkbridgeError):
    """The rows that came out of a segment do not match the messages that went in, or a message its schema."""


class ClashError(DecodeError):
    """Fields are of different kinds in different schemas: they cannot be columns of one table.

    Attributes
    ----------
    columns : frozenset of str
        Their names; there may be more.
    """

    def __init__(self, message: str, columns: frozenset[str]) -> None:
        super().__init__(message)
        self.columns = columns


class SaveError(FinkbridgeError):
    """An alert cannot be saved as a file."""


class AlertExistsError(SaveError, FileExistsError):
    """The file of an alert is there already, and may not be replaced."""


class WorkerError(FinkbridgeError):
    """No worker process can be started."""


class ChannelError(FinkbridgeError):
    """A chat service takes no message from us: its token, channel or address is wrong."""


class ChannelDownError(ChannelError):
    """A chat service does not answer, or is too busy; surely nothing was posted.

    Attributes
    ----------
    wait_s : float
        Seconds that it asks to wait; 0 where it does not say.
    """

    def __init__(self, message: str, wait_s: float = 0.0) -> None:
        super().__init__(message, wait_s)
        self.wait_s = wait_s

    def __str__(self) -> str:
        return str(self.args[0])


class MessageRefusedError(ChannelError):
    """A chat service does not take this one message."""


class NoAnswerError(ChannelError):
    """A chat service got a message and did not answer: nobody knows whether it was posted."""


class ReconciliationError(FinkbridgeError):
    """Planned offsets are not all rows, quarantined messages, holes or gaps."""


class NameTakenError(FinkbridgeError):
    """The lake has a file of this name with other content, and no file is ever replaced."""


class SalvageError(FinkbridgeError):
    """What a dead run landed, and the broker no longer has, cannot be committed: it waits."""


class LakeError(FinkbridgeError):
    """The lake cannot be used as asked."""


class LakeBusyError(LakeError):
    """Another coordinator holds the lake."""


class LakeVersionError(LakeError):
    """The lake was made by a newer finkbridge."""


class LakeAccessError(LakeError):
    """The lake's folder is unwritable, full or gone."""


class NoLakeError(LakeAccessError):
    """There is no lake yet: the first drain makes it."""


class CommitConflictError(LakeError):
    """The ledger is not where this commit expected it: nothing was changed."""
