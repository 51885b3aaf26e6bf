"""The exceptions this package raises. Each message says what happened and what to do."""


class MaskDetectorError(Exception):
    """Base of every error raised on purpose by this package."""


class ImageError(MaskDetectorError, ValueError):
    """An image, or a message that should carry one, cannot be used."""


class ModelError(MaskDetectorError):
    """A model file is missing, damaged, or not of the expected form."""


class BackendError(MaskDetectorError):
    """An inference backend was asked for that cannot serve on this machine."""


class ParameterError(MaskDetectorError, ValueError):
    """A parameter has a wrong type or lies outside its range."""


class SourceError(MaskDetectorError):
    """A camera, video, directory or stream cannot be read, or a file cannot be written."""
