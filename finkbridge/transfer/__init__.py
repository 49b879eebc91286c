"""Transfers: a finite topic, whole, into a plain folder or into the lake, with a proof at the end.

`finkbridge.transfer.request` says what is asked for, `finkbridge.transfer.run` does it.
"""
