# SPDX-License-Identifier: Apache-2.0
"""The detector on the robot's head camera, with the greeter behind it."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare


def generate_launch_description() -> LaunchDescription:
    mask_launch = PathJoinSubstitution(
        [FindPackageShare("mask_detector_ros"), "launch", "mask.launch.py"]
    )
    detector = IncludeLaunchDescription(
        mask_launch,
        launch_arguments={
            # The robot starts its own camera, which publishes on /head/color/image_raw.
            "camera": "none",
            "namespace": "head",
            "image": LaunchConfiguration("image"),
        }.items(),
    )
    greeter = Node(
        package="mask_greeter",
        executable="greeter",
        namespace="head",
        remappings=[("detections", "mask_detector/detections"), ("say", "/say")],
        output="screen",
    )
    image = DeclareLaunchArgument(
        "image",
        default_value="color/image_raw",
        description="Topic of the head camera, in the namespace head unless it begins with /",
    )
    return LaunchDescription([image, detector, greeter])
