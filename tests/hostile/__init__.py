"""Messages that mean harm: nothing is lost, nothing hangs, nothing dies but for the message itself."""
