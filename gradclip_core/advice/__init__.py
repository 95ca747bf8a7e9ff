"""Which clipping would fit a training: record it without clipping, and ask."""

from gradclip_core.advice.advice import MIN_BROKEN_STEPS, MIN_STEPS, Advice
from gradclip_core.advice.advisor import Advisor, advise
from gradclip_core.advice.candidates import Candidate, Trial
from gradclip_core.advice.matrices import MatrixStatistics
from gradclip_core.advice.record import Record, replay
from gradclip_core.advice.statistics import NormStatistics, PartStatistics

__all__ = [
    "MIN_BROKEN_STEPS",
    "MIN_STEPS",
    "Advice",
    "Advisor",
    "Candidate",
    "MatrixStatistics",
    "NormStatistics",
    "PartStatistics",
    "Record",
    "Trial",
    "advise",
    "replay",
]
