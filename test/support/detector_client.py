# SPDX-License-Identifier: Apache-2.0
"""A client of the detector node for tests, with ROS alone."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import SetParametersAtomically
from sensor_msgs.msg import Image
from waiting import wait_until

from benchmark.processes import happens

NODE = "/mask_detector"


def make_image(pixels: np.ndarray, encoding: str = "bgr8", sec: int = 1, nanosec: int = 0) -> Image:
    message = Image(encoding=encoding, height=pixels.shape[0], width=pixels.shape[1])
    message.step = pixels[0].nbytes if len(pixels) else 0
    message.data.frombytes(pixels.tobytes())
    message.header.stamp.sec, message.header.stamp.nanosec = sec, nanosec
    message.header.frame_id = "camera"
    return message


def busy_image(sec: int = 1) -> Image:
    """An image of noise so large that the detector takes seconds."""
    noise = np.random.default_rng(0).integers(0, 256, (3000, 4000, 3), np.uint8)
    return make_image(cv2.GaussianBlur(noise, (9, 9), 0), sec=sec)


def drain(images: Any, detections: list[Any], image: Image | None = None) -> None:
    """Publish images until the last one's detections are there: no earlier result is on its way."""
    image = image or make_image(np.zeros((48, 64, 3), np.uint8), sec=0)
    patience = 0.25

    def is_last_heard() -> bool:
        nonlocal patience
        patience *= 2
        image.header.stamp.nanosec += 1
        images.publish(image)
        stamp = image.header.stamp
        return bool(happens(lambda: detections and detections[-1].header.stamp == stamp, patience))

    wait_until(is_last_heard, what="the detections of the last image")
    detections.clear()


def change_state(client: Any, transition: int) -> bool:
    request = ChangeState.Request(transition=Transition(id=transition))
    return bool(client.call(ChangeState, f"{NODE}/change_state", request).success)


def state(client: Any) -> str:
    return str(client.call(GetState, f"{NODE}/get_state", GetState.Request()).current_state.label)


def set_parameter(client: Any, name: str, **value: Any) -> Any:
    kinds = {
        "bool_value": 1,
        "integer_value": 2,
        "double_value": 3,
        "string_value": 4,
        "double_array_value": 8,
    }
    ((field, content),) = value.items()
    parameter = Parameter(name=name, value=ParameterValue(type=kinds[field], **{field: content}))
    request = SetParametersAtomically.Request(parameters=[parameter])
    return client.call(SetParametersAtomically, f"{NODE}/set_parameters_atomically", request).result
