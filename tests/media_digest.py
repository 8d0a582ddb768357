"""Digest of a generated set as computed, before the JPEG encoder (which differs between versions of its library).

Imports neither torch nor pytest, so that it also runs in reasonable time under an emulated processor:
``python tests/media_digest.py CLIPS SEED STEP``.
"""

from __future__ import annotations

import hashlib
import sys

from dgl_core.data.generated.emotions import emotion_files


def media_digest(settings: emotion_files.Settings, step: int = 1) -> str:
    """SHA-256 over names, sounds and pictures of every ``step``-th clip."""
    digest = hashlib.sha256()
    for clip in emotion_files.clip_list(settings)[::step]:
        digest.update(clip.name.encode())
        digest.update(emotion_files.sound(settings, clip).astype("<i2").tobytes())
        digest.update(emotion_files.picture(settings, clip).tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    clips, seed, step = map(int, sys.argv[1:])
    print(media_digest(emotion_files.Settings(clips=clips, seed=seed), step))
