# SPDX-License-Identifier: Apache-2.0
"""The package itself: stubs that tell the truth, a module that runs on older processors too."""

from __future__ import annotations

import ast
import importlib.metadata
import inspect
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import kith
from kith import _core

STUBS = ast.parse((Path(kith.__file__).parent / "_core.pyi").read_text())
IMPLICIT = {
    "__doc__",
    "__module__",
    "__dict__",
    "__weakref__",
    "__new__",
    "__init__",
    "__repr__",
    "__hash__",
    "__file__",
    "__loader__",
    "__name__",
    "__package__",
    "__spec__",
    "__static_attributes__",
    "__firstlineno__",
    "_pybind11_conduit_v1_",
    "__getstate__",
    "__ne__",
    "__lt__",
    "__le__",
    "__gt__",
    "__ge__",
    "__pybind11_native_enum__",
}


def names(body: list[ast.stmt]) -> set[str]:
    found = {node.name for node in body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    return found | {
        node.target.id
        for node in body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }


def test_every_attribute_has_a_stub_and_every_stub_an_attribute():
    stubbed = names(STUBS.body)
    actual = {name for name in vars(_core) if name not in IMPLICIT}
    assert stubbed == actual
    for node in STUBS.body:
        if isinstance(node, ast.ClassDef) and node.name in ("Index", "Result", "SearchStats"):
            cls = getattr(_core, node.name)
            members = {name for name in vars(cls) if name not in IMPLICIT}
            assert names(node.body) - {"__iter__", "__eq__"} == members - {"__eq__"}, node.name


def test_stubs_name_the_parameters():
    index = next(
        node for node in STUBS.body if isinstance(node, ast.ClassDef) and node.name == "Index"
    )
    for method in (
        node
        for node in index.body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("__")
    ):
        if any(isinstance(d, ast.Name) and d.id == "property" for d in method.decorator_list):
            continue
        parameters = [a.arg for a in method.args.args if a.arg != "self"]
        actual = getattr(_core.Index, method.name)
        if method.name == "search":
            assert [
                p for p in inspect.signature(actual).parameters if p not in ("self", "params")
            ] == parameters
        else:
            signature = actual.__doc__.splitlines()[0]
            for name in parameters:
                assert f" {name}:" in signature, (method.name, signature)


def test_public_names():
    assert sorted(kith.__all__) == sorted(set(kith.__all__))
    for name in kith.__all__:
        thing = getattr(kith, name)
        assert thing.__doc__ if callable(thing) else thing
    for cls in (kith.Index, kith.Result, kith.SearchStats, kith.RangeResult, kith.KMeans):
        for name, member in vars(cls).items():
            if not name.startswith("_"):
                assert inspect.getdoc(member), f"{cls.__name__}.{name}"


def test_marked_as_typed_and_one_version():
    assert (Path(kith.__file__).parent / "py.typed").exists()
    try:
        installed = importlib.metadata.version("kith")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("not installed, but found on the path")
    assert installed == kith.__version__


PROBE = """
import numpy as np, kith
assert kith.instruction_set() in kith.instruction_sets()
rng = np.random.default_rng(5)
for metric in ("l2", "ip", "cosine", "l1"):
    for dtype in (np.float32, np.float16, np.int8, np.uint8):
        base = rng.integers(0, 100, (130, 67)).astype(dtype)
        index = kith.build("flat", base, metric=metric, threads=2)
        x = base[:30].astype(np.float64), base.astype(np.float64)
        table = ((x[0][:, None] - x[1][None]) ** 2).sum(2)
        if metric == "l1": table = abs(x[0][:, None] - x[1][None]).sum(2)
        if metric == "ip": table = x[0] @ x[1].T
        if metric == "cosine": table = 1 - x[0] @ x[1].T / np.outer(*(np.linalg.norm(a, axis=1) for a in x))
        wanted = -np.sort(-table, axis=1)[:, :9] if metric == "ip" else np.sort(table, axis=1)[:, :9]
        for queries, rows in ((base[:30], slice(30)), (base[3], 3)):
            got = index.search(queries, k=9).distances
            assert np.allclose(got, wanted[rows], rtol=1e-4, atol=1e-4), (metric, dtype)
bits = np.packbits(rng.random((90, 203)) < 0.5, axis=1)
for metric in ("hamming", "jaccard"):
    assert (kith.build("flat", bits, metric=metric).search(bits, 1).ids.ravel() == np.arange(90)).all()
index = kith.from_bytes(index.to_bytes())
print(kith.instruction_set(), *kith.instruction_sets())
"""


def probe(command: list[str], **environment: str) -> subprocess.CompletedProcess:
    paths = os.pathsep.join([str(Path(kith.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [*command, "-c", PROBE],
        env={**os.environ, "PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize("name", kith.instruction_sets())
def test_every_instruction_set_can_be_forced(name):
    done = probe([sys.executable], KITH_ARCH=name)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == name


def test_an_unknown_instruction_set_is_an_error():
    done = subprocess.run(
        [sys.executable, "-c", "import kith; kith.instruction_set()"],
        env={**os.environ, "KITH_ARCH": "mmx"},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0 and "mmx" in done.stderr and "baseline" in done.stderr


def test_a_processor_without_avx():
    """The same binary on an emulated processor that knows nothing newer than SSE4.2."""
    qemu = shutil.which("qemu-x86_64") or shutil.which("qemu-x86_64-static")
    if qemu is None:
        pytest.skip("qemu-x86_64 is not installed (Debian: qemu-user)")
    if np.dtype(np.intp).itemsize != 8 or os.uname().machine != "x86_64":
        pytest.skip("not an x86-64 machine")
    # numpy itself must run there; where it does not, nothing can be learnt.
    plain = subprocess.run(
        [qemu, "-cpu", "Nehalem", sys.executable, "-c", "import numpy"],
        capture_output=True,
        text=True,
    )
    if plain.returncode != 0:
        pytest.skip(f"numpy does not run on the emulated processor: {plain.stderr.strip()[-200:]}")
    done = probe([qemu, "-cpu", "Nehalem", sys.executable])
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["baseline", "baseline"]
