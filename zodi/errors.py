"""The errors that a user can act on.

    ZodiError                 one line: what was given, what is allowed, what to do; exit status 1
    ├── SettingsError         a value, a combination of values or a configuration file is wrong
    │   └── SizeError         a batch or an image is of a size that an engine's files are not made for
    ├── DataError             an image, a label, a data set or a path to one is wrong
    ├── ModelError            a model, checkpoint or bundle is missing, foreign or unsupported
    ├── EngineError           a runtime, provider, precision or device is not available
    └── OutputError           the output cannot be written, is locked, or holds other results
        └── FileNameError     the output cannot hold a file of that name

Anything else that is raised is a defect of zodi and keeps its traceback.
"""


class ZodiError(Exception):
    """A mistake that the user can mend; its message is one line that says how."""


class SettingsError(ZodiError):
    """A value, a combination of values or a configuration file is wrong."""


class SizeError(SettingsError):
    """A batch or an image is of a size that an engine's files are not made for."""


class DataError(ZodiError):
    """An image, a label, a data set or a path to one is wrong."""


class ModelError(ZodiError):
    """A model, checkpoint or bundle is missing, foreign or unsupported."""


class EngineError(ZodiError):
    """A runtime, provider, precision or device is not available."""


class OutputError(ZodiError):
    """The output cannot be written, is locked, or holds other results."""


class FileNameError(OutputError):
    """The output cannot hold a file of that name."""
