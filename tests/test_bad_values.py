"""Values that cannot work: each is refused in one line, before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hydra import initialize_config_dir

from apps import CONF
from apps.cli.compose import compose_run
from apps.errors import UserError
from apps.grid.plan import read_seeds
from apps.run.experiment import Experiment
from apps.run.folds import train_run
from tests.conftest import refused
from tests.thinned import thinned

pytestmark = pytest.mark.usefixtures("empty_folder")


@pytest.mark.parametrize("value", ["-1", "nan", "text", "null", "[1,2]"])
def test_threshold_of_a_norm(tiny, value):
    line = refused("train", *tiny, f"clipping.max_norm={value}", "run_dir=r")
    assert "clipping" in line
    assert "max_norm" in line


def test_a_threshold_is_judged_before_any_data_are_read(tiny):
    line = refused("train", *tiny, "clipping.max_norm=-1", "data.path=nowhere.csv", "run_dir=r")
    assert "max_norm must be a number > 0" in line


@pytest.mark.parametrize(
    ("clipping", "optimizer", "expected"),
    [
        ("spam", "sgd", "serves Adam, AdamW, NAdam, RAdam, RMSprop, Adadelta; got SGD"),
        ("spam", "adagrad", "got Adagrad"),
        ("stable_adamw", "sgd", "StableUpdate reads the second moment"),
        ("acclip", "adamw", "ACClip with momentum=0.9 serves SGD(momentum=0)"),
    ],
)
@pytest.mark.parametrize("verb", ["train", pytest.param("compare", marks=pytest.mark.slow)])
def test_a_rule_and_an_optimizer_that_do_not_suit(tiny, verb, clipping, optimizer, expected):
    place = "run_dir=r" if verb == "train" else "output_dir=r"
    line = refused(verb, *tiny, f"clipping={clipping}", f"optimizer={optimizer}", place)
    assert "clipping: " in line
    assert expected in line


@pytest.mark.parametrize(
    ("override", "expected"),
    thinned(
        [
            ("clipping.by=layer", "clipping.by='layer': Input should be 'model', 'group'"),
            ("clipping.norm_type=0", "norm_type must be a number > 0 or inf, got 0"),
            ("clipping.nonfinite=explode", "clipping.nonfinite='explode'"),
            ("clipping.patience=0", "patience must be an integer >= 1"),
            ("clipping=chain clipping.clippers=[]", "clippers must be a list of one or more"),
            (
                "clipping=chain clipping.clippers.1.max_norm=-1",
                "clipping: max_norm must be a number",
            ),
            (
                "clipping=chain clipping.clippers.0.by=layer",
                "clipping.clippers.0.by='layer': Input",
            ),
            ("clipping=chain clipping.clippers.1=5", "clippers[1] must be a Clipper, got 5"),
            (
                "clipping=by_name clipping.rules.bias.clip_value=0",
                "clip_value must be a number > 0",
            ),
            (
                "clipping=by_name +clipping.rules.tail=${clipping.otherwise}",
                "left for the pattern 'tai",
            ),
            ("optimizer.lr=-0.1", "optimizer: Invalid learning rate: -0.1"),
            ("optimizer.lr=nan", "optimizer.lr=nan: must be a finite number"),
            ("optimizer.lr=inf", "optimizer.lr=inf: must be a finite number"),
            ("optimizer.lr=fast", "optimizer.lr='fast'"),
            ("optimizer.betas=[2,0.9]", "optimizer: Invalid beta"),
            ("+optimizer.momentum=0.9", "momentum"),
            ("optimizer._target_=torch.optim.Nothing", "optimizer._target_=torch.optim.Nothing"),
            ("seed=-1", "seed=-1: must be an integer from 0 to 4294967295"),
            ("seed=4294967296", "seed=4294967296: must be an integer from 0"),
            ("seed=1.5", "seed=1.5: must be an integer"),
            ("seed=text", "seed=text: must be an integer"),
            ("seed=null", "seed=None: must be an integer"),
            ("seed=true", "seed=True: must be an integer"),
            ("num_threads=0", "num_threads=0: must be an integer >= 1"),
            ("training.epochs=0", "training.epochs=0: must be an integer >= 1"),
            ("training.epochs=-1", "training.epochs=-1: must be an integer >= 1"),
            ("optimization.schedule=linear", "optimization.schedule='linear'"),
            ("optimization.warmup=1.5", "warmup must be a share between 0 and 1"),
            ("model.hidden_size=0", "hidden_size must be >= 1, got 0"),
            ("model.hidden_size=text", "model.hidden_size='text'"),
            ("model.dropout=1.5", "dropout must be a share"),
            ("model=lstm model.cell=brain", "model.cell='brain'"),
            ("app.loss=hinge", "app.loss='hinge'"),
            ("app.batch_size=0", "batch_size=0"),
            ("app.horizon=0", "horizon must be >= 1 or null, got 0"),
            ("app.recalibration_days=-1", "recalibration_days must be >= 0"),
            ("model=lstm app.features.lags_days=[]", "lags_days must be whole days >= 1"),
            ("app.features.lookback_days=0", "lookback_days must be >= 1, got 0"),
            ("app.features.more_lags=[0]", "more_lags must be whole days >= 1, got [0]"),
            ("training.keep=all", "training.keep='all': Input should be 'best' or 'last'"),
            ("data.val_fraction=0.9", "val_fraction=0.9"),
            ("data.frequency=fortnight", "frequency 'fortnight' is not a time step"),
            ("data.timezone=Mars/Olympus", "Mars/Olympus"),
            ("data.gaps=ignore", "data.gaps='ignore'"),
            ("trainer.precision=3-bit", "trainer.precision='3-bit'"),
            ("trainer.devices=-7", "trainer.devices=-7: must be an integer from 1 to"),
            ("+trainer.nonsense=1", "trainer.nonsense: no such key here"),
            ("trainer.accumulate_grad_batches=0", "accumulate_grad_batches"),
            ("+trainer.gradient_clip_val=1", "trainer.gradient_clip_val=1: would clip beside"),
            ("logger=csv +logger.nonsense=1", "logger"),
            ("+callbacks.mine._target_=nowhere.It", "callbacks.mine._target_=nowhere.It"),
            ("+callbacks.mine=5", "callbacks"),
        ],
        3,
    ),
)
def test_values_of_a_training(empty_folder, tiny, override, expected):
    # Past the command line, which costs more than the check; others go the whole way.
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose_run("energy", [*tiny, *override.split()])
    with pytest.raises(UserError) as caught:
        train_run(Experiment(config), Path("run"))
    assert expected in str(caught.value)
    assert list(empty_folder.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("verb", ["train", "compare"])
def test_gpu_where_there_is_none(tiny, verb):
    line = refused(verb, *tiny, "trainer=gpu")
    assert "trainer=gpu: No supported gpu backend found" in line


def test_seeds_of_a_comparison():
    assert read_seeds(3) == [0, 1, 2]
    assert read_seeds([4, 0]) == [4, 0]
    for wrong in (0, -1, 1.5, "many", None, True, [], [0, 0], [0, -1], [True], [2**32]):
        with pytest.raises(UserError, match="must be a number >= 1 or a list of different"):
            read_seeds(wrong)


@pytest.mark.parametrize(
    ("override", "expected"),
    thinned(
        [
            ("seeds=0", "seeds=0: must be a number >= 1 or a list"),
            ("seeds=[0,0]", "seeds=[0, 0]: must be"),
            ("jobs=0", "jobs=0: must be an integer >= 1"),
            ("clipping.max_norm=-1", "max_norm must be a number > 0"),
            ("clipping.nonsense=1", "clipping.nonsense"),
            ("+clipping.nonsense=1", "nonsense"),
            ("clipping=[none] clipping.max_norm=1", "max_norm"),
            (
                "clipping=[none,autoclip] clipping.max_norm=1",
                "clipping.max_norm=1: no such setting",
            ),
            ("optimizer.lr=0.1,small", "optimizer.lr='small'"),
            ("optimizer.lr=0.1,0.1", "optimizer.lr=0.1,0.1: must be different values"),
            ("optimizer.lr=interval(0,1)", "allowed: a list such as 1,2"),
            ("optimizer.lr=range(1,1)", "at least one"),
            ("optimizer=sgd,nonsense", "optimizer=nonsense: unknown; known: ada"),
            ("optimizer.speed=1,2", "optimizer.speed: no such key"),
            ("tune=optimizer.lr", "tune=optimizer.lr: no swept key; swept: none"),
            ("seed=3", "seed=3: the comparison sets it; give seeds="),
            ("jobs=1,2", "jobs=1,2: takes one value"),
            ("--multirun", "--multirun: a comparison takes lists"),
            ("sweep=sgd sweep.overrides=['model=nonsense']", "model=nonsense: unknown; known: gru"),
            ("sweep=sgd sweep.overrides=['optimizer.lr=0.1,-1']", "Invalid learning rate: -1"),
        ],
        2,
    ),
)
def test_values_of_a_comparison(tiny, override, expected):
    line = refused("compare", *tiny, *override.split(), "output_dir=report")
    assert expected in line


@pytest.mark.parametrize(
    ("verb", "arguments", "expected"),
    [
        ("evaluate", [], "run"),
        ("predict", ["input=a.csv", "output=b.csv"], "run"),
        ("predict", ["run=r"], "input"),
        ("train", ["data=csv"], "data.path"),
    ],
)
def test_missing_settings(empty_folder, load_csv, trained, verb, arguments, expected):
    arguments = [f"run={trained}" if argument == "run=r" else argument for argument in arguments]
    line = refused(verb, *arguments)
    assert "issing mandatory value" in line
    assert expected in line


def test_settings_beside_resume(trained):
    for other in ("seed=1", "app=energy", "optimizer=sgd"):
        line = refused("train", f"resume={trained}", other)
        assert f"{other}: a resumed run keeps its own configuration" in line
