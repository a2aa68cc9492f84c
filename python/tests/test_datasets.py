# SPDX-License-Identifier: Apache-2.0
"""The public sets' download against a server on this machine that serves small sets alike.

Nothing is loosened for the tests but the shapes: the same code fetches, extracts and checks.
"""
from __future__ import annotations

import dataclasses
import gzip
import hashlib
import http.server
import io
import json
import tarfile
import threading

import numpy as np
import pytest

import kith
from kith import datasets

h5py = pytest.importorskip("h5py")

BASE, QUERIES, K, DIM = 400, 20, 10, 12


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.files`; can break off after some bytes, and resume."""

    def do_GET(self):
        server = self.server
        server.requests.append((self.path, self.headers.get("Range")))
        content = server.files.get(self.path.lstrip("/"))
        if content is None:
            self.send_error(404)
            return
        etag = '"' + hashlib.sha256(content).hexdigest() + '"'
        begin = 0
        if self.headers.get("Range") and self.headers.get("If-Range") == etag:
            begin = int(self.headers["Range"].split("=")[1].rstrip("-"))
            if begin >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(server.announced or len(content) - begin))
        if server.with_etag:
            self.send_header("ETag", etag)
        self.end_headers()
        body = content[begin:]
        if server.breaks:
            body = body[:server.breaks.pop(0)]
            self.close_connection = True
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.files, server.requests, server.breaks = {}, [], []
    server.announced, server.with_etag = None, True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("KITH_DATASETS_URL", f"http://127.0.0.1:{server.server_port}/")
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    monkeypatch.setattr(datasets, "DATASETS", {
        name: dataclasses.replace(spec, base=(BASE, DIM), query=(QUERIES, DIM),
                                  neighbours=(QUERIES, K), download_bytes=200_000)
        for name, spec in datasets.DATASETS.items()})
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def truth(base, query, angular=False):
    if angular:
        base = base / np.linalg.norm(base, axis=1, keepdims=True)
        query = query / np.linalg.norm(query, axis=1, keepdims=True)
    distances = ((query[:, None].astype(float) - base[None]) ** 2).sum(2)
    return np.argsort(distances, axis=1, kind="stable")[:, :K].astype(np.int32)


def arrays(angular=False, seed=0):
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(BASE, DIM)).astype(np.float32)
    query = rng.normal(size=(QUERIES, DIM)).astype(np.float32)
    return base, query, truth(base, query, angular)


def vecs(rows):
    head = np.full((len(rows), 1), rows.shape[1], np.int32)
    return np.hstack([head, np.ascontiguousarray(rows).view(np.int32)]).tobytes()


def archive(base, query, neighbours, stem="sift", first=()):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as tar:
        for member in first:
            tar.addfile(member)
        files = {"base.fvecs": vecs(base), "learn.fvecs": vecs(base[:BASE // 2]),
                 "query.fvecs": vecs(query), "groundtruth.ivecs": vecs(neighbours)}
        for name, content in files.items():
            member = tarfile.TarInfo(f"{stem}/{stem}_{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def hdf5(base, query, neighbours):
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        file.attrs["distance"] = "angular"
        file["train"], file["test"], file["neighbors"] = base, query, neighbours
    return out.getvalue()


def refused(name, out, message, **arguments):
    """Fails with `message`, and leaves nothing behind that looks like the set."""
    with pytest.raises(datasets.DatasetError, match=message) as caught:
        datasets.get(name, out, **arguments)
    assert isinstance(caught.value, kith.Error)
    left = [path.name for path in (out / name).glob("*")]
    assert all(name.endswith((".part", ".validator")) for name in left), left
    return left


@pytest.mark.parametrize("name, stem", [("sift1m", "sift"), ("gist1m", "gist")])
def test_texmex(server, tmp_path, name, stem):
    base, query, neighbours = arrays()
    server.files[f"{stem}.tar.gz"] = archive(base, query, neighbours, stem)
    stages = []
    got = datasets.get(name, tmp_path, progress=lambda *call: stages.append(call))
    assert got.downloaded and got.metric == "l2"
    assert got.sha256 == hashlib.sha256(server.files[f"{stem}.tar.gz"]).hexdigest()
    assert got.files["base"] == tmp_path / name / f"{stem}_base.fvecs"
    assert got.files["base"].read_bytes() == vecs(base)
    assert got.files["query"].read_bytes() == vecs(query)
    assert got.files["neighbours"].read_bytes() == vecs(neighbours)
    assert {stage for stage, _, _ in stages} == {"downloading", "hashing", "extracting", "checking"}
    assert all(done <= total for _, done, total in stages)
    assert sorted(path.name for path in (tmp_path / name).iterdir()) == sorted(
        ["dataset.json", *(f"{stem}_{part}" for part in ("base.fvecs", "query.fvecs",
                                                         "groundtruth.ivecs"))])

    requests = len(server.requests)
    again = datasets.get(name, tmp_path)
    assert not again.downloaded and again.files == got.files and len(server.requests) == requests


@pytest.mark.parametrize("name, file", [("glove-100", "glove-100-angular"),
                                        ("fashion-mnist", "fashion-mnist-784-euclidean")])
def test_ann_benchmarks(server, tmp_path, name, file):
    angular = name == "glove-100"
    server.files[f"{file}.hdf5"] = hdf5(*arrays(angular))
    got = datasets.get(name, tmp_path)
    assert got.metric == ("cosine" if angular else "euclidean")
    assert got.files["hdf5"].read_bytes() == server.files[f"{file}.hdf5"]
    assert not datasets.get(name, tmp_path).downloaded


def test_a_damaged_copy_is_fetched_again_and_must_be_the_recorded_file(server, tmp_path):
    base, query, neighbours = arrays()
    server.files["sift.tar.gz"] = archive(base, query, neighbours)
    got = datasets.get("sift1m", tmp_path)
    got.files["base"].write_bytes(b"short")
    assert datasets.get("sift1m", tmp_path).downloaded
    assert got.files["base"].read_bytes() == vecs(base)

    got.files["base"].unlink()
    server.files["sift.tar.gz"] = archive(*arrays(seed=1))
    with pytest.raises(datasets.DatasetError, match="SHA-256"):
        datasets.get("sift1m", tmp_path)
    assert not got.files["base"].exists() and got.files["query"].exists()
    (tmp_path / "sift1m" / "dataset.json").unlink()
    assert datasets.get("sift1m", tmp_path).downloaded


def test_a_broken_connection_is_resumed(server, tmp_path):
    server.files["sift.tar.gz"] = content = archive(*arrays())
    server.breaks = [1000, 2000]
    assert datasets.get("sift1m", tmp_path).sha256 == hashlib.sha256(content).hexdigest()
    assert [begin for _, begin in server.requests] == [None, "bytes=1000-", "bytes=3000-"]


def test_without_a_validator_it_restarts(server, tmp_path):
    server.files["sift.tar.gz"] = content = archive(*arrays())
    server.breaks, server.with_etag = [1000], False
    assert datasets.get("sift1m", tmp_path).sha256 == hashlib.sha256(content).hexdigest()
    assert [begin for _, begin in server.requests] == [None, None]


def test_a_later_call_goes_on_and_a_changed_file_restarts(server, tmp_path):
    server.files["sift.tar.gz"] = archive(*arrays(seed=2))
    server.breaks = [500] + [0] * (datasets.ATTEMPTS - 1)
    assert "sift.tar.gz.part" in refused("sift1m", tmp_path, "closed early")
    server.files["sift.tar.gz"] = content = archive(*arrays())
    assert datasets.get("sift1m", tmp_path).sha256 == hashlib.sha256(content).hexdigest()
    assert server.requests[-1][1] == "bytes=500-"   # offered, and not taken up by the server


def test_progress_can_stop_and_what_came_is_kept(server, tmp_path):
    server.files["sift.tar.gz"] = archive(*arrays())
    left = refused("sift1m", tmp_path, "stopped", progress=lambda stage, *_: stage != "checking")
    assert "sift.tar.gz.part" in left
    assert datasets.get("sift1m", tmp_path).downloaded
    assert server.requests[-1][1] is not None   # nothing was sent twice


def test_no_network(tmp_path, monkeypatch):
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    refused("sift1m", tmp_path, "is there a network", base_url="http://127.0.0.1:9")


def test_bad_addresses_and_names(server, tmp_path):
    refused("sift1m", tmp_path, "answered 404")
    refused("sift1m", tmp_path, "expected an http, https or ftp", base_url="file:///etc")
    with pytest.raises(datasets.DatasetError, match="known: fashion-mnist, gist1m, glove-100, sift1m"):
        datasets.get("../sift1m", tmp_path)


def test_out_that_is_a_file(server, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(datasets.DatasetError, match="file"):
        datasets.get("sift1m", tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_too_large_downloads(server, tmp_path):
    server.files["sift.tar.gz"] = bytes(400_001)
    refused("sift1m", tmp_path, "at most 400,000 bytes")
    server.announced = 10**12
    refused("sift1m", tmp_path, "announces 1,000,000,000,000")


def hostile(name, kind=tarfile.REGTYPE, target=""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize("member, message", [
    (hostile("../escaped"), "outside the archive"),
    (hostile("sift/../../escaped"), "outside the archive"),
    (hostile("/tmp/escaped"), "outside the archive"),
    (hostile("sift/sift_base.fvecs", tarfile.SYMTYPE, "/etc/passwd"), "not a plain file"),
    (hostile("sift/sift_base.fvecs", tarfile.LNKTYPE, "../../escaped"), "not a plain file"),
    (hostile("sift/fifo", tarfile.FIFOTYPE), "not a plain file"),
    (hostile("sift/null", tarfile.CHRTYPE), "not a plain file"),
    (hostile("sift/sift_base.fvecs"), "expected 20,800 bytes"),
])
def test_hostile_archives(server, tmp_path, member, message):
    server.files["sift.tar.gz"] = archive(*arrays(), first=[member])
    out = tmp_path / "out"
    assert refused("sift1m", out, message) == []
    assert list(tmp_path.iterdir()) == [out]


def test_damaged_archives(server, tmp_path):
    good = archive(*arrays())
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 0xFF
    for content, message in [(b"no archive at all", "not a readable tar.gz"),
                             (good[:len(good) // 2], "not a readable tar.gz|not found"),
                             (gzip.compress(bytes(10_000_000)), "far more|not found"),
                             (archive(*arrays(), stem="other"), "not found")]:
        server.files["sift.tar.gz"] = content
        assert refused("sift1m", tmp_path, message) == []
    server.files["sift.tar.gz"] = bytes(flipped)   # a checksum or a check sees it
    refused("sift1m", tmp_path, None)


def test_wrong_content(server, tmp_path):
    base, query, neighbours = arrays()
    nan = base.copy()
    far, out_of_range, twice = (neighbours.copy() for _ in range(3))
    nan[BASE - 1, 3] = np.nan
    far[0] = (neighbours[0] + 1) % BASE
    out_of_range[5, 5] = BASE
    twice[0, 1] = twice[0, 0]
    columns = np.hstack([base, base[:, :1]])[:BASE * (DIM + 1) // (DIM + 2)]
    for content, message in [((nan, query, neighbours), "NaN or infinity"),
                             ((base, nan[-QUERIES:], neighbours), "NaN or infinity"),
                             ((base, query, far), "ground truth"),
                             ((base, query, out_of_range), "expected ids"),
                             ((base, query, twice), "twice"),
                             ((base, query[:-1], neighbours), "expected 1,040 bytes"),
                             ((columns, query, neighbours), "expected")]:
        server.files["sift.tar.gz"] = archive(*content)
        refused("sift1m", tmp_path, message)
        server.files["glove-100-angular.hdf5"] = hdf5(*content)
        refused("glove-100", tmp_path, None)


def test_row_headers(server, tmp_path):
    base, query, neighbours = arrays()
    content = archive(base.view(np.int32).view(np.float32), query, neighbours)
    raw = gzip.decompress(content).replace(np.int32(DIM).tobytes() + base[7].tobytes(),
                                           np.int32(DIM + 1).tobytes() + base[7].tobytes())
    server.files["sift.tar.gz"] = gzip.compress(raw)
    refused("sift1m", tmp_path, "row 7: expected 12 columns, got 13")


def test_hdf5_that_points_elsewhere(server, tmp_path):
    base, query, neighbours = arrays(angular=True)
    secret = tmp_path / "secret"
    secret.write_bytes(base.tobytes())

    def external_link(file):
        file["train"] = h5py.ExternalLink(str(tmp_path / "other.hdf5"), "/train")

    def external_storage(file):
        file.create_dataset("train", base.shape, "<f4", external=[(str(secret), 0, base.nbytes)])

    def a_group(file):
        file.create_group("train")

    for make, message in [(external_link, "expected a data set 'train'"),
                          (external_storage, "not plain data"), (a_group, "not plain data")]:
        out = io.BytesIO()
        with h5py.File(out, "w") as file:
            make(file)
            file["test"], file["neighbors"] = query, neighbours
        server.files["glove-100-angular.hdf5"] = out.getvalue()
        assert refused("glove-100", tmp_path, message) == []
    server.files["glove-100-angular.hdf5"] = b"not hdf5"
    refused("glove-100", tmp_path, "not a readable .hdf5")


def test_a_record_that_is_not_ours_is_ignored(server, tmp_path):
    server.files["sift.tar.gz"] = archive(*arrays())
    for record in ("[]", "{", json.dumps({"files": {"sift_base.fvecs": 1}})):
        directory = tmp_path / "sift1m"
        directory.mkdir(exist_ok=True)
        (directory / "dataset.json").write_text(record)
        for path in directory.glob("*vecs"):
            path.unlink()
        assert datasets.get("sift1m", tmp_path).downloaded
