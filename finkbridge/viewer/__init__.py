"""Pictures of alerts: cutouts and light curve, by matplotlib, as HTML, or with characters.

`finkbridge.viewer.figure.picture` makes a PNG of a decoded alert; `view_of` is what all drawings start from.
"""

from finkbridge.viewer.history import Point
from finkbridge.viewer.view import View, view_of

__all__ = ["Point", "View", "view_of"]
