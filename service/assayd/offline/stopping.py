"""The one way in which a run ends early on purpose."""


class Stopped(Exception):
    """The run cannot go on, and the message tells a person what to do. What is journalled stays."""
