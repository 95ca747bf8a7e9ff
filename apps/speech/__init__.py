"""Speech recognition: acoustic models trained with CTC, scored in word error rate."""

from apps.base.torchaudio_import import import_torchaudio

# Before any module of this package imports torchaudio by itself.
import_torchaudio()
