# SPDX-License-Identifier: Apache-2.0
"""Graphs and SavedModels of TensorFlow that are special, for `make_models.py`."""

from pathlib import Path

import numpy as np
import tensorflow as tf
from keras1_models import SIDE


def write_python_saved_model(path: Path) -> None:
    @tf.function(input_signature=[tf.TensorSpec([None, SIDE, SIDE, 3], tf.float32)])
    def call_python(images):
        (rows,) = tf.py_function(lambda x: [x[:, 0, 0, :2]], [images], [tf.float32])
        return {"probabilities": rows}

    module = tf.Module()
    module.call = call_python
    tf.saved_model.save(module, path, signatures=call_python)


def write_phase_graph(path: Path) -> None:
    """Write a frozen graph of TensorFlow 1 with a placeholder for the learning phase."""
    chance = np.random.default_rng(0)
    with tf.Graph().as_default() as graph:
        images = tf.compat.v1.placeholder(tf.float32, [None, SIDE, SIDE, 3], "image")
        phase = tf.compat.v1.placeholder(tf.bool, [], "keras_learning_phase")
        means = tf.reduce_mean(images, [1, 2])
        dropped = tf.cond(phase, lambda: tf.nn.dropout(means, 0.5), lambda: means)
        weights = tf.constant(chance.normal(size=(3, 2)), tf.float32)
        tf.nn.softmax(tf.matmul(dropped, weights), name="out")
    path.write_bytes(graph.as_graph_def().SerializeToString())


def write_reaching_graphs(folder: Path) -> None:
    """Write graphs that would also write a file."""
    with tf.Graph().as_default() as graph:
        images = tf.compat.v1.placeholder(tf.float32, [None, SIDE, SIDE, 3], "image")
        rows = tf.nn.softmax(tf.reduce_mean(images, [1, 2])[:, :2], name="rows")
        saved = tf.raw_ops.SaveV2(
            prefix="/tmp/reached", tensor_names=["x"], shape_and_slices=[""], tensors=[rows]
        )
        with tf.control_dependencies([saved]):
            tf.identity(rows, name="out")
    (folder / "saving.pb").write_bytes(graph.as_graph_def().SerializeToString())

    class Writing(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, SIDE, SIDE, 3], tf.float32)])
        def call(self, images):
            tf.io.write_file("/tmp/reached", "x")
            return {"probabilities": tf.nn.softmax(tf.reduce_mean(images, [1, 2])[:, :2])}

    module = Writing()
    tf.saved_model.save(module, folder / "writing_saved", signatures=module.call)
