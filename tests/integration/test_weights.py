"""Where an encoder's weights come from, and what happens when they cannot be had."""

from __future__ import annotations

import http.server
import threading

import keras
import numpy as np
import pytest
from keras.src.applications import mobilenet_v2 as keras_mobilenet_v2

from segbatch.errors import InputError
from segbatch.models.build import build
from segbatch.models.mobilenet_v2 import MobileNetV2
from segbatch.models.weights import ensure_weights, fetch
from segbatch.spec.network import Model
from tests.support.encoders import Small
from tests.support.published import write_published

pytestmark = pytest.mark.tensorflow

REFUSED = "http://127.0.0.1:9"
"""A proxy that refuses every connection: nothing is fetched from afar."""


def equal(first, second):
    return len(first) == len(second) and all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.fixture(scope="module")
def small():
    keras.utils.set_random_seed(11)
    return Small().backbone(3)


@pytest.fixture(scope="module")
def mobilenet():
    keras.utils.set_random_seed(11)
    return MobileNetV2().backbone(3)


@pytest.fixture
def offline(monkeypatch, tmp_path):
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, REFUSED)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras home"))
    return tmp_path / "keras home" / "models"


def taken(backbone, encoder):
    """The part of a backbone that the decoder takes."""
    return keras.Model(backbone.inputs[0], [backbone.get_layer(tap).output for tap in encoder.taps])


def test_no_weights_need_nothing(offline):
    assert ensure_weights(Model(encoder="mobilenet_v2")) is None
    assert not offline.exists()


@pytest.mark.parametrize("name", ["mine.weights.h5", "mine.keras", "mine.h5"])
@pytest.mark.parametrize("part", ["backbone", "taps"])
def test_weights_file(tmp_path, small, name, part):
    saved, path = small if part == "backbone" else taken(small, Small), tmp_path / name
    saved.save_weights(path) if name == "mine.weights.h5" else saved.save(path)
    settings = Model(encoder="small", weights=str(path), input=(32, 32))
    assert ensure_weights(settings) == path
    model = build(settings, bands=3, channels=1, seed=0)
    assert equal(model.get_layer("small").get_weights(), taken(small, Small).get_weights())


def test_imagenet_weights_from_the_cache(offline, mobilenet):
    offline.mkdir(parents=True)
    path = offline / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_128_no_top.h5"
    write_published(path, mobilenet)
    settings = Model(encoder="mobilenet_v2", weights="imagenet")
    assert ensure_weights(settings) == path
    model = build(settings, bands=3, channels=1, seed=0)
    assert equal(model.get_layer("mobilenet_v2").get_weights(), taken(mobilenet, MobileNetV2).get_weights())
    with pytest.raises(InputError, match=r"expected images of 3 bands for ImageNet weights, received data\.bands 4"):
        build(settings, bands=4, channels=1, seed=0)


@pytest.mark.parametrize("size", [(160, 160), (64, 96)])
@pytest.mark.filterwarnings("ignore:`input_shape` is undefined or non-square")
def test_published_file_is_the_one_that_keras_would_fetch(monkeypatch, size):
    class Asked(Exception):  # noqa: N818
        pass

    def get_file(name, url, cache_subdir):
        raise Asked(name, url, cache_subdir)

    monkeypatch.setattr(keras_mobilenet_v2.file_utils, "get_file", get_file)
    with pytest.raises(Asked) as asked:
        keras.applications.MobileNetV2(input_shape=(*size, 3), include_top=False)
    published = MobileNetV2().published(size)
    assert asked.value.args == (published.name, published.url, "models")


def test_imagenet_weights_out_of_reach(offline):
    with pytest.raises(InputError) as caught:
        ensure_weights(Model(encoder="mobilenet_v2", weights="imagenet", input=(96, 96)))
    name = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_96_no_top.h5"
    url = f"https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/{name}"
    message = str(caught.value)
    assert f"curl -fL --create-dirs -o '{offline / name}' {url}" in message
    assert f"folder: {offline} " in message
    assert "`weights: null`" in message
    assert list(offline.iterdir()) == []


def test_missing_weights_file(tmp_path):
    with pytest.raises(InputError, match=r"none\.keras: no such file"):
        ensure_weights(Model(encoder="mobilenet_v2", weights=str(tmp_path / "none.keras")))
    (tmp_path / "weights.pt").touch()
    with pytest.raises(InputError, match=r"expected a name ending in \.keras"):
        ensure_weights(Model(encoder="mobilenet_v2", weights=str(tmp_path / "weights.pt")))


@pytest.mark.parametrize(
    "kind",
    [
        "other.weights.h5",
        "other.keras",
        "part.weights.h5",
        "bands.weights.h5",
        "published.h5",
        "torn.h5",
        "text.weights.h5",
    ],
)
def test_weights_that_do_not_fit(tmp_path, small, kind):
    path = tmp_path / kind
    other = build(Model(filters=4, depth=2, input=(32, 32)), bands=3, channels=2, seed=0)
    if kind.startswith("text"):
        path.write_text("Sign in to the network")
    elif kind == "part.weights.h5":
        keras.Model(small.inputs[0], small.get_layer("norm").output).save_weights(path)
    elif kind == "bands.weights.h5":
        Small().backbone(4).save_weights(path)
    elif kind == "other.weights.h5":
        other.save_weights(path)
    elif kind == "other.keras":
        other.save(path)
    else:
        write_published(path, other)
    if kind.startswith("torn"):
        path.write_bytes(path.read_bytes()[:5000])
    settings = Model(encoder="small", weights=str(path), input=(32, 32))
    with pytest.raises(InputError, match="cannot be loaded into encoder 'small'"):
        build(settings, bands=3, channels=1, seed=0)


def test_encoder_without_published_weights():
    with pytest.raises(InputError, match="no ImageNet weights for encoder 'small'"):
        ensure_weights(Model(encoder="small", weights="imagenet"))


class Server(http.server.BaseHTTPRequestHandler):
    """Answers `/file` well, `/page` with a page, `/torn` with half, and `/slow` one byte after another for ever."""

    stop = threading.Event()
    body = b"\x89HDF\r\n\x1a\n" + bytes(3000)

    def do_GET(self):
        body = b"<html>Sign in</html>" if self.path == "/page" else self.body
        self.send_response(404 if self.path == "/none" else 200)
        self.send_header("Content-Length", str(10**9 if self.path == "/slow" else len(body)))
        self.end_headers()
        if self.path == "/slow":
            while not self.stop.wait(0.02):
                self.wfile.write(b"\0")
        self.wfile.write(body[:1000] if self.path == "/torn" else body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    Server.stop.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        Server.stop.set()
        running.shutdown()
        thread.join()


def test_fetch(server, tmp_path):
    fetch(f"{server}/file", tmp_path / "a.h5", seconds=30)
    assert (tmp_path / "a.h5").read_bytes() == Server.body


@pytest.mark.parametrize(
    ("page", "message", "seconds"),
    [
        ("page", "not a weights file", 30),
        ("none", "404", 30),
        ("torn", "1000 of 3008 bytes", 30),
        ("slow", "not complete after 0.4 s", 0.4),
    ],
)
def test_fetch_that_fails_leaves_no_file(server, tmp_path, page, message, seconds):
    with pytest.raises(OSError, match=message):
        fetch(f"{server}/{page}", tmp_path / "a.h5", seconds=seconds)
    assert not (tmp_path / "a.h5").exists()
