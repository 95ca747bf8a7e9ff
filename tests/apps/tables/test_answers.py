from __future__ import annotations

import pandas as pd

from apps.tables.answers import beside


def test_nothing_of_the_users_is_replaced():
    rows = pd.DataFrame({"text": ["a", "b"], "label": ["x", "y"], "predicted_label": [1, 2]})
    answers = pd.DataFrame({"label": ["p", "q"], "words": ["v", "w"]})
    found = beside(rows[::-1], answers)
    assert list(found) == [*rows, "predicted_predicted_label", "words"]
    assert found["label"].tolist() == ["y", "x"]
    assert found["predicted_predicted_label"].tolist() == ["p", "q"]
    assert found["words"].tolist() == ["v", "w"]
