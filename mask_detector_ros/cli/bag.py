# SPDX-License-Identifier: Apache-2.0
"""`mask-detector bag`: a bag of images in, a bag of detections out, without ROS."""

import argparse
import hashlib
import json
import sys
from dataclasses import asdict
from typing import Any

from tqdm import tqdm

from mask_detector_ros import __version__, parameters
from mask_detector_ros.cli import options
from mask_detector_ros.cli.result_files import output_path
from mask_detector_ros.errors import BackendError, SourceError
from mask_detector_ros.models import find_networks
from mask_detector_ros.sources import file_path

NOT_SEEN = (
    *("threads", "engine_cache_dir", "server_url", "server_deadline", "server_patience"),
    *("server_ca", "server_token_file", "server_certificate", "server_key"),
)
"""Parameters that make no difference to what is seen."""


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "bag",
        help="find and label the faces in the images of a bag",
        description="Write a rosbag2 (mcap) with detections, faces, summaries and annotated "
        "images for all image topics of a bag, with their original stamps. To resume "
        "an interrupted run, give the same command again. If the bag is damaged, its "
        "readable parts are processed and the exit code is 1.",
    )
    parser.add_argument("input", metavar="IN", help="rosbag2 folder, .mcap, .db3 or .bag file")
    parser.add_argument(
        "-o", "--output", metavar="OUT", required=True, help="folder of the new bag"
    )
    parser.add_argument(
        "--topics", nargs="+", default=[], metavar="TOPIC", help="process only these topics"
    )
    parser.add_argument(
        "--no-images", action="store_true", help="leave the annotated images out of the new bag"
    )
    parser.add_argument("--json", action="store_true", help="print the totals as a JSON object")
    options.add_detector_options(parser)
    options.add_options(parser, "tracking", parameters.TRACKING_PARAMETERS)
    options.add_options(parser, "drawing", parameters.DRAWING_PARAMETERS)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    try:
        from mask_detector_ros.bags.annotate_bag import process_bag
        from mask_detector_ros.bags.reading import open_bag
        from mask_detector_ros.bags.topics import choose_topics, find_depth_topics, name_results
    except ImportError as error:
        raise BackendError(
            f"bags need the libraries rosbags, zstandard and lz4 ({error}); run:"
            " pip install rosbags zstandard lz4"
        ) from error
    path, output = file_path(arguments.input), output_path(arguments.output)
    values = options.option_values(arguments, parameters.DETECTOR_PARAMETERS)
    tracking = options.option_values(arguments, parameters.TRACKING_PARAMETERS)
    with open_bag(path) as bag:
        chosen = choose_topics(bag.channels, arguments.topics, bag.others)
        depth = find_depth_topics(bag, chosen)
        for topic, encoding in depth.items():
            print(f"skipped {topic}: it holds depth images ({encoding})", file=sys.stderr)
        topics = name_results(topic for topic in chosen if topic not in depth)
        if not topics:
            raise SourceError(
                "all image topics of the bag hold depth images; give a bag with colour images"
            )
        detector = options.load_detector(arguments)
        # A changed file under the same name gives other detections.
        models = find_networks(values["detector_model"], values["classifier_model"])
        identity = {
            "version": __version__,
            "input": str(path.resolve()),
            "sizes": bag.sizes,
            "topics": topics,
            "models": [hashlib.sha256(model).hexdigest() for model in models.values()],
            **{name: value for name, value in values.items() if name not in NOT_SEEN},
            "search_every": tracking["search_every"],
        }
        total = bag.count(topics)
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            bar.update(count)  # counts nothing where there is no terminal

        with tqdm(total=total, unit="image", disable=None) as bar:
            try:
                totals = process_bag(
                    bag,
                    output,
                    topics,
                    detector,
                    identity,
                    tracking=tracking,
                    privacy=options.option_values(arguments, parameters.DRAWING_PARAMETERS)[
                        "privacy"
                    ],
                    drawings=not arguments.no_images,
                    advance=advance,
                )
            except KeyboardInterrupt:
                print(
                    f"{done} of {total} images done; give the same command again to resume",
                    file=sys.stderr,
                )
                raise
    for reason, count in totals.rejected.items():
        print(f"{count} images could not be used: {reason}", file=sys.stderr)
    for line in totals.damage:
        print(f"damaged: {line}", file=sys.stderr)
    if arguments.json:
        print(json.dumps({"output": str(output), "topics": topics, **asdict(totals)}))
    else:
        seen = options.describe_counts(totals.faces)
        people = options.describe_counts(totals.people, "nobody")
        print(
            f"{totals.images} images of {', '.join(topics)}; faces seen: {seen}; people: {people}"
        )
        print(f"written: {output}")
    return 1 if totals.damage else 0
