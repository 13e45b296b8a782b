"""The core of a configuration: the one-pass normaliser, or a baseline."""

__all__ = ["core"]


def core(config, **options):
    """The component that ``config`` describes; ``options`` as of :class:`.Top` and :class:`.SweepCore`."""
    if config.is_one_pass:
        from .top import Top
        return Top(config, **options)
    from .sweeps.core import SweepCore
    return SweepCore(config, **options)
