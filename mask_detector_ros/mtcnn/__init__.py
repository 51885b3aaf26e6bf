# SPDX-License-Identifier: Apache-2.0
"""MTCNN, the multi-task cascade of three networks that finds faces and five landmarks.

Zhang et al., "Joint Face Detection and Alignment using Multi-task Cascaded Convolutional
Networks", IEEE Signal Processing Letters, 2016.
"""
