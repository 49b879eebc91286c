"""Puts archived messages back on a topic, byte for byte."""
