# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

FIXTURE = Path(__file__).resolve().parents[2] / "datasets" / "photos-sift-10k"


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240607)


@pytest.fixture(scope="session")
def photos() -> Path:
    """Real SIFT descriptors with exact ground truth; in a clone, not in a source distribution."""
    if not (FIXTURE / "base.u8bin").exists():
        pytest.skip(f"no fixture at {FIXTURE}")
    return FIXTURE
