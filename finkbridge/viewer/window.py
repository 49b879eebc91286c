"""Alerts in a window, where matplotlib finds a toolkit and a display."""

from __future__ import annotations

from collections.abc import Iterable

from matplotlib import pyplot as plt
from matplotlib.backends import BackendFilter, backend_registry

from finkbridge.viewer.figure import SIZE_INCHES, figure_of
from finkbridge.viewer.view import View


def has_window() -> bool:
    """Tell whether a window can be opened."""
    backends = backend_registry.list_builtin(BackendFilter.INTERACTIVE)
    return plt.get_backend().lower() in {name.lower() for name in backends}


def show(views: Iterable[View]) -> None:
    """Show alerts one after the other, each until its window is closed."""
    for view in views:
        figure = plt.figure(figsize=SIZE_INCHES, layout="constrained", num=view.title)
        figure_of(view, figure)
        plt.show(block=True)
        plt.close(figure)
