# SPDX-License-Identifier: Apache-2.0
"""The exceptions this package raises. Each message says what happened and what to do."""

from mask_detector_ros.redaction import hide_passwords


class MaskDetectorError(Exception):
    """Base class of the errors that this package raises; their messages hide secrets."""

    def __str__(self) -> str:
        return hide_passwords(super().__str__())


class ImageError(MaskDetectorError, ValueError):
    """An image, or an image message, cannot be used."""


class ModelError(MaskDetectorError):
    """A model file is missing, damaged, or not of the expected form."""


class BackendError(MaskDetectorError):
    """The requested inference backend cannot run on this machine."""


class ServerError(BackendError):
    """An inference server is unavailable, does not answer in time, is overloaded, or fails."""


class ParameterError(MaskDetectorError, ValueError):
    """A parameter has a wrong type or lies outside its range."""


class SourceError(MaskDetectorError):
    """A camera, video, directory or stream cannot be read, or a file cannot be written."""
