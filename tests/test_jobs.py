"""The job files of docs/jobs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

JOBS = Path(__file__).parents[1] / "docs" / "jobs"


@pytest.mark.slow  # where azure-ai-ml is installed, which carries the schema of jobs
@pytest.mark.filterwarnings("ignore")
def test_the_job_of_azure_is_valid_by_its_schema() -> None:
    ml = pytest.importorskip("azure.ai.ml", reason="azure-ai-ml is not installed")
    found = ml.load_job(JOBS / "azureml.yml")._validate()
    assert found.passed, found.error_messages


def test_the_job_of_slurm_is_a_script_for_bash() -> None:
    job = JOBS / "compare.slurm"
    assert subprocess.run(["bash", "-n", job], capture_output=True).stderr == b""
    first, *settings = [line for line in job.read_text().splitlines() if line.startswith("#")]
    assert first == "#!/bin/bash"
    assert [line for line in settings if line.startswith("#SBATCH --time=")]
