"""Gates and memory bits of a core, by module."""

from bnforge import area

__all__ = ["run"]


def run(config, liberty=None):
    """The area report as plain data.

    Parameters
    ----------
    config : Config
    liberty : path, optional
        A cell library instead of the embedded generic one.
    """
    return area.report(config, liberty).to_dict()
