"""The machines that attack a lake for as long as asked: ``python -m tests.torture.kills``, ``...soak``."""
