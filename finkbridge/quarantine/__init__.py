"""What a person does about messages that could not be decoded: look, save, send through again, accept."""

from finkbridge.quarantine.contents import Contents
from finkbridge.quarantine.export import export
from finkbridge.quarantine.requeue import RequeueReport, accept, requeue
from finkbridge.quarantine.show import Shown, show

__all__ = ["Contents", "RequeueReport", "Shown", "accept", "export", "requeue", "show"]
