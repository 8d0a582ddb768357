"""Where the data of each set come from: lists that can be fetched, and in words what only a person can get."""

from __future__ import annotations

from dataclasses import dataclass

from dgl_core.data.files.fetch import Remote

_RAW = "https://raw.githubusercontent.com"
_OGM = f"{_RAW}/GeWu-Lab/OGM-GE_CVPR2022"
_PMR = f"{_RAW}/fanyunfeng-bit/Modal-Imbalance-PMR/1e5c79b645ad0980c145f016e52a31b935d0d7fc"
_GDL = f"{_RAW}/shicaiwei123/ICCV2025-GDL/b72a55f0fe1bd7fde6354fda9613e2a88a2d695e"


@dataclass(frozen=True)
class Origin:
    """How a person comes by a data set.

    Args:
        where: addresses and layout, in words.
        size: of the media on disk, and of the arrays made from them.
        takes: what preparing needs beyond that.
        lists: files that ``fetch`` gets.
    """

    where: str
    size: str
    takes: str
    lists: tuple[Remote, ...] = ()


ORIGINS: dict[str, Origin] = {
    "cremad": Origin(
        "github.com/CheyneyComputerScience/CREMA-D (git lfs): put AudioWAV and VideoFlash into cremad",
        "media about 10 GB; arrays 2.2 GB (official form, 7,442 clips)",
        "PyAV for the videos; about 2 minutes of one core (10 to 20 ms a clip)",
        (
            Remote(
                "cremad/train.csv",
                (f"{_PMR}/data/CREMAD/train.csv", f"{_GDL}/data/CREMAD/train.csv"),
                "7b95d291b847eac9c1447bb9fb63b47176d182987ac74fe041e4dd493c6d0abd",
                133960,
                6698,
            ),
            Remote(
                "cremad/test.csv",
                (
                    f"{_OGM}/65a8324464207f5efd41533cb362648c0cdee8a8/data/CREMAD/test.csv",
                    f"{_GDL}/data/CREMAD/test.csv",
                ),
                "959a667af66a01dc439b12d6ec9dc57b36a88e947f48ad63531a4b91f769394f",
                14880,
                744,
            ),
        ),
    ),
    "ks": Origin(
        "github.com/cvdfoundation/kinetics-dataset (Kinetics-400): put the videos of the classes that "
        "dgl_core/data/sets/kinetics.py names into ks/train/<class>, ks/val/<class> and ks/test/<class>",
        "media about 30 GB; arrays 17 GB (official form, 19,000 clips)",
        "PyAV; about 15 minutes of one core (45 ms a clip; 100 ms with rule=even)",
        (
            Remote(
                "ks/my_train.txt",
                (f"{_OGM}/149c68e5987f92484dd30cd468d444f6d98f57bd/data/KineticSound/my_train.txt",),
                "6c0d11f5977ecceb2005c5bdb356ced52cae7c39f9f9eb4137479a4c2e874780",
                468374,
                14799,
            ),
            Remote(
                "ks/my_test.txt",
                (f"{_OGM}/149c68e5987f92484dd30cd468d444f6d98f57bd/data/KineticSound/my_test.txt",),
                "6dec6750836d9b9db1b2ded6fca3348de7766c78513ac55e2ba4a668f7b451bd",
                53419,
                2597,
            ),
        ),
    ),
    "vggsound": Origin(
        "www.robots.ox.ac.uk/~vgg/data/vggsound: put vggsound.csv into vggsound, and the ten-second clips "
        "<video>_<second, six digits>.mp4 anywhere below it",
        "media about 300 GB; arrays 165 GB (official form, 182,000 clips)",
        "PyAV; about 2.5 hours of one core (45 ms a clip), shared by all cores",
    ),
    "grid_words": Origin(
        "zenodo.org/records/3625687, talker s1: videos and alignments in one folder; then "
        "'python -m dgl_core data prepare grid --raw FOLDER'",
        "media 0.4 GB; prepared 25 MB",
        "PyAV and librosa; a few minutes for 1,000 videos",
    ),
    "folder": Origin(
        "your own: <folder>/<part>/<class>/<clip>.mp4 below a data root, see dgl_core/data/sets/own.py",
        "arrays 0.3 MB a clip and frame at 224 pixels",
        "PyAV for videos",
    ),
    "mosi": Origin(
        "github.com/declare-lab/multimodal-deep-learning, contextual-multimodal-fusion/data: see data/sets/mosi.py",
        "2 MB",
        "nothing",
    ),
    "nyuv2": Origin(
        "cs.nyu.edu/~silberman/datasets/nyu_depth_v2.html, the labeled set (a MATLAB file); then "
        "'python -m dgl_core.data.sets.convert.nyuv2'",
        "media 2.8 GB; arrays 0.7 GB",
        "h5py",
    ),
}
for _alias in ("grid_letters", "grid_digits"):
    ORIGINS[_alias] = ORIGINS["grid_words"]
