# SPDX-License-Identifier: Apache-2.0
"""Public benchmark sets: download, check, keep.

`get("sift1m")` fetches one set into `datasets/sift1m` and returns where its files are. Nothing that
came over the network is trusted: sizes are bounded, an archive's members are copied only under
names chosen here, and the content is checked before it gets its final name: shapes, finite values,
ids in range, and the ground truth of a few queries against an exact search over the whole base.
The publishers give no checksums: the SHA-256 of the first download is recorded in `dataset.json`,
and a later download of the same set into the same directory has to match it.

Files appear under their final names only when they are complete. A broken download is resumed
where the server allows it and restarted otherwise.

Sources: TEXMEX (Jegou, Douze, Schmid, "Product quantization for nearest neighbor search", TPAMI
2011); ann-benchmarks (Aumueller, Bernhardsson, Faithfull, "ANN-Benchmarks", Information Systems
2020).
"""
from __future__ import annotations

import gzip
import hashlib
import json
import os
import tarfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

import numpy as np

from ._core import Error

__all__ = ["DATASETS", "Dataset", "DatasetError", "Spec", "get"]

#: progress(stage, done, total): bytes while downloading and extracting, rows while checking; total
#: is None where it is unknown. Returning False stops with a DatasetError; the download is kept.
Progress = Callable[[str, int, "int | None"], "bool | None"]

CHUNK = 1 << 20
ATTEMPTS = 8            # connections per download; each goes on where the last one broke
TIMEOUT = 30            # seconds without a byte
CHECKED_QUERIES = 8     # queries whose ground truth is recomputed


class DatasetError(Error):
    """A public set could not be fetched, or what came is not that set."""

    code = "dataset"


@dataclass(frozen=True)
class Spec:
    """A public set: where it is published and what it must hold. Shapes are (rows, columns)."""

    name: str
    url: str
    metric: str                       # kith's name of the metric of the ground truth
    base: tuple[int, int]
    query: tuple[int, int]
    neighbours: tuple[int, int]
    download_bytes: int               # roughly; twice as much is refused
    members: dict[str, str] = field(default_factory=dict)   # role -> path in the archive

    @property
    def filename(self) -> str:
        return self.url.rsplit("/", 1)[-1]


def _texmex(name: str, stem: str, dim: int, queries: int, download_bytes: int) -> Spec:
    parts = {"base": "base.fvecs", "query": "query.fvecs", "neighbours": "groundtruth.ivecs"}
    return Spec(name, f"ftp://ftp.irisa.fr/local/texmex/corpus/{stem}.tar.gz", "l2",
                (1_000_000, dim), (queries, dim), (queries, 100), download_bytes,
                {role: f"{stem}/{stem}_{part}" for role, part in parts.items()})


def _ann_benchmarks(name: str, file: str, metric: str, rows: int, dim: int, size: int) -> Spec:
    return Spec(name, f"https://ann-benchmarks.com/{file}.hdf5", metric, (rows, dim), (10_000, dim),
                (10_000, 100), size)


DATASETS: dict[str, Spec] = {spec.name: spec for spec in (
    _texmex("sift1m", "sift", 128, 10_000, 170_000_000),
    _texmex("gist1m", "gist", 960, 1_000, 2_700_000_000),
    _ann_benchmarks("glove-100", "glove-100-angular", "cosine", 1_183_514, 100, 485_000_000),
    _ann_benchmarks("fashion-mnist", "fashion-mnist-784-euclidean", "euclidean", 60_000, 784,
                    230_000_000),
)}


@dataclass(frozen=True)
class Dataset:
    """A set on disk. TEXMEX sets have one file per role; an .hdf5 file holds all of them."""

    name: str
    directory: Path
    metric: str
    files: dict[str, Path]            # "base", "query", "neighbours", or "hdf5"
    sha256: str                       # of the downloaded file
    downloaded: bool                  # False: it was there already


def get(name: str, out: str | os.PathLike[str] = "datasets", base_url: str | None = None,
        progress: Progress | None = None) -> Dataset:
    """Makes sure that the set `name` is in the directory `out`/`name`, downloading it if need be.

    `base_url` (or the environment's KITH_DATASETS_URL) replaces the publisher's address: a mirror
    that serves the same file names. Raises DatasetError, a kith.Error.
    """
    spec = DATASETS.get(name)
    if spec is None:
        raise DatasetError(f"unknown data set {name!r}; known: {', '.join(sorted(DATASETS))}")
    report = _Reporter(progress)
    directory = Path(out) / spec.name
    if (present := _present(spec, directory)) is not None:
        return present
    if not spec.members:
        _h5py()   # before half a gigabyte has come, not after
    mirror = base_url or os.environ.get("KITH_DATASETS_URL")
    url = f"{mirror.rstrip('/')}/{spec.filename}" if mirror else spec.url
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return _fetch(spec, url, directory, report)
    except OSError as error:
        raise DatasetError(f"{directory}: {error.strerror or error}") from error


def _fetch(spec: Spec, url: str, directory: Path, report: _Reporter) -> Dataset:
    part = directory / (spec.filename + ".part")
    _download(url, part, 2 * spec.download_bytes, report)
    sha256 = _sha256(part, report)
    recorded = _record(directory).get("sha256")
    if recorded not in (None, sha256):
        _discard(part)
        raise DatasetError(f"{url}: expected the file that came before, SHA-256 {recorded}, got "
                           f"{sha256}; remove {_record_path(directory)} to accept the new one")
    final = _final_files(spec, directory)
    made = {role: Path(f"{path}.part") for role, path in final.items()}
    try:
        if spec.members:
            _extract(spec, part, made, report)
            _check(spec, _read_vecs(made["base"], spec.base, "<f4"),
                   _read_vecs(made["query"], spec.query, "<f4"),
                   _read_vecs(made["neighbours"], spec.neighbours, "<i4"), report)
        else:
            _check_hdf5(spec, part, report)
        for role, path in made.items():
            os.replace(path, final[role])
    except DatasetError as error:
        if not isinstance(error, _Stopped):
            _discard(part)   # wrong content is of no use to a second attempt
        raise
    finally:
        if spec.members:
            for path in made.values():
                _discard(path)
    _write_record(directory, {
        "name": spec.name, "url": url, "sha256": sha256, "metric": spec.metric,
        "files": {path.name: path.stat().st_size for path in final.values()},
    })
    _discard(part)
    return Dataset(spec.name, directory, spec.metric, final, sha256, downloaded=True)


# ---- what is on disk -----------------------------------------------------------------------------


def _final_files(spec: Spec, directory: Path) -> dict[str, Path]:
    if spec.members:
        return {role: directory / path.rsplit("/", 1)[-1] for role, path in spec.members.items()}
    return {"hdf5": directory / spec.filename}


def _record_path(directory: Path) -> Path:
    return directory / "dataset.json"


def _record(directory: Path) -> dict:
    try:
        record = json.loads(_record_path(directory).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _write_record(directory: Path, record: dict) -> None:
    part = directory / "dataset.json.part"
    part.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    os.replace(part, _record_path(directory))


def _present(spec: Spec, directory: Path) -> Dataset | None:
    record, files = _record(directory), _final_files(spec, directory)
    sizes = record.get("files")
    if not isinstance(sizes, dict) or not isinstance(record.get("sha256"), str):
        return None
    for path in files.values():
        if not path.is_file() or path.stat().st_size != sizes.get(path.name):
            return None
    return Dataset(spec.name, directory, spec.metric, files, record["sha256"], downloaded=False)


def _discard(path: Path) -> None:
    path.unlink(missing_ok=True)
    Path(f"{path}.validator").unlink(missing_ok=True)


class _Reporter:
    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        if self._progress is not None and self._progress(stage, done, total) is False:
            raise _Stopped(f"stopped while {stage}")


class _Stopped(DatasetError):
    """The caller's progress function said no."""

    code = "cancelled"


# ---- download ------------------------------------------------------------------------------------


def _download(url: str, part: Path, limit: int, report: _Reporter) -> None:
    """Completes the file `part`; its validator (ETag or date) says whose version the bytes are."""
    scheme = url.split(":", 1)[0].lower()
    if scheme not in ("http", "https", "ftp"):
        raise DatasetError(f"{url}: expected an http, https or ftp address, got {scheme!r}")
    reason: object = ""
    for _ in range(ATTEMPTS):
        try:
            if _download_some(url, part, limit, report):
                return
            reason = "the connection closed early"
        except urllib.error.HTTPError as error:
            if error.code == 416:   # asked to resume at or past the end
                if error.headers.get("Content-Range") == f"bytes */{part.stat().st_size}":
                    return
                _discard(part)
            elif error.code < 500:
                raise DatasetError(f"{url}: the server answered {error.code} "
                                   f"{error.reason}") from error
            reason = error
        except urllib.error.URLError as error:
            reason = error.reason
        except (ConnectionError, TimeoutError, HTTPException) as error:
            reason = error
    raise DatasetError(f"{url}: download failed after {ATTEMPTS} attempts: {reason} (is there a "
                       "network? KITH_DATASETS_URL can name a mirror)")


def _download_some(url: str, part: Path, limit: int, report: _Reporter) -> bool:
    """One connection; True when the file is complete. Resumes only the version it began with."""
    validator_file = Path(f"{part}.validator")
    headers = {"User-Agent": "kith", "Accept-Encoding": "identity"}
    request = urllib.request.Request(url, headers=headers)
    done = part.stat().st_size if part.exists() and validator_file.exists() else 0
    if done and not url.startswith("ftp"):
        request.add_header("Range", f"bytes={done}-")
        request.add_header("If-Range", validator_file.read_text(encoding="utf-8"))
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        resumed = getattr(response, "status", None) == 206
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
            _discard(part)
            return False
        done = done if resumed else 0
        length = response.headers.get("Content-Length")
        total = done + int(length) if length and length.isdigit() else None
        if total is not None and total > limit:
            raise DatasetError(f"{url}: expected at most {limit:,} bytes, the server announces "
                               f"{total:,}")
        etag = response.headers.get("ETag", "")
        validator = response.headers.get("Last-Modified") if etag[:2] in ("", "W/") else etag
        validator_file.unlink(missing_ok=True)
        with open(part, "ab" if resumed else "wb") as out:
            if validator:
                validator_file.write_text(validator, encoding="utf-8")
            while block := response.read(CHUNK):
                done += len(block)
                if done > limit:
                    raise DatasetError(f"{url}: expected at most {limit:,} bytes, got more")
                out.write(block)
                report("downloading", done, total)
    return total is None or done == total


def _sha256(path: Path, report: _Reporter) -> str:
    digest, done, total = hashlib.sha256(), 0, path.stat().st_size
    with open(path, "rb") as file:
        while block := file.read(CHUNK):
            digest.update(block)
            done += len(block)
            report("hashing", done, total)
    return digest.hexdigest()


# ---- TEXMEX archives -----------------------------------------------------------------------------


def _shape(spec: Spec, role: str) -> tuple[int, int]:
    return {"base": spec.base, "query": spec.query, "neighbours": spec.neighbours}[role]


def _extract(spec: Spec, archive: Path, made: dict[str, Path], report: _Reporter) -> None:
    """Copies the wanted members, each of exactly the size that its shape implies, to our own paths.

    No name, link, owner or mode of the archive reaches the file system; an archive that holds a
    member pointing outside itself, a link or a device is refused as a whole.
    """
    wanted = {member: role for role, member in spec.members.items()}
    try:
        with gzip.open(archive) as unpacked, \
                tarfile.open(fileobj=_Bounded(unpacked, _most_unpacked(spec)), mode="r|") as tar:
            for member in tar:
                name = member.name[2:] if member.name.startswith("./") else member.name
                if name.startswith(("/", "\\")) or ".." in Path(name).parts:
                    raise DatasetError(f"{archive.name}: refused, member {member.name!r} points "
                                       "outside the archive")
                if not (member.isreg() or member.isdir()):
                    raise DatasetError(f"{archive.name}: refused, member {member.name!r} is not a "
                                       "plain file")
                role = wanted.pop(name, None) if member.isreg() else None
                if role is None:
                    continue
                rows, columns = _shape(spec, role)
                expected = rows * 4 * (columns + 1)
                if member.size != expected:
                    raise DatasetError(f"{archive.name}: {name}: expected {expected:,} bytes "
                                       f"({rows:,} x {columns}), got {member.size:,}")
                _copy(tar.extractfile(member), made[role], expected, report)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DatasetError(f"{archive.name}: not a readable tar.gz archive: {error}") from error
    if wanted:
        raise DatasetError(f"{archive.name}: expected {', '.join(sorted(wanted))} in it, not found")


def _most_unpacked(spec: Spec) -> int:
    """Twice what is wanted: the archives also hold a learning set, half as large as the base."""
    wanted = (_shape(spec, role) for role in spec.members)
    return 2 * sum(4 * rows * (columns + 1) for rows, columns in wanted) + CHUNK


class _Bounded:
    """A stream that stops a decompression bomb."""

    def __init__(self, stream, limit: int) -> None:
        self._stream, self._left = stream, limit

    def read(self, size: int) -> bytes:
        block = self._stream.read(size)
        self._left -= len(block)
        if self._left < 0:
            raise DatasetError("refused, the archive unpacks to far more than the set it holds")
        return block


def _copy(source, path: Path, size: int, report: _Reporter) -> None:
    done = 0
    with open(path, "wb") as out:
        while block := source.read(CHUNK):
            out.write(block)
            done += len(block)
            report("extracting", done, size)
    if done != size:
        raise DatasetError(f"{path.name}: expected {size:,} bytes, got {done:,}")


def _read_vecs(path: Path, shape: tuple[int, int], dtype: str) -> np.ndarray:
    rows, columns = shape
    raw = np.memmap(path, dtype="<i4", mode="r", shape=(rows, columns + 1))
    if not (raw[:, 0] == columns).all():
        row = int(np.argmax(raw[:, 0] != columns))
        raise DatasetError(f"{path.name}: row {row}: expected {columns} columns, got "
                           f"{int(raw[row, 0])}")
    return raw.view(dtype)[:, 1:]


# ---- ann-benchmarks files ------------------------------------------------------------------------


def _h5py():
    try:
        import h5py
    except ImportError as error:
        raise DatasetError("this set is an .hdf5 file: it needs h5py (pip install h5py)") from error
    return h5py


def _check_hdf5(spec: Spec, path: Path, report: _Reporter) -> None:
    h5py = _h5py()
    shapes = {"train": spec.base, "test": spec.query, "neighbors": spec.neighbours}
    try:
        with h5py.File(path, "r") as file:
            for key, shape in shapes.items():
                # A link or external storage could make other files of this machine pass for data.
                if not isinstance(file.get(key, getlink=True), h5py.HardLink):
                    raise DatasetError(f"{spec.filename}: expected a data set {key!r} in it")
                data = file[key]
                if not isinstance(data, h5py.Dataset) or data.external or data.is_virtual:
                    raise DatasetError(f"{spec.filename}: {key!r} is not plain data")
                kind = "iu" if key == "neighbors" else "f"
                if data.shape != shape or data.dtype.kind not in kind:
                    raise DatasetError(f"{spec.filename}: {key}: expected {shape}, kind {kind!r}, "
                                       f"got {data.shape} {data.dtype}")
            _check(spec, file["train"], file["test"], file["neighbors"], report)
    except OSError as error:
        raise DatasetError(f"{spec.filename}: not a readable .hdf5 file: {error}") from error


# ---- meaning -------------------------------------------------------------------------------------


def _check(spec: Spec, base, query, neighbours, report: _Reporter) -> None:
    """Finite values, ids in range, and for a few queries: no row is nearer than the true ones.

    `base` is array-like with slices; one pass over it. Distances are float32, hence some slack.
    """
    queries, near = np.asarray(query[:], np.float32), np.asarray(neighbours[:])
    if not np.isfinite(queries).all():
        raise DatasetError(f"{spec.name}: a query holds NaN or infinity")
    if near.size and (near.min() < 0 or near.max() >= spec.base[0]):
        raise DatasetError(f"{spec.name}: ground truth: expected ids in [0, {spec.base[0]}), "
                           f"got {near.min()}..{near.max()}")
    chosen = np.linspace(0, len(queries) - 1, CHECKED_QUERIES).astype(int)
    q, k = queries[chosen], near.shape[1]
    worst = np.empty(len(chosen), np.float32)
    for i, ids in enumerate(near[chosen]):
        unique, inverse = np.unique(ids, return_inverse=True)   # h5py wants increasing indices
        if len(unique) != k:
            raise DatasetError(f"{spec.name}: ground truth of query {chosen[i]} names an id twice")
        rows = np.asarray(base[unique], np.float32)
        distances = _distances(spec.metric, rows, q[i:i + 1])[inverse, 0]
        slack = 1e-3 * float(distances.max()) + 1e-6
        if (np.diff(distances) < -slack).any():
            raise DatasetError(f"{spec.name}: ground truth of query {chosen[i]} is not in order")
        worst[i] = distances[-1] - slack
    nearer = np.zeros(len(chosen), int)
    step = max(1, (64 << 20) // (4 * spec.base[1]))
    for begin in range(0, spec.base[0], step):
        rows = np.asarray(base[begin:begin + step], np.float32)
        if not np.isfinite(rows).all():
            raise DatasetError(f"{spec.name}: the base holds NaN or infinity after row {begin}")
        nearer += (_distances(spec.metric, rows, q) < worst).sum(axis=0)
        report("checking", min(begin + step, spec.base[0]), spec.base[0])
    if (nearer >= k).any():
        bad = chosen[int(np.argmax(nearer >= k))]
        raise DatasetError(f"{spec.name}: ground truth of query {bad} misses nearer rows")


def _distances(metric: str, rows: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """(rows, queries) distances, up to a monotonic function: squared L2, or 1 - cosine."""
    if metric == "cosine":
        rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
        queries = queries / np.maximum(np.linalg.norm(queries, axis=1, keepdims=True), 1e-30)
        return 1 - rows @ queries.T
    squares = np.einsum("ij,ij->i", rows, rows)[:, None] + np.einsum("ij,ij->i", queries, queries)
    return squares - 2 * (rows @ queries.T)
