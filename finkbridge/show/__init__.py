"""``finkbridge show``: one object or alert of the lake, as text, as JSON, and as files."""
