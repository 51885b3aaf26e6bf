# SPDX-License-Identifier: Apache-2.0
"""`mask-detector serve`: an inference server for many robots or cameras."""

import argparse
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

from mask_detector_ros.cli.command import StopRequest
from mask_detector_ros.cli.options import add_options, load_detector, option_values
from mask_detector_ros.errors import ParameterError
from mask_detector_ros.inference import GPU_BACKENDS, SERVER_BACKENDS
from mask_detector_ros.inference.cores import usable_cores
from mask_detector_ros.models import hash_networks
from mask_detector_ros.parameter_type import Parameter
from mask_detector_ros.parameters import LOCAL_PARAMETERS

MIN_INSTANCES = 2
"""With a single instance Triton's batcher sometimes misses that it became free, and a request waits
for 0.5 s (1 in 100 where each client sends its next request at once). With two it never did."""
WATCH_INTERVAL = 0.5

_TOKEN = r"[A-Za-z0-9._~+/=-]{16,}"

ADDRESS_PARAMETERS = (
    Parameter("address", "127.0.0.1", "Address of gRPC; 0.0.0.0 accepts other machines."),
    Parameter(
        "http_address",
        "127.0.0.1",
        "Address of HTTP, health checks and metrics, never encrypted.",
    ),
    *(
        Parameter(f"{kind.lower()}_port", port, f"Port of {kind}.", limits=(1, 65535))
        for kind, port in (("gRPC", 8001), ("HTTP", 8000), ("metrics", 8002))
    ),
)
LOAD_PARAMETERS = (
    Parameter(
        "instances",
        0,
        "Number of parallel detectors, each a process with one thread, or in a container on each "
        "GPU; 0 means two on a GPU, and one per core of a CPU, but at least two.",
        limits=(0, 256),
    ),
    Parameter(
        "queue_size",
        0,
        "Maximum number of waiting requests; further ones are rejected at once. 0 means two per "
        "instance.",
        limits=(0, 10_000),
    ),
    Parameter(
        "queue_limit",
        0.1,
        "Maximum time that a request waits before it is rejected.",
        limits=(0.001, 60.0),
        unit="s",
    ),
    Parameter(
        "model_name",
        "mask_detector",
        "Name of the model for clients.",
        pattern=r"[A-Za-z0-9._-]{1,100}",
        rule="up to 100 letters, digits and ._-",
    ),
)
"""The model on the server: its instances, queue and name."""


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "serve",
        help="run an inference server for many robots or cameras",
        description="Serve the detector over the network with NVIDIA Triton, which speaks the Open"
        " Inference Protocol (KServe v2) over gRPC and HTTP, with health checks and Prometheus"
        " metrics. A node uses it with server_url. Needs: make serve-env.",
    )
    add_options(parser, "network", ADDRESS_PARAMETERS)
    access = parser.add_argument_group("access")
    access.add_argument(
        "--tls-cert", default="", metavar="PEM", help="certificate of the server; enables TLS"
    )
    access.add_argument(
        "--tls-key", default="", metavar="PEM", help="private key of the server's certificate"
    )
    access.add_argument(
        "--tls-client-ca",
        default="",
        metavar="PEM",
        help="accept only clients with a certificate of this authority",
    )
    access.add_argument(
        "--token-file", default="", metavar="FILE", help="accept only clients that send this token"
    )
    add_options(parser, "load", LOAD_PARAMETERS)
    add_options(parser, "detector", LOCAL_PARAMETERS)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    # Only now: the other commands need none of it.
    from mask_detector_ros.serving.configuration import ServingOptions
    from mask_detector_ros.serving.model_repository import describe_model
    from mask_detector_ros.serving.triton_environment import find_triton
    from mask_detector_ros.serving.triton_server import TritonServer

    find_triton()
    values = option_values(arguments, LOCAL_PARAMETERS)
    serving = option_values(arguments, (*ADDRESS_PARAMETERS, *LOAD_PARAMETERS))
    if values["backend"] in SERVER_BACKENDS:
        raise ParameterError(
            f"--backend {values['backend']} is for clients; the server runs the networks itself"
        )
    certificate, key = read_certificate(arguments)
    token = read_token(arguments.token_file)
    with load_detector(arguments) as detector:
        # One process builds the engines; the instances find them in the cache.
        detector.wait_for_engines()
        on_gpu = detector.engine_state == "ready"
        labels, roles = detector.label_names, detector.label_roles
        is_switching = on_gpu and detector.backend not in GPU_BACKENDS
        where = "on a GPU" if is_switching else f"{detector.backend} on {detector.device}"
    if not on_gpu and "threads" not in vars(arguments):
        values["threads"] = 1
    least = MIN_INSTANCES if on_gpu else max(MIN_INSTANCES, usable_cores())
    serving["instances"] = instances = serving["instances"] or least
    serving["queue_size"] = serving["queue_size"] or 2 * instances
    options = ServingOptions(
        **serving,
        certificate=certificate,
        key=key,
        client_authority=find_file(arguments.tls_client_ca, "--tls-client-ca"),
        token=token,
    )
    digest = hash_networks(values["detector_model"], values["classifier_model"])
    facts = describe_model(values, labels, roles, digest)
    with StopRequest() as stop:
        try:
            with (
                stop.interrupting(),
                TritonServer(
                    options, values, facts, lambda line: print(line, file=sys.stderr)
                ) as server,
            ):
                server.wait_until_ready()
                print(
                    f"serving {options.model_name} ({values['detector_model']}, {where},"
                    f" {instances} instances): gRPC {options.address}:{options.grpc_port}"
                    f"{' with TLS' if certificate else ''}, HTTP"
                    f" {options.http_address}:{options.http_port}, metrics"
                    f" {options.http_address}:{options.metrics_port}/metrics",
                    flush=True,
                )
                if not options.is_local and not (token or options.client_authority):
                    print(
                        "warning: anyone who reaches this address is served; --token-file asks for"
                        " a token, --tls-cert encrypts",
                        file=sys.stderr,
                    )
                while True:
                    server.require_whole()
                    time.sleep(WATCH_INTERVAL)
        except KeyboardInterrupt:
            print("stopped")
    return 0


def read_certificate(arguments: argparse.Namespace) -> tuple[str, str]:
    """The paths of the TLS certificate and key for `mask-detector serve`, which belong together.

    Raises:
        ParameterError: one is missing.
    """
    if bool(arguments.tls_cert) != bool(arguments.tls_key):
        raise ParameterError("--tls-cert and --tls-key belong together; give both")
    if arguments.tls_client_ca and not arguments.tls_cert:
        raise ParameterError("--tls-client-ca needs --tls-cert and --tls-key")
    return find_file(arguments.tls_cert, "--tls-cert"), find_file(arguments.tls_key, "--tls-key")


def find_file(name: str, option: str) -> str:
    """The absolute path of a readable file for `mask-detector serve`; empty for none.

    Raises:
        ParameterError: it cannot be read.
    """
    if not name:
        return ""
    path = Path(name).expanduser().absolute()
    if not path.is_file() or not os.access(path, os.R_OK):
        raise ParameterError(f"{option}: {path} is not a readable file")
    return str(path)


def read_token(name: str) -> str:
    """Read the client token for `mask-detector serve` from a file; empty without a file.

    Raises:
        ParameterError: the file cannot be read, or holds no token.
    """
    if not name:
        return ""
    token = Path(find_file(name, "--token-file")).read_text(encoding="utf-8", errors="replace")
    if not re.fullmatch(_TOKEN, token.strip()):
        raise ParameterError(
            f"{name} must hold one token of at least 16 letters, digits or ._~+/=-; make one with:"
            " openssl rand -hex 32"
        )
    return token.strip()
