#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Make 'photos-sift': real SIFT descriptors (128 bytes each) from Debian's wallpaper packages.

SIFT1M cannot be had without a network; the photographs that a distribution ships can. This
program runs OpenCV's SIFT over them, draws base and query rows without replacement, and computes
the exact nearest neighbours by squared L2 (ties: smaller id first). It writes:

    base.u8bin  query.u8bin      uint32 rows, uint32 columns, then the rows (little-endian)
    gt_ids.ibin gt_dist.fbin     likewise; int32 ids and float32 squared distances, queries x K
    CREDITS.md                   which pictures were used, whose they are, under which licence

Needs Debian's python3-opencv (run it with /usr/bin/python3) and the packages of --packages. The
same packages, OpenCV and options give the same files. The defaults make 1,000,000 base and 1,000
query rows in about 2.5 GB of memory and some minutes.

The committed fixture was made by:
    /usr/bin/python3 datasets/make_photos_sift.py --out datasets/photos-sift-10k --base 10000 \\
        --queries 100 --packages lomiri-wallpapers-16.04 --licences CC0-1.0 CC-BY-4.0
"""
from __future__ import annotations

import argparse
import fnmatch
import shlex
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("gnome-backgrounds", "mate-backgrounds", "lomiri-wallpapers-16.04",
            "lomiri-wallpapers-20.04", "plasma-workspace-wallpapers", "ukui-wallpapers",
            "sway-backgrounds")
SMALLEST_FILE = 200_000       # bytes; below it are icons, previews and flat colour
LONGEST_SIDE = 3_000          # pixels; larger pictures are scaled down first
MOST_PER_PICTURE = 40_000     # descriptors; so that no single picture dominates
LICENCE_URLS = {
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
    "CC-BY-SA-3.0": "https://creativecommons.org/licenses/by-sa/3.0/",
    "CC-BY-SA-4.0": "https://creativecommons.org/licenses/by-sa/4.0/",
}


@dataclass
class Picture:
    path: Path
    package: str
    holder: str = "see the package's copyright file"
    licence: str = "see the package's copyright file"
    used: int = 0


def command_output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{shlex.join(command)} failed: {done.stderr.strip()}")
    return done.stdout


def copyright_entries(package: str) -> list[tuple[list[str], str, str]]:
    """(file patterns, holder, licence) of a DEP-5 copyright file; [] if it is in another form."""
    text = Path(f"/usr/share/doc/{package}/copyright").read_text(encoding="utf-8")
    if not text.lstrip().startswith("Format:"):
        return []
    entries = []
    for paragraph in text.split("\n\n"):
        fields: dict[str, str] = {}
        name = ""
        for line in paragraph.splitlines():
            if line[:1].isspace():
                fields[name] = fields.get(name, "") + "\n" + line.strip()
            elif ":" in line:
                name, value = line.split(":", 1)
                fields[name] = value.strip()
        if "Files" in fields:
            holders = [h.strip() for h in fields.get("Copyright", "").splitlines()]
            holder = ", ".join(h for h in holders if h)
            licence = (fields.get("License", "").splitlines() or [""])[0]
            entries.append((fields["Files"].split(), holder, licence))
    return entries


def attribute(picture: Picture, entries: list[tuple[list[str], str, str]]) -> None:
    """Fills holder and licence; the last matching paragraph wins, as DEP-5 says.

    Patterns name files of the source package; installed ones keep only their last part.
    """
    for patterns, holder, licence in entries:
        if any(p == "*" or fnmatch.fnmatchcase(picture.path.name, p.rsplit("/", 1)[-1])
               for p in patterns if p != "debian/*"):
            picture.holder, picture.licence = holder, licence


def pictures(packages: list[str]) -> list[Picture]:
    """The largest rendition of every picture in the packages, in the order of their paths."""
    largest: dict[str, tuple[int, Picture]] = {}
    for package in packages:
        files = sorted(command_output("dpkg", "-L", package).splitlines())
        entries = copyright_entries(package)
        for line in files:
            path = Path(line)
            if path.suffix not in (".jpg", ".jpeg", ".png", ".webp") or path.is_symlink():
                continue
            if not path.is_file() or (size := path.stat().st_size) < SMALLEST_FILE:
                continue
            name = line.split("/contents/images")[0]   # Plasma ships one directory per picture
            if name not in largest or size > largest[name][0]:
                largest[name] = (size, Picture(path, package))
                attribute(largest[name][1], entries)
    return [largest[name][1] for name in sorted(largest)]


def describe(cv2, np, picture: Picture, rng):
    """SIFT descriptors of one picture as (n, 128) uint8. OpenCV computes whole numbers 0..255."""
    image = cv2.imread(str(picture.path), cv2.IMREAD_GRAYSCALE)
    if image is None:
        return np.empty((0, 128), np.uint8)
    if (scale := LONGEST_SIDE / max(image.shape)) < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    # A lower contrast threshold than OpenCV's 0.04 gives more, and less repetitive, keypoints.
    sift = cv2.SIFT_create(contrastThreshold=0.01, edgeThreshold=15)
    found = sift.detectAndCompute(image, None)[1]
    if found is None:
        return np.empty((0, 128), np.uint8)
    if len(found) > MOST_PER_PICTURE:
        found = found[np.sort(rng.choice(len(found), MOST_PER_PICTURE, replace=False))]
    return np.clip(found, 0, 255).astype(np.uint8)


def ground_truth(np, base, query, k: int, block: int = 50):
    """Exact (ids, squared distances): every sum is an integer below 2**24, so float32 is exact."""
    rows = base.astype(np.float32)
    norms = np.einsum("ij,ij->i", rows, rows)
    ids, distances = [], []
    for begin in range(0, len(query), block):
        q = query[begin:begin + block].astype(np.float32)
        d = norms[None, :] - 2 * (q @ rows.T) + np.einsum("ij,ij->i", q, q)[:, None]
        # One integer key orders by (distance, id), also where a tie straddles the k-th place.
        key = (d.astype(np.int64) << 32) | np.arange(len(base), dtype=np.int64)
        key = np.sort(np.partition(key, k - 1, axis=1)[:, :k], axis=1)
        ids.append((key & 0xFFFFFFFF).astype(np.int32))
        distances.append((key >> 32).astype(np.float32))
    return np.vstack(ids), np.vstack(distances)


def write_bin(np, path: Path, rows, dtype: str) -> None:
    with open(path, "wb") as out:
        out.write(struct.pack("<II", *rows.shape))
        out.write(np.ascontiguousarray(rows, dtype).tobytes())


def write_credits(path: Path, used: list[Picture], args, opencv: str) -> None:
    lines = [
        "# Credits", "",
        f"{args.base:,} base and {args.queries:,} query SIFT descriptors were computed from the",
        f"pictures below with OpenCV {opencv} by `datasets/make_photos_sift.py` (grey scale, at",
        f"most {LONGEST_SIDE:,} pixels a side). The pictures themselves are not included: a row is a",
        "histogram of gradients around a point. They are used under their authors' licences; the",
        "authors endorse neither kith nor this use.", "",
        "| picture | package | author (year) | licence | descriptors used |",
        "| --- | --- | --- | --- | ---: |",
    ]
    for p in used:
        url = LICENCE_URLS.get(p.licence)
        licence = f"[{p.licence}]({url})" if url else p.licence
        lines.append(f"| {p.path.name} | {p.package} | {p.holder} | {licence} | {p.used:,} |")
    versions = []
    for package in sorted({p.package for p in used}):
        version = command_output("dpkg-query", "-W", "-f", "${Version}", package)
        versions.append(f"`{package}` {version} (its terms: `/usr/share/doc/{package}/copyright`)")
    command = ["make_photos_sift.py", "--base", str(args.base), "--queries", str(args.queries),
               "--seed", str(args.seed), "--gt", str(args.gt), "--packages", *args.packages]
    if args.licences:
        command += ["--licences", *args.licences]
    lines += ["", "Packages: " + "; ".join(versions) + ".", "", f"Options: `{shlex.join(command)}`"]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="directory to write into")
    add("--base", type=int, default=1_000_000, metavar="N", help="base rows (default 1000000)")
    add("--queries", type=int, default=1_000, metavar="N", help="query rows (default 1000)")
    add("--seed", type=int, default=7, help="which rows are drawn (default 7)")
    add("--gt", type=int, default=100, metavar="K", help="true neighbours per query (default 100)")
    add("--packages", nargs="+", default=list(PACKAGES), metavar="PKG",
        help="Debian packages with pictures (default: seven of them)")
    add("--licences", nargs="+", metavar="ID",
        help="only pictures under one of these licences, by the package's copyright file")
    args = parser.parse_args()
    if args.base < 1 or args.queries < 1 or not 1 <= args.gt <= args.base or args.base >= 2**31:
        parser.error(f"need 1 <= --gt <= --base < 2^31 and --queries >= 1, got --gt {args.gt} "
                     f"--base {args.base} --queries {args.queries}")
    return args


def main() -> None:
    args = parse_arguments()
    try:
        import cv2
        import numpy as np
    except ImportError as error:
        sys.exit(f"{error}: install Debian's python3-opencv and run this with /usr/bin/python3")
    found = pictures(args.packages)
    if args.licences:
        found = [p for p in found if p.licence in args.licences]
    parts, owner = [], []
    for number, picture in enumerate(found):
        rows = describe(cv2, np, picture, np.random.default_rng([args.seed, number]))
        parts.append(rows)
        owner.append(np.full(len(rows), number, np.int32))
        print(f"{sum(map(len, parts)):>9,} descriptors  {picture.path.name}", file=sys.stderr)
    total, wanted = sum(map(len, parts)), args.base + args.queries
    if total < wanted:
        sys.exit(f"expected at least {wanted:,} descriptors for --base and --queries, got "
                 f"{total:,} from {len(found)} pictures: install more packages or ask for fewer rows")
    rows = np.vstack(parts)
    drawn = np.random.default_rng(args.seed).permutation(total)[:wanted]
    for number, count in enumerate(np.bincount(np.concatenate(owner)[drawn], minlength=len(found))):
        found[number].used = int(count)
    query, base = rows[drawn[:args.queries]], rows[drawn[args.queries:]]
    print("computing the ground truth", file=sys.stderr)
    ids, distances = ground_truth(np, base, query, args.gt)
    args.out.mkdir(parents=True, exist_ok=True)
    write_bin(np, args.out / "base.u8bin", base, "u1")
    write_bin(np, args.out / "query.u8bin", query, "u1")
    write_bin(np, args.out / "gt_ids.ibin", ids, "<i4")
    write_bin(np, args.out / "gt_dist.fbin", distances, "<f4")
    write_credits(args.out / "CREDITS.md", [p for p in found if p.used], args, cv2.__version__)
    print(f"wrote {len(base):,} base and {len(query):,} query rows to {args.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
